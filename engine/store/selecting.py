"""Selections: what filters let through, found out once while the index stays as it is.

Rule: a selection holds for one generation of the index, which rises with whatever a filter may look
at. So what is kept is what the transaction that asks would find.
"""

import threading

from engine.corpus import Filter
from engine.store import filtering
from engine.store.chunk_map import ChunkMap, Selection
from engine.store.connection import View
from engine.store.generation import generation

# Of filters asked for last. Each takes 2 MB in an index of a million chunks.
_MOST = 4


class Selections:
    """Of one index. May be asked by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunk_map = ChunkMap()
        self._kept: dict[tuple[int, Filter], Selection] = {}

    def of(self, view: View, where: Filter) -> Selection | None:
        """What a filter lets through; None where that is all.

        Args:
            view: A reading transaction.
            where: The filter.
        """
        if where.is_empty:
            return None
        asked = generation(view), where
        with self._lock:
            found = self._kept.pop(asked, None)
        if found is None:
            found = self._chunk_map.selection(view, filtering.document_keys(view, where))
        with self._lock:
            self._kept[asked] = found
            while len(self._kept) > _MOST:
                del self._kept[next(iter(self._kept))]
        return found
