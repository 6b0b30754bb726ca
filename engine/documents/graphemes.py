"""Where a text may be cut without splitting what a reader sees as one character.

A short form of Unicode's rules (UAX 29) for combining marks, joined emoji, flags and Hangul.
"""

import unicodedata

_JOINER = "\u200d"
# Unicode's stream-safe format allows 30 marks on a letter; a longer run is cut anyway.
_LONGEST = 32


def safe_cut(text: str, index: int) -> int:
    """The last place at or before `index`, yet not far before, where the text may be cut."""
    for place in range(index, max(index - _LONGEST, 0), -1):
        if place >= len(text) or not _is_joined(text, place):
            return place
    return index


def _is_joined(text: str, place: int) -> bool:
    before, after = text[place - 1], text[place]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if _JOINER in (before, after) or unicodedata.category(after) in ("Mn", "Mc", "Me"):
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        return _flags_before(text, place) % 2 == 1
    return (
        "\U0001f3fb" <= after <= "\U0001f3ff"  # Skin tones.
        or "\U000e0020" <= after <= "\U000e007f"  # Tags, as in the flag of Scotland.
        or "\u1160" <= after <= "\u11ff"  # Hangul vowels and finals.
        or "\ud7b0" <= after <= "\ud7fb"
    )


def _flags_before(text: str, place: int) -> int:
    start = place
    while start > max(place - 2 * _LONGEST, 0) and "\U0001f1e6" <= text[start - 1] <= "\U0001f1ff":
        start -= 1
    return place - start
