"""KVCache: keys and values of sequences, a row each, and how far each row is filled.

Knows the session's tensors by name; knows no token. How rows are kept depends on what a graph's
attention does with them: `shared_cache` where it writes new ones into the buffer it is given,
`growing_cache` where it gives past and new ones joined.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine import memory
from engine.errors import ModelBroken
from engine.runtime.session import Array, Binding, Session, Tensor

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

    def __init__(self) -> None:
        self.position = 0
        """Tokens whose keys and values are in the cache; lower it to forget the last ones."""


class KVCache(ABC):
    """The rows of one session, within a limit of memory."""

    spare_rows: ClassVar[int] = 0
    """So many more rows' memory is needed while one runs."""

    def __init__(
        self, session: Session, layout: CacheLayout, context: int, limit_bytes: int
    ) -> None:
        """An empty cache, which holds no memory.

        Args:
            session: Whose bindings it fills.
            layout: The session's.
            context: Positions a row may have at most.
            limit_bytes: What all keys and values together may take.
        """
        self.layout = layout
        self._session = session
        self._context = context
        self._limit = limit_bytes
        self._rows: list[Row] = []

    @property
    def rows(self) -> Sequence[Row]:
        """The rows in use."""
        return self._rows

    @property
    def longest(self) -> int:
        """Tokens that a row may have if it is the only one."""
        return self._longest(1)

    @property
    @abstractmethod
    def bytes(self) -> int:
        """What all keys and values take."""

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether there may be so many rows of so many tokens each."""
        return tokens <= self._longest(rows)

    @abstractmethod
    def open_row(self, tokens: int) -> Row:
        """A new row, with room for so many tokens.

        Raises:
            IndexError: The context or the limit is exceeded; see `fits`.
        """

    @abstractmethod
    def close_row(self, row: Row, keep: int = 0) -> list[Array]:
        """Frees a row, and with the last one all memory; even if it raises.

        Args:
            row: One of `rows`.
            keep: For how many of its first tokens keys and values are handed over.

        Returns:
            As `read`. With the last row each buffer is freed before the next one is copied.

        Raises:
            MemoryError: There is none for what is to be handed over.
        """

    @abstractmethod
    def batches(self, rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
        """The rows of each run by which these all grow; others may have to run along."""

    @abstractmethod
    def binding(self, batch: Sequence[Row], count: int) -> Binding:
        """Makes room for so many new tokens in each row of a batch and says where it is bound.

        A run's other arrays go beside them; after it `keep` takes what is wanted of its outcome.

        Raises:
            IndexError: The context or the limit is exceeded; see `fits`.
        """

    @abstractmethod
    def keep(self, row: Row, count: int) -> None:
        """Adds the new tokens of the last run to one of its rows."""

    @abstractmethod
    def read(self, row: Row, tokens: int) -> list[Array]:
        """The first tokens' keys and values, each [heads, tokens, head_size], to stay as they are.

        They share no memory that anybody writes to.
        """

    @abstractmethod
    def write(self, row: Row, arrays: Sequence[Array], tokens: int) -> None:
        """Fills a row's first positions with what `read` gave; the row has room for them."""

    def _longest(self, rows: int) -> int:
        """Tokens each of so many rows may have."""
        held = (rows + self.spare_rows) * self.layout.token_bytes
        return min(self._context, self._limit // held)


def handed_over(buffers: list[Array], index: int, tokens: int) -> list[Array]:
    """Copies of the first tokens of a row, each made when the buffer before it has been dropped.

    They lie in one block, apart from what the C library keeps: a server holds many of them, of all
    lengths, for very different times.

    Args:
        buffers: Arrays [rows, heads, capacity, head_size], all alike; the list is emptied.
        index: The row's.
        tokens: How many; for 0 nothing is copied.

    Raises:
        MemoryError: There is none.
    """
    if not tokens:
        return []
    _, heads, _, head_size = buffers[0].shape
    kept = memory.pages((len(buffers), heads, tokens, head_size), buffers[0].dtype.type)
    buffers.reverse()
    for copy in kept:
        copy[:] = buffers.pop()[index, :, :tokens]
    return list(kept)


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
