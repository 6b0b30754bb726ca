"""ChunkMap: which text and which document each chunk has, held in memory for filters.

Rule: a chunk never changes its text or document, and numbers never come back. So chunks are only
added, and those that are gone do no harm: no filter lets their documents through.
"""

import threading
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engine.store.connection import View
from engine.store.vector_copies import Ids

Bitmap = NDArray[np.bool_]

_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class _Held:
    chunk_ids: Ids
    """Ascending."""
    text_ids: Ids
    document_keys: Ids

    @property
    def last(self) -> int:
        return int(self.chunk_ids[-1]) if len(self.chunk_ids) else 0

    def inside(self, document_keys: Ids) -> Bitmap:
        """Which chunks are in one of some documents."""
        if not len(self.chunk_ids) or not len(document_keys):
            return np.zeros(len(self.chunk_ids), np.bool_)
        wanted = bitmap(document_keys, max(int(self.document_keys.max()), int(document_keys[-1])))
        return wanted[self.document_keys]


def bitmap(numbers: Ids, last: int) -> Bitmap:
    """True at each of some numbers, none of them behind the last."""
    marked = np.zeros(last + 1, np.bool_)
    marked[numbers] = True
    return marked


def marked(inside: Bitmap, numbers: Ids) -> Bitmap:
    """Which numbers a bitmap has; those behind its end, which came later, it has not."""
    return inside[np.where(numbers < len(inside), numbers, 0)]


class ChunkMap:
    """Follows the table `chunks`: 12 MB for a million. May be asked by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        none = np.zeros(0, np.int64)
        self._held = _Held(none, none, none)

    def chunks(self, view: View, document_keys: Ids) -> Ids:
        """The chunks of some documents, ascending."""
        held = self._follow(view)
        return held.chunk_ids[held.inside(document_keys)]

    def texts(self, view: View, document_keys: Ids) -> Bitmap:
        """Which texts some documents have: true at their numbers, false at the others and 0."""
        held = self._follow(view)
        last = int(held.text_ids.max()) if len(held.text_ids) else 0
        inside = bitmap(held.text_ids[held.inside(document_keys)], last)
        inside[0] = False
        return inside

    def _follow(self, view: View) -> _Held:
        with self._lock:
            held = self._held
            last = int(view.value("SELECT max(chunk_id) FROM chunks") or 0)
            stored = int(view.value("SELECT number FROM counts WHERE name = 'chunks'") or 0)
            added = last - held.last
            if added > len(held.chunk_ids) // 4 or len(held.chunk_ids) > 2 * stored + _BATCH:
                self._held = _read(view, "INDEXED BY chunks_of_text", 0)
            elif added > 0:
                self._held = _joined(held, _read(view, "WHERE chunk_id > ?", held.last))
            return self._held


def _read(view: View, part: str, after: int) -> _Held:
    """Chunks, some of them or, by an index that holds no texts, all."""
    rows = view.stream(
        f"SELECT chunk_id, text_id, document_key FROM chunks {part}", [after] if after else []
    )
    batches: list[Ids] = [np.zeros((3, 0), np.int32)]
    while batch := list(islice(rows, _BATCH)):
        batches.append(_narrow(np.array(batch, np.int64).T))
    table = np.concatenate(batches, axis=1)
    del batches
    order = np.argsort(table[0])
    return _Held(*(column[order] for column in table))


def _narrow(numbers: Ids) -> Ids:
    """In half the room, while numbers are small enough."""
    return numbers.astype(np.int32) if numbers.max() < 2**31 else numbers


def _joined(first: _Held, second: _Held) -> _Held:
    return _Held(
        np.concatenate([first.chunk_ids, second.chunk_ids]),
        np.concatenate([first.text_ids, second.text_ids]),
        np.concatenate([first.document_keys, second.document_keys]),
    )
