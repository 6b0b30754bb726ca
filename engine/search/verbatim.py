"""Finds quoted phrases and identifiers in a text, as they were typed.

Keyword search drops punctuation, so "--pre" finds "pre"; this tells the two apart.
Letter case does not count, nor how much space is between words. A match never begins or ends
inside a word, and a flag is none with more hyphens.
"""

import re
from collections.abc import Iterable

# Letters of scripts with spaces. If case did not count here, Python would take 8 ms to compile the
# range, and the k for one of its letters, the Kelvin sign.
_NONE_BEFORE = r"(?-i:(?<![^\W\u0e00-\uffff]))"
_NONE_AFTER = r"(?-i:(?![^\W\u0e00-\uffff]))"


def verbatim_patterns(wanted: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """A pattern for each phrase or identifier."""
    return tuple(re.compile(_pattern(text), re.IGNORECASE) for text in wanted)


def share_held(patterns: Iterable[re.Pattern[str]], text: str) -> float:
    """Which part of the patterns a text holds, from 0 to 1; 0 where there are none."""
    held = [bool(pattern.search(text)) for pattern in patterns]
    return sum(held) / len(held) if held else 0.0


def _pattern(text: str) -> str:
    body = r"\s+".join(re.escape(word) for word in text.split())
    before = r"(?<![\w-])" if text.startswith("-") else _edge(text[:1], _NONE_BEFORE)
    after = r"(?![\w-])" if text.startswith("-") else _edge(text[-1:], _NONE_AFTER)
    return before + body + after


def _edge(character: str, guard: str) -> str:
    """A guard against more letters, where it is one and its script has spaces."""
    return guard if (character.isalnum() or character == "_") and character < "\u0e00" else ""
