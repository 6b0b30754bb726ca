"""ChunkMap: which text and which document each chunk has, held in memory for filters.

Makes of documents a `Selection`: the chunks and texts in them, as masks.

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

    def selection(self, document_keys: Ids) -> "Selection":
        """What is in one of some documents."""
        inside = marked(_bitmap(document_keys), self.document_keys)
        chunk_ids = self.chunk_ids[inside]
        return Selection(
            len(chunk_ids), _bitmap(chunk_ids).tobytes(), _bitmap(self.text_ids[inside])
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter lets through."""

    chunk_count: int
    chunks: bytes
    """A byte for each number of a chunk, from 0: 1 where it is let through, 0 where it is not. For
    SQL, where substr() looks into it in 20 ns; those behind its end are not let through."""
    texts: Bitmap
    """True at each number of a text that is let through; for `marked`."""


def marked(inside: Bitmap, numbers: Ids) -> Bitmap:
    """Which numbers a bitmap has; those behind its end, which came later, it has not."""
    return inside.take(numbers, mode="clip")


def _bitmap(numbers: Ids) -> Bitmap:
    """True at each of some numbers, and false at its end."""
    bits = np.zeros(int(numbers.max(initial=0)) + 2, np.bool_)
    bits[numbers] = True
    return bits


class ChunkMap:
    """Follows the table `chunks`: 12 MB for a million. May be asked by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        none = np.zeros(0, np.int64)
        self._held = _Held(none, none, none)

    def selection(self, view: View, document_keys: Ids) -> Selection:
        """What is in some documents."""
        return self._follow(view).selection(document_keys)

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
