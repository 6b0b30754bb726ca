"""VectorTable: the copy of the vectors that sqlite-vec searches inside SQLite.

Rule: never the only copy. It carries the generation of the vectors it was made from; when that is
not the stored one, because a program without sqlite-vec wrote, it is passed over and remade.
Numbers and limits: sqlite-vec 0.1.9.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from engine.store.connection import Database
from engine.store.vectors import MARGIN, Query, Scored, decoded, ranked

# sqlite-vec refuses to return more neighbours at once, and refuses longer vectors.
_MOST_NEIGHBOURS = 4096
_MOST_DIMENSIONS = 8192

# Vectors are kept in blocks of this many; a block is freed when its last vector goes. 128 to 1024
# searched equally fast (20,000 vectors of 384, Linux x86-64, 2 cores), so small ones waste less.
_BLOCK = 256


class VectorTable:
    """sqlite-vec's table beside the vectors; every call belongs inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_current(self) -> bool:
        """Whether it holds exactly the stored vectors."""
        made_from = "SELECT value FROM meta WHERE key = 'vector_table_generation'"
        generation = "SELECT value FROM meta WHERE key = 'generation'"
        return bool(self._database.value(f"SELECT ({made_from}) IS ({generation})"))

    def mark_current(self) -> None:
        """Says that it holds the stored vectors, after both were changed alike."""
        self._database.rows(
            "INSERT OR REPLACE INTO meta "
            "SELECT 'vector_table_generation', value FROM meta WHERE key = 'generation'"
        )

    def make_current(self, dimensions: int) -> bool:
        """Remakes it from the stored vectors unless it is current; False if it cannot hold them."""
        if self.is_current():
            return True
        self.drop()
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            return False
        self._database.rows(
            f"CREATE VIRTUAL TABLE vector_table USING vec0(chunk_id INTEGER PRIMARY KEY, "
            f"vector float[{dimensions}] distance_metric=L2, chunk_size={_BLOCK})"
        )
        self._database.rows(
            "INSERT INTO vector_table (chunk_id, vector) SELECT chunk_id, vector FROM vectors"
        )
        self.mark_current()
        return True

    def drop(self) -> None:
        """Removes it; the next change makes it anew."""
        self._database.rows("DROP TABLE IF EXISTS vector_table")
        self._database.rows("DELETE FROM meta WHERE key = 'vector_table_generation'")

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        """Adds pairs of chunk id and encoded vector."""
        self._database.run_many("INSERT INTO vector_table (chunk_id, vector) VALUES (?, ?)", rows)

    def remove(self, chunk_ids: Iterable[int]) -> None:
        """Removes the vectors of chunks."""
        rows = ([chunk_id] for chunk_id in chunk_ids)
        self._database.run_many("DELETE FROM vector_table WHERE chunk_id = ?", rows)

    def nearest(self, query: Query, limit: int) -> list[Scored] | None:
        """The best `limit` chunks, or None where only a scan of all vectors can be sure.

        Asks for some more than needed until the farthest of them is certainly behind the last
        place, then compares those exactly.
        """
        count = limit + 16
        while count <= _MOST_NEIGHBOURS:
            best, farthest = self._candidates(query, count)
            if len(best) < count or farthest > 2 - 2 * best[limit - 1][1] + 2 * MARGIN:
                return best[:limit]
            count *= 2
        return None

    def _candidates(self, query: Query, count: int) -> tuple[list[Scored], float]:
        """`count` candidates with exact scores, and the squared distance of the farthest."""
        found = self._database.rows(
            "SELECT v.chunk_id, v.vector, n.distance FROM (SELECT chunk_id, distance FROM "
            "vector_table WHERE vector MATCH ? AND k = ?) AS n JOIN vectors AS v USING (chunk_id)",
            [query.astype("<f4").tobytes(), count],
        )
        if not found:
            return [], 0.0
        chunk_ids = np.array([row[0] for row in found], np.int64)
        vectors = decoded([row[1] for row in found], len(query))
        return ranked(query, chunk_ids, vectors), max(row[2] for row in found) ** 2
