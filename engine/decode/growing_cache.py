"""GrowingCache: rows for a graph that gives past and new keys and values joined.

Each row has arrays of exactly its length. A run writes new ones, which become the row's own when
they are kept: until then, and if the run fails, the row is as before. Rows differ in length, so
each runs alone.
Rule: nobody writes to an array that a run has filled, so it may be handed out without a copy.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from engine.decode.kv_cache import CacheLayout, KVCache, Row, handed_over
from engine.runtime.session import Array, Binding, Session


class GrowingCache(KVCache):
    """Arrays [1, heads, length, head_size] for each row, one a tensor of the layout."""

    spare_rows = 1
    """What a run writes."""

    def __init__(
        self, session: Session, layout: CacheLayout, context: int, limit_bytes: int
    ) -> None:
        super().__init__(session, layout, context, limit_bytes)
        self._arrays: dict[Row, list[Array]] = {}
        self._joined: list[Array] = []
        """What the last run has written, until it is kept."""

    @property
    def bytes(self) -> int:
        rows = [*self._arrays.values(), self._joined]
        return sum(array.nbytes for arrays in rows for array in arrays)

    def open_row(self, tokens: int) -> Row:
        self._require(len(self._rows) + 1, tokens)
        row = Row()
        self._arrays[row] = [self._empty(0) for _ in self.layout.names]
        self._rows.append(row)
        return row

    def close_row(self, row: Row, keep: int = 0) -> list[Array]:
        self._rows.remove(row)
        self._joined = []
        return handed_over(self._arrays.pop(row), 0, keep)

    def batches(self, rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
        """A run for each."""
        return [[row] for row in rows]

    def binding(self, batch: Sequence[Row], count: int) -> Binding:
        (row,) = batch
        length = row.position + count
        self._require(len(self._rows), length)
        self._arrays[row] = [_first(array, row.position) for array in self._arrays[row]]
        self._joined = [self._empty(length) for _ in self.layout.names]
        binding = self._session.binding()
        for (past, present), old, new in zip(
            self.layout.names, self._arrays[row], self._joined, strict=True
        ):
            binding.bind_input(past, old)
            binding.bind_output(present, new)
        return binding

    def keep(self, row: Row, count: int) -> None:
        self._arrays[row], self._joined = self._joined, []
        row.position += count

    def read(self, row: Row, tokens: int) -> list[Array]:
        return [_first(array, tokens)[0] for array in self._arrays[row]]

    def write(self, row: Row, arrays: Sequence[Array], tokens: int) -> None:
        self._arrays[row] = [_first(array[None], tokens) for array in arrays]
        row.position = tokens

    def _empty(self, length: int) -> Array:
        shape = (1, self.layout.heads, length, self.layout.head_size)
        return np.empty(shape, self.layout.dtype)

    def _require(self, rows: int, tokens: int) -> None:
        if not self.fits(rows, tokens):
            raise IndexError(f"{rows} rows of {tokens} tokens exceed what the cache may hold")


def _first(array: Array, tokens: int) -> Array:
    """The first tokens of [1, heads, length, head_size]; a copy where there are more.

    A part that is no copy would keep the whole in memory.
    """
    return array if tokens == array.shape[2] else array[:, :, :tokens].copy()
