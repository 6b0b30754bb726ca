"""Proving: a provider's vectors held against the CPU's, row by row, before any of them is used."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.embed.calls import Row, Runner
from engine.errors import NpuFailed
from engine.runtime.shapes import Bucket

LEAST_COSINE = 0.999
"""Of a row's vector to the CPU's: what 16-bit floats keep and no defect does (0.9999 and 0.3 with
MiniLM on the HTP simulator)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What vectors are held against."""

    cpu: Runner
    """Gives the vectors that are taken for right."""
    canary: Callable[[int, int], Row]
    """A row of so many tokens, or of the fewest there can be; a second number makes it another."""
    measure: Callable[[], None]
    """Calibrates the CPU, which is the other choice."""


def prove(runner: Runner, bucket: Bucket, reference: Reference) -> float:
    """Runs full rows and then short ones.

    Returns:
        Seconds that the second run took.

    Raises:
        NpuFailed: "wrong-vectors" if a row's vector is not the CPU's.
        EngineError: As the runner does.
    """
    seconds = 0.0
    for length in (bucket.tokens, 1):
        rows = [reference.canary(max(1, length - row), row) for row in range(bucket.rows)]
        started = time.perf_counter()
        vectors = runner.run(rows, bucket)
        seconds = time.perf_counter() - started
        for number, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
            right = reference.cpu.run([row], Bucket(1, len(row)))[0]
            if (cosine := float(np.dot(right, vector))) < LEAST_COSINE:
                raise NpuFailed(
                    "wrong-vectors",
                    f"row {number} of {bucket} has a cosine of {cosine:.4f} to the CPU's vector "
                    f"where {LEAST_COSINE} is due",
                )
    return seconds
