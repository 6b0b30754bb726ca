"""SharedCache: rows in buffers that the graph's attention updates in place.

Past and present are bound to the same array, so a run writes its keys and copies nothing. Rows lie
behind each other in one buffer a tensor, so that the first rows together are a batch and every row
alone is one too. Buffers grow in steps as rows come and fill up, give the places of rows that have
gone back where the limit wants it, and are freed with the last row.
"""

from collections.abc import Iterable, Sequence

from engine import memory
from engine.decode.kv_cache import CacheLayout, KVCache, Row, handed_over
from engine.runtime.session import Array, Binding, Session

# Capacities are multiples of this, up to what context and limit allow: few different sizes, and few
# positions unused. A buffer that must grow grows by a half at least, so that what is copied stays
# in proportion to what is written.
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

    def open_row(self, tokens: int) -> Row:
        self._reserve(len(self._rows) + 1, tokens)
        self._rows.append(Row())
        return self._rows[-1]

    def close_row(self, row: Row, keep: int = 0) -> list[Array]:
        """As promised; the last row takes the place of the one that is freed."""
        buffers = [*self._buffers]
        if len(self._rows) == 1:  # Nothing else may hold what is dropped one by one.
            self._buffers, self._bindings = [], {}
        try:
            return handed_over(buffers, self._rows.index(row), keep)
        finally:
            self._drop(row)

    def _drop(self, row: Row) -> None:
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
        return handed_over([*self._buffers], index, tokens)

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
        needed = max(tokens, *(row.position for row in self._rows), 0)
        if needed <= self._longest(max(rows, self._held)):
            rows = max(rows, self._held)
        longest = self._longest(rows)
        if needed > longest:
            raise IndexError(f"{rows} rows of {needed} tokens exceed what the cache may hold")
        if needed <= self.capacity and rows == self._held:
            return
        capacity = self.capacity
        if needed > capacity:
            capacity = -(-max(needed, capacity * 3 // 2) // _STEP) * _STEP
        self._allocate(rows, min(capacity, longest))

    def _allocate(self, rows: int, capacity: int) -> None:
        """Moves all rows into new buffers.

        Where memory runs out nothing has changed, or all buffers have to be made again.
        """
        self._bindings = {}
        shape = (rows, self.layout.heads, capacity, self.layout.head_size)
        for number, old in enumerate(self._buffers):
            new = memory.pages(shape, self.layout.dtype)
            for index, row in enumerate(self._rows):
                new[index, :, : row.position] = old[index, :, : row.position]
            self._buffers[number], self.capacity = new, 0
        if not self._buffers:
            self._buffers = [memory.pages(shape, self.layout.dtype) for _ in self.layout.names]
        self.capacity = capacity
