"""VectorTable: the copy of one space's vectors that sqlite-vec searches inside SQLite.

Rule: never the only copy. What it has seen is written down beside it; where that is not everything,
because a program without sqlite-vec wrote, it is passed over until the next change.
Numbers and limits: sqlite-vec 0.1.9.
"""

import json

import numpy as np

from engine.store import vector_copies
from engine.store.chunk_map import Bitmap, marked
from engine.store.connection import View
from engine.store.vector_copies import Copy, Ids
from engine.store.vectors import MARGIN, Query, Scored, decoded, ranked

MOST_DIMENSIONS = 8192
"""sqlite-vec refuses longer vectors."""

# sqlite-vec refuses to return more neighbours at once.
_MOST_NEIGHBOURS = 4096

# Where less than this part of the texts may answer, sqlite-vec is told which; otherwise it is asked
# for more than needed, which costs less.
_FEW = 0.2

# Vectors are kept in blocks of this many; a block is freed when its last vector goes. With larger
# ones the time rises with the neighbours asked for: 216 of 50,000 take 31 ms with 64 and 47 ms with
# 256 (384 dimensions, Linux x86-64, one core).
_BLOCK = 64


def is_current(view: View, space_id: int) -> bool:
    """Whether it holds exactly the vectors of a space."""
    copy = vector_copies.copies(view, "vector_table").get(space_id)
    return copy is not None and copy.seen == vector_copies.seen(view)


def catch_up(view: View, space_id: int, dimensions: int) -> None:
    """Makes it hold exactly the vectors of a space."""
    copy = vector_copies.copies(view, "vector_table").get(space_id)
    removed = vector_copies.removed_since(view, copy.seen.removal_id) if copy else None
    if copy is None or removed is None:
        drop(view)
        view.rows(
            f"CREATE VIRTUAL TABLE vector_table USING vec0(vector_id INTEGER PRIMARY KEY, "
            f"vector float[{dimensions}] distance_metric=L2, chunk_size={_BLOCK})"
        )
    else:
        view.run_many(
            "DELETE FROM vector_table WHERE vector_id = ?", ([one] for one in removed.tolist())
        )
    view.rows(
        "INSERT INTO vector_table (vector_id, vector) SELECT vector_id, vector FROM vectors "
        "WHERE vector_id > ? AND space_id = ?",
        [copy.seen.vector_id if copy and removed is not None else 0, space_id],
    )
    now = vector_copies.seen(view)
    vector_copies.put(view, "vector_table", Copy(space_id, now, 0, np.zeros(0, np.float32)))


def drop(view: View) -> None:
    """Removes it; needs sqlite-vec if it is there."""
    view.rows("DROP TABLE IF EXISTS vector_table")
    view.rows("DELETE FROM vector_copies WHERE copy = 'vector_table'")


def take_out(view: View) -> None:
    """Removes it where SQLite's DROP cannot, because sqlite-vec is not loaded."""
    view.run("PRAGMA writable_schema = ON")
    view.rows("DELETE FROM sqlite_schema WHERE name = 'vector_table'")
    view.run("PRAGMA writable_schema = RESET")
    shadows = view.rows(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'vector_table_*'"
    )
    for (name,) in shadows:
        view.run(f"DROP TABLE {name}")


def nearest(
    view: View, space_id: int, query: Query, limit: int, inside: Bitmap | None
) -> list[Scored] | None:
    """The best `limit` texts, or None where only a scan of all vectors can be sure.

    Asks for some more than needed until the farthest of them is certainly behind the last place,
    then compares those exactly.

    Args:
        view: The transaction.
        space_id: The space whose vectors it holds.
        query: float64[dimensions], of unit length.
        limit: At least 1.
        inside: True at the texts that may answer; None for all.
    """
    share = 1.0 if inside is None else _share(view, space_id, inside)
    few = np.nonzero(inside)[0] if inside is not None and share < _FEW else None
    count = int((limit + 16) * (1.0 if few is not None else 1.2 / share if share < 1 else 1.0))
    while count <= _MOST_NEIGHBOURS:
        found = _neighbours(view, space_id, query, count, few)
        best = _ranked(query, found, limit, inside)
        if len(found) < count:
            return best
        farthest = max(row[2] for row in found) ** 2
        if len(best) == limit and farthest > 2 - 2 * best[-1][1] + 2 * MARGIN:
            return best
        count *= 2
    return None


def _share(view: View, space_id: int, inside: Bitmap) -> float:
    """Of all vectors, those that may answer."""
    return np.count_nonzero(inside) / max(vector_copies.count(view, space_id), 1)


def _ranked(
    query: Query, found: list[tuple[int, bytes, float]], limit: int, inside: Bitmap | None
) -> list[Scored]:
    text_ids = np.fromiter((row[0] for row in found), np.int64, len(found))
    vectors = decoded([row[1] for row in found], len(query))
    if inside is not None:
        stays = marked(inside, text_ids)
        text_ids, vectors = text_ids[stays], vectors[stays]
    return ranked(query, text_ids, vectors, limit)


def _neighbours(
    view: View, space_id: int, query: Query, count: int, text_ids: Ids | None
) -> list[tuple[int, bytes, float]]:
    inside = (
        ""
        if text_ids is None
        else "AND vector_id IN (SELECT v.vector_id FROM json_each(?) "
        "CROSS JOIN vectors AS v ON v.text_id = value AND v.space_id = ?)"
    )
    return view.rows(
        "SELECT v.text_id, v.vector, n.distance FROM (SELECT vector_id, distance FROM vector_table "
        f"WHERE vector MATCH ? AND k = ? {inside}) AS n JOIN vectors AS v USING (vector_id)",
        [
            query.astype("<f4").tobytes(),
            count,
            *([] if text_ids is None else [json.dumps(text_ids.tolist()), space_id]),
        ],
    )
