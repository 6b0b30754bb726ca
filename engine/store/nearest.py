"""NearestVectors: finds the vectors nearest to a question's, within one transaction.

Compares with every vector in double precision.
"""

from collections.abc import Sequence

import numpy as np

from engine.store.connection import View
from engine.store.filtering import DocumentKeys
from engine.store.interface import VectorSearch
from engine.store.vectors import Query, Scored, decoded, ranked


class NearestVectors:
    """What a store searches its vectors with."""

    def __init__(self, slow_reason: str) -> None:
        self._slow_reason = slow_reason

    def search(
        self, view: View, space_id: int, query: Query, limit: int, keys: DocumentKeys | None
    ) -> list[Scored]:
        """The nearest texts, best first, the older one first among equals."""
        rows = view.rows("SELECT text_id, vector FROM vectors WHERE space_id = ?", [space_id])
        if keys is not None:
            sql = (
                "SELECT DISTINCT text_id FROM chunks "
                "WHERE document_key IN (SELECT value FROM json_each(?))"
            )
            inside = {row[0] for row in view.rows(sql, [str(keys.tolist())])}
            rows = [row for row in rows if row[0] in inside]
        if not rows:
            return []
        ids = np.array([row[0] for row in rows], np.int64)
        return ranked(query, ids, decoded([row[1] for row in rows], len(query)))[:limit]

    def added(self, view: View, space_id: int, pairs: Sequence[tuple[int, bytes]]) -> None:
        """Vectors were stored."""

    def removed(self, view: View, vector_ids: Sequence[int]) -> None:
        """Vectors were removed."""

    def trim(self, view: View) -> None:
        """Drops what is not needed."""

    def way(self, view: View, space_id: int) -> tuple[VectorSearch, str]:
        """How it searches, and why."""
        return "numpy", self._slow_reason
