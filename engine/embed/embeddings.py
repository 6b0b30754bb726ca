"""Embeddings: the vectors of a list of texts, and the steps by which they come.

Knows rows, counts and vectors; the texts themselves stay with `embedder`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.embed.calls import Call
from engine.embed.pool import Pool


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBatch:
    """One step: the vectors of the texts that shared a run."""

    indices: tuple[int, ...]
    """Positions in the caller's list; `vectors` and `token_counts` follow their order."""
    vectors: NDArray[np.float32]
    """[rows, dimensions], unit length."""
    token_counts: tuple[int, ...]
    truncated: tuple[int, ...]
    """Those of `indices` whose text was cut."""
    provider: str
    """The execution provider that made these vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The vectors of a list of texts, in the list's order."""

    vectors: NDArray[np.float32]
    """[texts, dimensions], unit length."""
    token_counts: tuple[int, ...]
    """What the model read of each text: after truncation, special tokens included."""
    truncated: tuple[int, ...]
    """Indices of the texts that were cut to the model's `max_tokens`."""
    providers: tuple[str, ...]
    """The execution provider that made each vector."""
    model_id: str

    @classmethod
    def of(cls, batches: Iterable[EmbeddedBatch], model_id: str) -> Self:
        """All batches of one list of texts as one answer, in the order of its texts."""
        steps = list(batches)
        order = np.argsort(np.concatenate([step.indices for step in steps]))
        counts = np.concatenate([step.token_counts for step in steps])[order]
        providers: list[str] = [step.provider for step in steps for _ in step.indices]
        return cls(
            vectors=np.concatenate([step.vectors for step in steps])[order],
            token_counts=tuple(int(count) for count in counts),
            truncated=tuple(sorted(index for step in steps for index in step.truncated)),
            providers=tuple(providers[int(number)] for number in order),
            model_id=model_id,
        )

    @property
    def prompt_tokens(self) -> int:
        """All tokens the model read."""
        return sum(self.token_counts)

    @property
    def provider(self) -> str:
        """The execution providers that made the vectors, most vectors first: "npu, cpu"."""
        names = sorted(set(self.providers), key=lambda name: (-self.providers.count(name), name))
        return ", ".join(names)


class EmbeddingSteps:
    """The batches of one list of texts as they are done; closing it leaves the rest undone.

    Iterated by one thread at a time; `close` may be called from any.
    """

    def __init__(
        self, pool: Pool, begin: Callable[[], tuple[Call, list[int]]], max_tokens: int
    ) -> None:
        """Nothing happens before the first step.

        Args:
            pool: Where rows wait for their vectors.
            begin: Makes the call and counts each text's tokens before it was cut.
            max_tokens: What the model reads of a text.
        """
        self._pool = pool
        self._begin = begin
        self._max_tokens = max_tokens
        self._call: Call | None = None
        self._counts: list[int] = []
        self._is_closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EmbeddedBatch:
        """The next batch, waited for.

        Raises:
            EngineError: As `Embedder.embed` does, at the first step or at the one that failed.
        """
        if self._is_closed:
            raise StopIteration
        if self._call is None:
            call, self._counts = self._begin()
            self._pool.add(call)
            self._call = call
        if self._is_closed:  # Meanwhile, by another thread.
            self.close()
        part = self._pool.next_part(self._call)
        if part is None:
            raise StopIteration
        return EmbeddedBatch(
            indices=part.indices,
            vectors=part.vectors,
            token_counts=tuple(min(self._counts[i], self._max_tokens) for i in part.indices),
            truncated=tuple(i for i in part.indices if self._counts[i] > self._max_tokens),
            provider=part.provider,
        )

    def __del__(self) -> None:
        if self._call is not None:
            self._pool.drop_later(self._call)

    def close(self) -> None:
        """Leaves the rest undone; whoever waits for a step is told that it was the last."""
        self._is_closed = True
        if self._call is not None:
            self._pool.drop(self._call)
