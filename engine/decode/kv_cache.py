"""KVCache: keys and values of sequences, a row each, and how far each row is filled.

Knows the session's tensors by name; knows no token. The graph's attention shares one buffer between
past and present: both are bound to the same array, so a run writes its keys in place and copies
nothing. Rows lie behind each other in one buffer a tensor, so that the first rows together are a
batch and every row alone is one too. Buffers grow in steps as rows come and fill up, and are freed
with the last row.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ModelBroken
from engine.runtime.session import Array, Binding, Session, Tensor

# Capacities are multiples of this: few different sizes, and few positions unused. A buffer that
# must grow grows by a half at least, so that what is copied stays in proportion to what is written.
_STEP = 256

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """The cache tensors of one graph."""

    names: tuple[tuple[str, str], ...]
    """Input and output that belong together: past and present keys and values of each layer."""
    heads: int
    head_size: int
    dtype: type[np.generic]

    @classmethod
    def of(cls, session: Session) -> "CacheLayout":
        """Reads the layout off a session's inputs.

        Raises:
            ModelBroken: The graph has no cache of this form.
        """
        past = {name: found for name in session.inputs if (found := _PAST.fullmatch(name))}
        names = tuple((name, f"present.{found[1]}.{found[2]}") for name, found in past.items())
        if not past or any(present not in session.outputs for _, present in names):
            raise ModelBroken(
                "The model's graph has no past_key_values inputs with present outputs: "
                "export it with a key-value cache."
            )
        heads, head_size, dtype = _shape({name: session.inputs[name] for name in past})
        return cls(names, heads, head_size, dtype)

    @property
    def token_bytes(self) -> int:
        """Bytes that one token's keys and values take."""
        return len(self.names) * self.heads * self.head_size * np.dtype(self.dtype).itemsize


class Row:
    """One sequence's place in a cache."""

    def __init__(self, index: int) -> None:
        self.index = index
        """Where it lies now; the cache moves rows when others leave."""
        self.position = 0
        """Tokens whose keys and values are in the cache; lower it to forget the last ones."""


class KVCache:
    """Buffers [rows, heads, capacity, head_size], one a tensor of the layout."""

    def __init__(
        self, session: Session, layout: CacheLayout, context: int, limit_bytes: int
    ) -> None:
        """An empty cache, which holds no memory.

        Args:
            session: Whose bindings it fills.
            layout: The session's.
            context: Positions a row may have at most.
            limit_bytes: What all buffers together may take.
        """
        self._session = session
        self._layout = layout
        self._context = context
        self._limit = limit_bytes
        self._rows: list[Row] = []
        self._buffers: list[Array] = []
        self._bindings: dict[tuple[int, int], Binding] = {}
        self.capacity = 0
        """Positions each row has room for now."""

    @property
    def rows(self) -> Sequence[Row]:
        """The rows in use, in the order in which they lie."""
        return self._rows

    @property
    def bytes(self) -> int:
        """What the buffers take."""
        return sum(buffer.nbytes for buffer in self._buffers)

    @property
    def longest(self) -> int:
        """Tokens that a row may have if it is the only one."""
        return self._longest(1)

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether there may be so many rows of so many tokens each."""
        return tokens <= self._longest(max(rows, self._held))

    def open_row(self, tokens: int) -> Row:
        """A new row, with room for so many tokens.

        Raises:
            IndexError: The context or the limit is exceeded; see `fits`.
        """
        row = Row(len(self._rows))
        self._rows.append(row)
        self.reserve(tokens)
        return row

    def close_row(self, row: Row) -> None:
        """Frees a row: the last one takes its place."""
        last = self._rows[-1]
        if last is not row:
            for buffer in self._buffers:
                buffer[row.index, :, : last.position] = buffer[last.index, :, : last.position]
            self._rows[row.index], last.index = last, row.index
        self._rows.pop()
        if not self._rows:
            self._buffers, self._bindings, self.capacity = [], {}, 0

    def reserve(self, tokens: int) -> None:
        """Makes room for so many tokens in every row.

        Raises:
            IndexError: The context or the limit is exceeded; see `fits`.
        """
        rows = max(len(self._rows), self._held)
        if tokens > self._longest(rows):
            raise IndexError(f"{rows} rows of {tokens} tokens exceed what the cache may hold")
        if tokens > self.capacity:
            grown = -(-max(tokens, self.capacity * 3 // 2) // _STEP) * _STEP
            self.capacity = min(grown, self._longest(rows))
            self._allocate(rows)
        elif rows > self._held:
            self._allocate(rows)

    def binding(self, first: int, count: int) -> Binding:
        """Where so many rows from `first` on are bound; a run's other arrays go beside them."""
        if (first, count) not in self._bindings:
            binding = self._bindings[first, count] = self._session.binding()
            for (past, present), buffer in zip(self._layout.names, self._buffers, strict=True):
                rows = buffer[first : first + count]
                binding.bind_input(past, rows)
                binding.bind_output(present, rows)
        return self._bindings[first, count]

    def read(self, row: Row, tokens: int) -> list[Array]:
        """Copies of the first tokens' keys and values, each [heads, tokens, head_size]."""
        return [buffer[row.index, :, :tokens].copy() for buffer in self._buffers]

    def write(self, row: Row, arrays: Sequence[Array], tokens: int) -> None:
        """Fills a row's first positions with what `read` gave; the row has room for them."""
        for buffer, array in zip(self._buffers, arrays, strict=True):
            buffer[row.index, :, :tokens] = array[:, :tokens]
        row.position = tokens

    @property
    def _held(self) -> int:
        """Rows the buffers have room for."""
        return len(self._buffers[0]) if self._buffers else 0

    def _longest(self, rows: int) -> int:
        """Tokens each of so many rows may have."""
        return min(self._context, self._limit // (rows * self._layout.token_bytes))

    def _allocate(self, rows: int) -> None:
        shape = (rows, self._layout.heads, self.capacity, self._layout.head_size)
        self._bindings = {}
        if not self._buffers:
            self._buffers = [np.zeros(shape, self._layout.dtype) for _ in self._layout.names]
            return
        for index, old in enumerate(self._buffers):
            self._buffers[index] = new = np.zeros(shape, self._layout.dtype)
            for row in self._rows[: len(old)]:
                new[row.index, :, : row.position] = old[row.index, :, : row.position]


def _shape(past: Mapping[str, Tensor]) -> tuple[int, int, type[np.generic]]:
    shapes = {(tensor.shape[1:2] + tensor.shape[3:], tensor.dtype) for tensor in past.values()}
    match list(shapes):
        case [((int(heads), int(head_size)), (np.float32 | np.float16) as dtype)]:
            return heads, head_size, dtype
        case _:
            raise ModelBroken(
                "The model's past_key_values inputs are not [batch, heads, length, head size] "
                "in float32 or float16, the same in every layer: export it in that form."
            )
