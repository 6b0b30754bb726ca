"""What keyword search is given of a text, so that SQLite's tokenizer finds all of its words.

Knows nothing of SQLite. The tokenizer in mind is FTS5's "porter unicode61": runs of letters and
digits are words; it cannot cut scripts without spaces, nor identifiers in camelCase.
Rule: what is verbatim in a text stays a phrase of it, so parts of identifiers are added at its end.
"""

import re
import unicodedata
from collections.abc import Iterator

# Scripts written without spaces, and Hangul, whose particles are joined to the word: each character
# becomes a word, and a run of them is looked for as a phrase, which finds it anywhere.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029"
    "\u3031-\u3035\u3038-\u303c\u3040-\u30fa\u30fc-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs and accents that Python does not count as parts of words.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"

SPACELESS_RUN = re.compile(f"[{_SPACELESS}]+")
WORD = re.compile(rf"[{_SPACELESS}]+|(?:[^\W_{_SPACELESS}]|[{_MARKS}])+")
"""A run of letters and digits, or of characters of scripts without spaces."""

# Ligatures, wide and narrow forms, split syllables: extracted text has them, nobody types them.
_FORMS = re.compile("[\ufb00-\ufb06\uff01-\uffef\u1100-\u11ff\u3040-\u30ff\u3099\u309a]{1,64}")
# NUL ends SQLite's text; surrogates are no Unicode; the others are invisible inside words.
_UNWANTED = re.compile("[\x00\xad\u200c\u200d\u2060\ufeff\ud800-\udfff]")
# Begins with the capital letter because that is searched for six times as fast.
_HUMP = re.compile("[A-Z](?:(?<=[a-z].)|(?<=[0-9].)(?=[a-z])|[A-Z][a-z]{2})")
_HUMPED_WORD = re.compile(r"\b\w*?(?:[a-z][A-Z]|[A-Z]{2}[a-z]{2}|[0-9][A-Z][a-z])\w*")
_PART = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Longer ones are encoded data, as are those in which letter case changes all the time.
_LONGEST_IDENTIFIER = 64
_SHORTEST_MEAN_PART = 2.5


def lexical_text(text: str) -> str:
    """A text as it is given to FTS5: verbatim to its tokenizer, with more that can be found.

    Takes time in proportion to the text, next to none for ASCII without camelCase.
    """
    if not text.isascii():
        text = spaced(clean(text))
    elif "\0" in text:
        text = text.replace("\0", "")
    if not _HUMP.search(text):
        return text
    return " ".join([text, *_added_parts(text)])


def lexical_title(title: str, heading_path: tuple[str, ...]) -> str:
    """A title as it is given to FTS5: nothing where a heading says it, or it would count twice."""
    wanted = " ".join(title.split()).casefold()
    said = any(" ".join(heading.split()).casefold() == wanted for heading in heading_path)
    return "" if said else lexical_text(title)


def spaced(text: str) -> str:
    """With spaces around every character of a script that has none."""
    return SPACELESS_RUN.sub(lambda run: f" {'  '.join(run[0])} ", text)


def clean(text: str) -> str:
    """Without what is invisible, and with ordinary letters for their typographic forms."""
    text = _UNWANTED.sub("", text)
    return _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)


def identifier_parts(word: str) -> list[str]:
    """The words in an identifier written in camelCase or PascalCase; empty if it is none."""
    if len(word) > _LONGEST_IDENTIFIER or not _HUMP.search(word):
        return []
    parts = _PART.findall(word)
    return parts if len(parts) > 1 and len(word) >= _SHORTEST_MEAN_PART * len(parts) else []


def _added_parts(text: str) -> Iterator[str]:
    """The parts of every distinct identifier, once."""
    for word in dict.fromkeys(_HUMPED_WORD.findall(text)):
        yield from identifier_parts(word)
