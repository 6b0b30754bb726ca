"""Query: the words a person typed as something that keyword search understands.

Knows nothing of stores. Its output are FTS5 expressions, quoted words and phrases, so that nothing
that is typed is ever taken for syntax.
Rule: what is quoted or looks like an identifier is kept verbatim, for `ranking` to insist on.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.store.lexical_text import SPACELESS_RUN, WORD, clean, identifier_parts, spaced

# Lucene's 33 (EnglishAnalyzer), and what questions are asked with. "not" and "no" are among them:
# dropped words only do not rank; in quotes they count.
_DROPPED = """
    a an and are as at be but by for if in into is it no not of on or such that the their then there
    these they this to was will with
    i me my we our you your do does did can could should would how what when where which who why
    am been being has have had from about its than so
"""
_STOP_WORDS = frozenset(_DROPPED.split())

# A question's words beyond these change little, and each costs time: terms in a large index, words
# and verbatim phrases in every passage that is shown.
_MOST_TERMS = 64
# The parts of "well-known" mean something each, those of "IL-6" and "x-ray" only together.
_SHORTEST_MEANING = 3
_MOST_CHARACTERS = 8_000
_LONGEST_IDENTIFIER = 200
_LONG_WORDS = 30

_QUOTED = re.compile('"([^"]{1,400})"|\u201c([^\u201d]{1,400})\u201d|`([^`]{1,400})`')
_OPENING = "([{<\u00ab\u2018\u201a\u201e'\""
_CLOSING = ",;:!?.\u2026)]}>\u00bb\u2019\u201c\u201d'\""
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}

_IDENTIFIER = re.compile(
    r"""
    -{1,2}[A-Za-z][\w-]*(?:=\S*)?    # a flag: --pre, -Wall
    | [$@%\\][A-Za-z_]\w*            # $HOME, @property, %PATH%, \section
    | \.[A-Za-z]\w+                  # .gitignore
    | [~.]{0,2}[/\\]\S*\w\S*         # a path: /etc/hosts, ../data, ~/notes
    | \S*\w\(\)\S*                   # a call: foo.bar()
    | \S*\w(?:::|->|=|[@\\])\w\S*    # std::move, a->b, key=value
    | \w*_\w+ | \w+_                 # snake_case, __init__
    | \w[\w-]*(?:[./][\w-]+){2,}     # a.b.c, a/b/c
    | \w*\d\w*(?:[.]\w+)+            # 38.101, v1.2
    | [A-Za-z_][\w-]+(?:\.[A-Za-z_]\w+)+  # os.path, fusion.py
    | [A-Za-z](?:\+\+|\#)            # C++, C#
    | [a-z]{2,}[A-Z][a-z]\w*         # camelCase; PascalCase may be a name, as JavaScript
    """,
    re.VERBOSE,
)
_NEGATED = re.compile("n[\u2019']t$", re.IGNORECASE)
_POSSESSIVE = re.compile("[\u2019']s?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Query:
    """A question, read."""

    terms: tuple[str, ...] = ()
    """Words and phrases, each an FTS5 expression; none if there is nothing to look for."""
    words: tuple[str, ...] = ()
    """What is looked for, as typed, word by word; pairs where a script has no spaces."""
    verbatim: tuple[str, ...] = ()
    """Quoted phrases and identifiers, as typed."""
    is_verbatim: bool = False
    """Whether quoted phrases and identifiers are all there is."""

    @property
    def match(self) -> str:
        """The FTS5 expression for any of the terms."""
        return " OR ".join(self.terms)

    @property
    def is_long(self) -> bool:
        """Whether it is a passage rather than a question."""
        return len(self.words) > _LONG_WORDS

    @property
    def insists(self) -> bool:
        """Whether passages that hold something verbatim come first.

        What is quoted in a long text is seldom what is looked for: insisting lost 0.012 nDCG@10 on
        CISI, whose questions are abstracts.
        """
        return bool(self.verbatim) and not self.is_long

    @property
    def is_empty(self) -> bool:
        """Whether keyword search has nothing to look for."""
        return not self.terms


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of characters between spaces, or between quotation marks."""

    text: str
    is_quoted: bool = False

    @property
    def is_verbatim(self) -> bool:
        is_short = len(self.text) <= _LONGEST_IDENTIFIER
        return self.is_quoted or (is_short and bool(_IDENTIFIER.fullmatch(self.text)))


def read_query(text: str) -> Query:
    """Reads a question in any script; never fails, and is empty where there is no word in it."""
    pieces = list(_pieces(clean(text[:_MOST_CHARACTERS])))
    kept = [piece for piece in pieces if piece.is_quoted or not _is_stop_word(piece.text)] or pieces
    terms = _distinct(term for piece in kept for term in _terms(piece))[:_MOST_TERMS]
    verbatim = [piece for piece in kept if piece.is_verbatim]
    if len(kept) == 1 and identifier_parts(kept[0].text):
        verbatim = kept
    return Query(
        terms=tuple(f'"{spaced(term)}"' for term in terms),
        words=tuple(
            _distinct(word for piece in kept for word in _shown_words(piece))[:_MOST_TERMS]
        ),
        verbatim=tuple(_distinct(piece.text for piece in verbatim)[:_MOST_TERMS]),
        is_verbatim=bool(verbatim) and len(verbatim) == len(kept),
    )


def _pieces(text: str) -> Iterator[_Piece]:
    """What is in quotation marks, and what is between spaces, as far as there is a word in it."""
    end = 0
    for quoted in _QUOTED.finditer(text):
        yield from _plain(text[end : quoted.start()])
        phrase = " ".join(next(filter(None, quoted.groups())).split())
        if WORD.search(phrase):
            yield _Piece(phrase, is_quoted=True)
        end = quoted.end()
    yield from _plain(text[end:])


def _plain(text: str) -> Iterator[_Piece]:
    for run in text.split():
        piece = _bare(run)
        if WORD.search(piece):
            yield _Piece(piece)


def _bare(run: str) -> str:
    """Without the punctuation of the sentence around it."""
    start, end = 0, len(run)
    while start < end and run[start] in _OPENING:
        start += 1
    while start < end and run[end - 1] in _CLOSING:
        opening, closing = _PAIRS.get(run[end - 1]), run[end - 1]
        if opening and run.count(opening, start, end) >= run.count(closing, start, end):
            break
        end -= 1
    return _POSSESSIVE.sub("", run[start:end])


def _is_stop_word(piece: str) -> bool:
    return piece.casefold() in _STOP_WORDS or bool(_NEGATED.search(piece))


def _terms(piece: _Piece) -> Iterator[str]:
    """What to look for: the whole as a phrase, and the words in it."""
    words = WORD.findall(piece.text)
    if len(words) == 1:
        yield from _word_terms(words[0])
        return
    is_phrase = piece.is_verbatim or any(len(word) < _SHORTEST_MEANING for word in words)
    if is_phrase:
        yield " ".join(words)
    for word in words:
        says_nothing = is_phrase and (len(word) == 1 or word.isdecimal())
        if not (says_nothing or _is_stop_word(word)):
            yield from _word_terms(word)


def _word_terms(word: str) -> Iterator[str]:
    """A word; for camelCase its parts as a phrase too; for scripts without spaces, pairs."""
    yield word
    if parts := identifier_parts(word):
        yield " ".join(parts)
    if SPACELESS_RUN.fullmatch(word):
        yield from _pairs(word)


def _shown_words(piece: _Piece) -> Iterator[str]:
    """The words worth showing on their own."""
    words = WORD.findall(piece.text)
    for word in words:
        says_nothing = piece.is_verbatim and (len(word) == 1 or word.isdecimal())
        if len(words) == 1 or not (says_nothing or _is_stop_word(word)):
            yield from _pairs(word) if SPACELESS_RUN.fullmatch(word) else (word,)


def _pairs(run: str) -> Iterator[str]:
    """Neighbouring characters, or the only one."""
    return (run[at : at + 2] for at in range(max(1, len(run) - 1)))


def _distinct(terms: Iterable[str]) -> list[str]:
    """Each once, whatever its letter case, in order."""
    first: dict[str, str] = {}
    for term in terms:
        first.setdefault(term.lower(), term)
    return list(first.values())
