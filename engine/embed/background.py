"""Background: embeds texts that nobody waits for, on all cores but one.

Has a session of its own, so that queries meet a free core and need not wait for a run to end. Knows
rows of token ids and vectors, no texts.

Rule: a session of one thread runs in the thread of whoever calls it, so that any number of callers
use it side by side. With a core left of two, queries are better run by that than by one of two
threads, one of which would share its core with what goes on here: p95 of a search while indexing
13 ms instead of 23, 8 ms alone, and 23 texts embedded a second instead of 19 (Linux x86-64, 2
cores, in turn, examples/benchmarks/search_while_indexing.py).
"""

import os
import platform
from collections.abc import Iterator, Sequence

import numpy as np

from engine.embed.calls import Row, Vectors
from engine.embed.encoder import Encoder
from engine.models.spec import EmbedderSpec
from engine.runtime.shapes import Bucket

# Where two logical cores are one, both of them counted would be one core too many.
_ONE_THREAD_A_CORE = ("aarch64", "arm64")


def spare_threads(threads: int) -> int:
    """Threads that leave a core free; 0 if there is only one.

    Args:
        threads: What a run may use otherwise; 0 for every physical core.
    """
    if threads == 0:
        logical = os.cpu_count() or 1
        one_a_core = platform.machine().lower() in _ONE_THREAD_A_CORE or logical <= 2
        threads = logical if one_a_core else logical // 2
    return threads - 1


class Background:
    """A model opened once more."""

    encoder: Encoder
    """What runs it."""

    def __init__(
        self, spec: EmbedderSpec, padding_id: int, threads: int, max_batch_tokens: int
    ) -> None:
        """Opens the session.

        Raises:
            ModelBroken: The model cannot be opened.
        """
        self.encoder = Encoder.on_cpu(spec, threads, padding_id)
        self._max_batch_tokens = max_batch_tokens

    def run(self, rows: Sequence[Row]) -> Vectors:
        """Unit vectors float32[rows, dimensions] of rows of token ids, special tokens included."""
        vectors = np.empty((len(rows), self.encoder.dimensions), np.float32)
        for numbers in self._batches(rows):
            chosen = [rows[number] for number in numbers]
            bucket = Bucket(len(chosen), max(map(len, chosen)))
            vectors[numbers] = self.encoder.run(chosen, bucket)
        return vectors

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """The numbers of rows that share a run: of like length, within the budget."""
        batch: list[int] = []
        for number in sorted(range(len(rows)), key=lambda number: -len(rows[number])):
            if batch and len(rows[batch[0]]) * (len(batch) + 1) > self._max_batch_tokens:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch
