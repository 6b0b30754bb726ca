"""Call: the rows of one caller, and what is done of them.

Knows rows of token ids and vectors; decides and runs nothing.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from engine.embed.waiting import Work
from engine.runtime.shapes import Bucket

Vectors = NDArray[np.float32]
Row = Sequence[int]


class Runner(Protocol):
    """A provider that runs the model."""

    @property
    def provider(self) -> str:
        """What it is called."""
        ...

    def run(self, rows: Sequence[Row], bucket: Bucket) -> Vectors:
        """Unit vectors [rows, dimensions] of rows of token ids, padded to the bucket."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The vectors of those rows of a call that shared a run."""

    indices: tuple[int, ...]
    vectors: Vectors
    provider: str


class Call:
    """The rows of one caller."""

    def __init__(self, rows: Sequence[Row], *, is_query: bool) -> None:
        self.is_query = is_query
        self.works = [
            Work(caller=self, tokens=len(row), is_query=is_query, payload=(index, row))
            for index, row in enumerate(rows)
        ]
        self.parts: deque[Part] = deque()
        """What is done and was not fetched yet."""
        self.left = len(rows)
        """Rows that are not done."""
        self.error: Exception | None = None
        self.has_ended = False
        """Nobody wants the rest."""


def by_call(works: Sequence[Work]) -> dict[Call, list[int]]:
    """The positions of each call's texts."""
    calls: dict[Call, list[int]] = {}
    for number, work in enumerate(works):
        calls.setdefault(cast("Call", work.caller), []).append(number)
    return calls


def rows_of(works: Sequence[Work]) -> tuple[list[Row], Bucket]:
    """Rows, and the shape that just holds them; a provider that takes any shape runs that."""
    rows = [row_of(work) for work in works]
    return rows, Bucket(len(rows), max(map(len, rows)))


def index_of(work: Work) -> int:
    """Which of its call's rows a text is."""
    return cast("tuple[int, Row]", work.payload)[0]


def row_of(work: Work) -> Row:
    """A text as token ids."""
    return cast("tuple[int, Row]", work.payload)[1]
