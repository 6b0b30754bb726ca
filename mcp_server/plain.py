"""Text of others that can do nothing but show: no sign in it steers a terminal or begins a line.

A file may be named, and a document may say, what its maker likes. What is taken out is replaced
sign by sign, so that positions stay.
"""

import unicodedata

_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that change the direction of the text behind them, and so what seems to stand where."""

_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """Lines without the signs by which they could steer the terminal."""
    return "".join(_INSTEAD if _steers(sign) else sign for sign in text.replace("\r\n", " \n"))


def in_a_line(text: str) -> str:
    """A name or title, which then cannot pass for a line of what it is shown in."""
    return "".join(_INSTEAD if sign in "\n\t\u2028\u2029" else sign for sign in plain(text))


def _steers(sign: str) -> bool:
    return sign in _TURNS or (sign not in "\n\t" and unicodedata.category(sign) == "Cc")
