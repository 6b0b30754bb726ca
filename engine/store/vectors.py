"""Vectors compared one by one in numpy: the exact answer, wherever sqlite-vec cannot give it.

Rule: whatever proposes candidates, `ranked` decides, in double precision and row by row, so that
equal vectors get equal scores and both ways of searching agree to the last bit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.store.interface import Vectors

Scored = tuple[int, float]
"""Text id and score."""

Query = NDArray[np.float64]

# Single precision errs by less than this in the similarity of two unit vectors (a few 1e-7 at 384
# dimensions): candidates this close to the last place are compared exactly.
MARGIN = 1e-5


def unit(vectors: NDArray[np.generic], rows: int, dimensions: int) -> NDArray[np.float64]:
    """Scales vectors to unit length.

    Returns:
        float64[rows, dimensions].

    Raises:
        InvalidInput: Another shape, a vector of zeros, or what is no finite number.
    """
    if vectors.size == 0 and rows == 0:
        return np.zeros((0, dimensions))
    if vectors.shape != (rows, dimensions):
        raise InvalidInput(
            f"The vectors have the shape {vectors.shape}; expected ({rows}, {dimensions})."
        )
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise InvalidInput("A vector is all zeros or holds a value that is no finite number.")
    return wide / norms


def similarity(query: Query, vectors: Vectors) -> NDArray[np.float64]:
    """The cosine similarity of each vector, in double precision."""
    return np.clip((vectors.astype(np.float64) * query).sum(axis=1), -1.0, 1.0)


def ranked(
    query: Query, text_ids: NDArray[np.integer[Any]], vectors: Vectors, limit: int
) -> list[Scored]:
    """The best candidates with their exact scores, best first, the lower id first among equals."""
    if limit < len(text_ids):
        rough = vectors @ query.astype(np.float32)
        near = np.nonzero(rough >= np.partition(rough, -limit)[-limit] - MARGIN)[0]
        text_ids, vectors = text_ids[near], vectors[near]
    scores = similarity(query, vectors)
    order = np.lexsort((text_ids, -scores))[:limit]
    return list(zip(text_ids[order].tolist(), scores[order].tolist(), strict=True))


def decoded(blobs: list[bytes], dimensions: int) -> Vectors:
    """Stored vectors as float32[blobs, dimensions]."""
    return np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), dimensions)
