"""SharedCache: rows in buffers that the graph's attention updates in place.

Past and present are bound to the same array, so a run writes its keys and copies nothing. Rows lie
behind each other in one buffer a tensor, so that the first rows together are a batch and every row
alone is one too. Buffers grow in steps as rows come and fill up, and are freed with the last row.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from engine.decode.kv_cache import CacheLayout, KVCache, Row
from engine.runtime.session import Array, Binding, Session

# Capacities are multiples of this: few different sizes, and few positions unused. A buffer that
# must grow grows by a half at least, so that what is copied stays in proportion to what is written.
_STEP = 256


class SharedCache(KVCache):
    """Buffers [rows, heads, capacity, head_size], one a tensor of the layout."""

    def __init__(
        self, session: Session, layout: CacheLayout, context: int, limit_bytes: int
    ) -> None:
        super().__init__(session, layout, context, limit_bytes)
        self._buffers: list[Array] = []
        self._bindings: dict[tuple[int, int], Binding] = {}
        self.capacity = 0
        """Positions each row has room for now."""

    @property
    def bytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def fits(self, rows: int, tokens: int) -> bool:
        return super().fits(max(rows, self._held), tokens)

    def open_row(self, tokens: int) -> Row:
        self._reserve(len(self._rows) + 1, tokens)
        self._rows.append(Row())
        return self._rows[-1]

    def close_row(self, row: Row) -> None:
        """Frees a row: the last one takes its place."""
        index, last = self._rows.index(row), len(self._rows) - 1
        moved = self._rows.pop()
        if moved is not row:
            for buffer in self._buffers:
                buffer[index, :, : moved.position] = buffer[last, :, : moved.position]
            self._rows[index] = moved
        if not self._rows:
            self._buffers, self._bindings, self.capacity = [], {}, 0

    def batches(self, rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
        """One run; rows that lie between these run along."""
        return [self._rows[: 1 + max(map(self._rows.index, rows))]]

    def binding(self, batch: Sequence[Row], count: int) -> Binding:
        self._reserve(len(self._rows), count + max(row.position for row in batch))
        first = self._rows.index(batch[0])
        key = first, len(batch)
        if key not in self._bindings:
            binding = self._bindings[key] = self._session.binding()
            for (past, present), buffer in zip(self.layout.names, self._buffers, strict=True):
                rows = buffer[first : first + len(batch)]
                binding.bind_input(past, rows)
                binding.bind_output(present, rows)
        return self._bindings[key]

    def keep(self, row: Row, count: int) -> None:
        row.position += count

    def read(self, row: Row, tokens: int) -> list[Array]:
        index = self._rows.index(row)
        return [buffer[index, :, :tokens].copy() for buffer in self._buffers]

    def write(self, row: Row, arrays: Sequence[Array], tokens: int) -> None:
        index = self._rows.index(row)
        for buffer, array in zip(self._buffers, arrays, strict=True):
            buffer[index, :, :tokens] = array[:, :tokens]
        row.position = tokens

    @property
    def _held(self) -> int:
        """Rows the buffers have room for."""
        return len(self._buffers[0]) if self._buffers else 0

    def _reserve(self, rows: int, tokens: int) -> None:
        """Makes room for so many rows, and in each for so many tokens."""
        rows = max(rows, self._held)
        longest = self._longest(rows)
        needed = max(tokens, *(row.position for row in self._rows), 0)
        if needed > longest:
            raise IndexError(f"{rows} rows of {needed} tokens exceed what the cache may hold")
        if needed <= self.capacity and rows == self._held:
            return
        if needed > self.capacity:
            self.capacity = -(-max(needed, self.capacity * 3 // 2) // _STEP) * _STEP
        self.capacity = min(self.capacity, longest)
        self._allocate(rows)

    def _allocate(self, rows: int) -> None:
        shape = (rows, self.layout.heads, self.capacity, self.layout.head_size)
        self._bindings = {}
        if not self._buffers:
            self._buffers = [np.zeros(shape, self.layout.dtype) for _ in self.layout.names]
            return
        for number, old in enumerate(self._buffers):
            self._buffers[number] = new = np.zeros(shape, self.layout.dtype)
            for index, row in enumerate(self._rows):
                new[index, :, : row.position] = old[index, :, : row.position]
