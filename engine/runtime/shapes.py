"""Bucket: a fixed (rows, tokens) shape, and the smallest that holds a text.

Numbers only; knows neither devices nor models.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SEQUENCE_LENGTHS = (32, 64, 128, 256, 512)
"""Tokens of the buckets that models are compiled for; longer texts are left to the CPU, since the
scores of attention grow with the square (8,192 tokens, 12 heads, 16 bits: 1.6 GB a layer)."""


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """The shape of a run: so many rows, all padded to so many tokens."""

    rows: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.tokens}"


def buckets(max_tokens: int, rows: int = 1) -> tuple[Bucket, ...]:
    """The buckets of a model that reads at most `max_tokens` of a text.

    The last is just as long, or of the longest there is.
    """
    longest = min(max_tokens, SEQUENCE_LENGTHS[-1])
    shorter = [length for length in SEQUENCE_LENGTHS if length < longest]
    return tuple(Bucket(rows, length) for length in [*shorter, longest])


def smallest(buckets: Iterable[Bucket], rows: int, tokens: int) -> Bucket | None:
    """The bucket with the fewest padded tokens that holds so many; None if all are too small."""
    fitting = [b for b in buckets if b.rows >= rows and b.tokens >= tokens]
    return min(fitting, key=lambda b: (b.rows * b.tokens, b), default=None)
