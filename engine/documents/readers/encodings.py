"""Guesses how bytes that are no valid UTF-8 were written; the only door to charset-normalizer.

Rule: a guess gives the same bytes back, character by character, so that places in the text are
places in the file: encodings that shift between states are not among them.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from charset_normalizer import CharsetMatch, from_bytes

_WESTERN = "cp1252"
_LATIN = (_WESTERN, "cp1250", "cp1254", "iso8859_2")
_OTHERS = (
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
    *("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5"),
    *("cp1253", "iso8859_7", "cp1255", "cp1256", "cp874"),
)
_LAST = (_WESTERN, "latin-1")

# As Python, Emacs, XML and HTML name it.
_DECLARED = re.compile(rb"(?:coding|charset)\s*[:=]\s*[\"']?([\w.:-]{1,40})")
_HEAD_BYTES = 400
_RARER = (
    *("shift_jis", "gbk", "gb2312", "euc_kr", "latin-1", "mac_roman", "cp437", "cp850", "cp852"),
    *(f"iso8859_{part}" for part in (3, 4, 6, 8, 9, 10, 13, 14, 15, 16)),
    *("cp1257", "cp1258", "cp855", "cp865", "tis-620"),
)
_DECLARABLE = {codecs.lookup(name).name for name in (*_LATIN, *_OTHERS, *_RARER)}

# Letters beyond ASCII stand alone in Latin text, in runs in other scripts. Portuguese, whose pairs
# are the most frequent, has half of them in runs, Shift-JIS and Big5 rarely less than 0.6.
_RUN = re.compile(rb"[\x80-\xff]{2,}")
_BEYOND_ASCII = bytes(range(0x80, 0x100))
_LATIN_RUNS = 0.4
_OTHER_RUNS = 0.8


def guessed(body: bytes) -> tuple[str, str]:
    """The text of bytes that are no valid UTF-8, and the encoding it was most probably written in.

    What the text itself names, where that can be true; Western European where nothing speaks for
    another one; at last Latin-1, which always holds.
    """
    for encoding in chain(_declared(body), _candidates(body), _LAST):
        try:
            text = body.decode(encoding)
            if text.encode(encoding) == body:
                return text, encoding
        except UnicodeError:
            continue
    raise AssertionError("Latin-1 holds every byte")


def _declared(body: bytes) -> Iterator[str]:
    for name in _DECLARED.findall(body[:_HEAD_BYTES]):
        try:
            encoding = codecs.lookup(name.decode()).name
        except (LookupError, UnicodeError, ValueError):
            continue
        if encoding in _DECLARABLE:
            yield encoding


def _candidates(body: bytes) -> Iterator[str]:
    in_runs = sum(len(run) for run in _RUN.findall(body))
    share = in_runs / (len(body) - len(body.translate(None, _BEYOND_ASCII)))
    known = (_LATIN if share < _OTHER_RUNS else ()) + (_OTHERS if share > _LATIN_RUNS else ())
    matches = from_bytes(body, cp_isolation=list(known))
    best = matches.best()
    if best and not (best.encoding in _LATIN and _may_be_western(best, matches)):
        yield best.encoding


def _may_be_western(best: CharsetMatch, matches: Iterable[CharsetMatch]) -> bool:
    """Whether Western European letters suit as well."""
    western = (one for one in matches if _WESTERN in one.could_be_from_charset)
    return any(one.chaos <= best.chaos and one.coherence >= best.coherence for one in western)
