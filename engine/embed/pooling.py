"""Token states to one unit vector per text.

Knows arrays only: neither tokens nor models. Padding never reaches a vector.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models.spec import Pooling

# Below this a vector has no direction worth keeping; torch's `normalize` uses the same bound.
_SMALLEST_NORM = 1e-12


def unit_vectors(states: NDArray[Any], mask: NDArray[Any], pooling: Pooling) -> NDArray[np.float32]:
    """Pools each row's token states and scales the result to length 1.

    Args:
        states: [rows, tokens, dimensions], any float type.
        mask: [rows, tokens], 1 for a token, 0 for padding.
        pooling: "cls" takes the first token's state, "mean" the mean over the row's tokens.

    Returns:
        float32 [rows, dimensions]; a row whose pooled state is zero stays zero.
    """
    pooled = _POOLED[pooling](states.astype(np.float32, copy=False), mask)
    norms = np.linalg.norm(pooled, axis=1, keepdims=True)
    return np.ascontiguousarray(pooled / np.maximum(norms, _SMALLEST_NORM), dtype=np.float32)


def _first_state(states: NDArray[np.float32], mask: NDArray[Any]) -> NDArray[np.float32]:
    del mask  # The first token is never padding.
    return states[:, 0]


def _mean_state(states: NDArray[np.float32], mask: NDArray[Any]) -> NDArray[np.float32]:
    weights = mask.astype(np.float32)
    # Token after token, so that padding behind them changes no bit; products of matrices group
    # what they add by the padded length (3e-8 in a vector).
    sums = np.einsum("rtd,rt->rd", states, weights)
    return sums / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)


_POOLED = {"cls": _first_state, "mean": _mean_state}
