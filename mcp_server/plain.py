"""Text of others that can do nothing but show: no sign in it steers a terminal or begins a line.

A file may be named, and a document may say, what its maker likes. What is taken out is replaced
sign by sign, so that positions stay; for models it is left out, and with it what nobody sees.
"""

import re
import unicodedata

_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that change the direction of the text behind them, and so what seems to stand where."""

_INSTEAD = "\N{REPLACEMENT CHARACTER}"

# Soft hyphens, spaces of no width, marks of direction, invisible operators, tags and the variation
# selectors beyond those of fonts, by all of which text can be hidden; control characters but tab
# and line feed. The two joiners shape letters of some scripts and emoji, one at a time.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
    "|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])|(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]"
)


def plain(text: str) -> str:
    """Lines without the signs by which they could steer the terminal."""
    return "".join(_INSTEAD if _steers(sign) else sign for sign in text.replace("\r\n", " \n"))


def in_a_line(text: str) -> str:
    """A name or title, which then cannot pass for a line of what it is shown in."""
    return "".join(_INSTEAD if sign in "\n\t\u2028\u2029" else sign for sign in plain(text))


def seen(text: str) -> str:
    """What a person sees of a text: nothing hidden, turned around or told to a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub("", text)


def _steers(sign: str) -> bool:
    return sign in _TURNS or (sign not in "\n\t" and unicodedata.category(sign) == "Cc")
