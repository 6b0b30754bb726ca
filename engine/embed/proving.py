"""Proving: a provider's vectors held against the CPU's, row by row, before any of them is used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.embed.calls import Row, Runner, Vectors
from engine.errors import NpuFailed
from engine.runtime.shapes import Bucket

Timed = tuple[Vectors, float]
"""Vectors, and the milliseconds that their run took."""

LEAST_COSINE = 0.999
"""Of a row's vector to the CPU's: what 16-bit floats keep and no defect does (0.9999 and 0.3 with
MiniLM on the HTP simulator). So do 16-bit codes beside the CPU's floats of the same weights: 0.9996
was the lowest of 13 texts in rows of 32, and of 6 in rows of 64, 128 and 256."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What vectors are held against."""

    cpu: Runner
    """Gives the vectors that are taken for right."""
    canary: Callable[[int, int], Row]
    """A row of so many tokens, or of the fewest there can be; a second number makes it another."""
    measure: Callable[[], None]
    """Calibrates the CPU, which is the other choice."""


def prove(run: Callable[[Sequence[Row]], Timed], bucket: Bucket, reference: Reference) -> float:
    """Runs full rows and then short ones.

    Args:
        run: Rows to vectors, on the provider and in the shape in question, and the milliseconds.
        bucket: The shape.
        reference: What the vectors are held against.

    Returns:
        Milliseconds that the second run took.

    Raises:
        NpuFailed: "wrong-vectors" if a row's vector is not the CPU's.
        EngineError: As the run does.
    """
    ms = 0.0
    for length in (bucket.tokens, 1):
        rows = [reference.canary(max(1, length - row), row) for row in range(bucket.rows)]
        vectors, ms = run(rows)
        for number, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
            right = reference.cpu.run([row], Bucket(1, len(row)))[0]
            if (cosine := float(np.dot(right, vector))) < LEAST_COSINE:
                raise NpuFailed(
                    "wrong-vectors",
                    f"row {number} of {bucket} has a cosine of {cosine:.4f} to the CPU's vector "
                    f"where {LEAST_COSINE} is due",
                )
    return ms
