"""VectorCopies: how far sqlite-vec's table and the packed bits have followed the stored vectors.

Rule: vectors are numbered as they come and removals as they happen, and no number comes back. So
two numbers say what a copy, in the file or in memory, has seen, and what it still has to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.store.connection import View
from engine.store.interface import Vectors
from engine.store.vectors import decoded

Ids = NDArray[np.integer[Any]]

CopyName = Literal["vector_table", "packed_bits"]

_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Seen:
    """What has happened to the vectors so far."""

    vector_id: int
    """The newest vector there ever was."""
    removal_id: int
    """The newest removal there ever was."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What is known of one copy of the vectors."""

    space_id: int
    seen: Seen
    first_count: int
    """Vectors there were when the centre was made."""
    centre: Vectors
    """float32[dimensions], or empty."""


def seen(view: View) -> Seen:
    """What has happened until this transaction."""
    rows = view.rows(
        "SELECT name, seq FROM sqlite_sequence WHERE name IN ('vectors', 'removed_vectors')"
    )
    numbers = {str(name): int(number) for name, number in rows}
    return Seen(numbers.get("vectors", 0), numbers.get("removed_vectors", 0))


def count(view: View, space_id: int) -> int:
    """How many vectors a space has."""
    sql = "SELECT number FROM counts WHERE name = ?"
    return int(view.value(sql, [f"vectors of {space_id}"]) or 0)


def removed_since(view: View, removal_id: int) -> Ids | None:
    """The vectors removed after a removal, ascending; None if the log no longer tells."""
    if removal_id < _forgotten(view):
        return None
    rows = view.rows("SELECT vector_id FROM removed_vectors WHERE removal_id > ?", [removal_id])
    return np.sort(np.fromiter((row[0] for row in rows), np.int64, len(rows)))


def logged_removals(view: View) -> int:
    """How many removals the log holds, at most."""
    return seen(view).removal_id - _forgotten(view)


def forget_removals(view: View) -> None:
    """Empties the log of removals; every copy in the file must have followed it."""
    view.rows(
        "INSERT OR REPLACE INTO meta VALUES ('removals_forgotten', ?)", [seen(view).removal_id]
    )
    view.rows("DELETE FROM removed_vectors")


def added_since(
    view: View, space_id: int, vector_id: int, dimensions: int
) -> Iterator[tuple[Ids, Ids, Vectors]]:
    """Vectors of a space behind a number, in their order, some thousand at a time.

    Yields:
        Vector numbers, text numbers and float32[vectors, dimensions].
    """
    while True:
        rows = view.rows(
            "SELECT vector_id, text_id, vector FROM vectors "
            "WHERE vector_id > ? AND space_id = ? ORDER BY vector_id LIMIT ?",
            [vector_id, space_id, _BATCH],
        )
        if not rows:
            return
        vector_id = rows[-1][0]
        ids = np.array([row[:2] for row in rows], np.int64)
        yield ids[:, 0], ids[:, 1], decoded([row[2] for row in rows], dimensions)


def copies(view: View, name: CopyName) -> dict[int, Copy]:
    """Those of one kind that there are, by the space."""
    rows = view.rows(
        "SELECT space_id, last_vector_id, last_removal_id, first_count, centre "
        "FROM vector_copies WHERE copy = ?",
        [name],
    )
    return {
        row[0]: Copy(row[0], Seen(row[1], row[2]), row[3], np.frombuffer(row[4], "<f4"))
        for row in rows
    }


def put(view: View, name: CopyName, copy: Copy) -> None:
    """Writes down how far a copy is."""
    view.rows(
        "INSERT OR REPLACE INTO vector_copies VALUES (?, ?, ?, ?, ?, ?)",
        [
            name,
            copy.space_id,
            copy.seen.vector_id,
            copy.seen.removal_id,
            copy.first_count,
            copy.centre.astype("<f4").tobytes(),
        ],
    )


def drop(view: View, name: CopyName, space_id: int) -> None:
    """Forgets a copy."""
    view.rows("DELETE FROM vector_copies WHERE copy = ? AND space_id = ?", [name, space_id])


def _forgotten(view: View) -> int:
    return int(view.value("SELECT value FROM meta WHERE key = 'removals_forgotten'") or 0)
