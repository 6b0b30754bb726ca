"""Vectors compared one by one in numpy: the exact answer, wherever sqlite-vec cannot give it.

Rule: whatever proposes candidates, `ranked` decides, in double precision and row by row, so that
equal vectors get equal scores and both ways of searching agree to the last bit.
"""

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.store.connection import Database
from engine.store.interface import Vectors

Scored = tuple[int, float]
"""Chunk id and cosine similarity."""

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


def ranked(query: Query, chunk_ids: NDArray[np.int64], vectors: Vectors) -> list[Scored]:
    """Every candidate with its exact score, best first, the lower id first among equals."""
    scores = np.clip((vectors.astype(np.float64) * query).sum(axis=1), -1.0, 1.0)
    order = np.lexsort((chunk_ids, -scores))
    return [(int(chunk_ids[row]), float(scores[row])) for row in order]


def decoded(blobs: list[bytes], dimensions: int) -> Vectors:
    """Stored vectors as float32[blobs, dimensions]."""
    return np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), dimensions)


class VectorScan:
    """Searches by comparing with every stored vector.

    Holds all of them in memory between searches (75 MB for 50,000 of 384 dimensions) and loads
    them anew after any change, unless told not to keep them.
    """

    def __init__(self, database: Database, *, keep: bool) -> None:
        self._database = database
        self._keep = keep
        self._generation = -1
        self._chunk_ids = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, 0), np.float32)

    def nearest(self, query: Query, limit: int, generation: int) -> list[Scored]:
        """The best `limit` chunks; to be called inside a transaction of that generation."""
        if generation != self._generation:
            self._load(len(query))
            self._generation = generation
        best = self._best(query, limit)
        if not self._keep:
            self._generation, self._vectors = -1, np.zeros((0, 0), np.float32)
        return best

    def _best(self, query: Query, limit: int) -> list[Scored]:
        scores = self._vectors @ query.astype(np.float32)
        if limit < len(scores):
            last = np.partition(scores, -limit)[-limit]
            rows = np.nonzero(scores >= last - MARGIN)[0]
            return ranked(query, self._chunk_ids[rows], self._vectors[rows])[:limit]
        return ranked(query, self._chunk_ids, self._vectors)

    def _load(self, dimensions: int) -> None:
        count = int(self._database.value("SELECT count(*) FROM vectors"))
        self._chunk_ids = np.empty(count, np.int64)
        self._vectors = np.empty((count, dimensions), np.float32)
        rows = self._database.stream("SELECT chunk_id, vector FROM vectors ORDER BY chunk_id")
        for row, (chunk_id, vector) in enumerate(rows):
            self._chunk_ids[row] = chunk_id
            self._vectors[row] = np.frombuffer(vector, "<f4")
