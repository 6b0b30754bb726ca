"""What an attention mask becomes in a graph, known by what it gives for one mask.

Knows arrays alone. Exporters compute masks in a dozen ways; whichever it is, a value that is 0
for tokens and far below for padding can only be added to scores.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MASK_BIAS = -1e4
"""What is added to the scores of padding; no mask of a graph for an NPU is lower."""

# So far below that its exponential is 0; exporters use -10000 to -3.4e38, scaled or not.
_FAR_BELOW = -1e3


def probe(rows: int, tokens: int) -> NDArray[np.int64]:
    """A mask whose rows end at different places, so that what is made of it tells how."""
    lengths = tokens - (np.arange(rows) * 3 + tokens // 4 + 1) % tokens
    return (np.arange(tokens) < lengths[:, None]).astype(np.int64)


def is_bias(value: Array, mask: Array) -> bool:
    """Whether a value [rows, …, …, tokens] is what a mask adds to scores, alike for all queries."""
    rows, tokens = mask.shape
    if value.ndim != 4 or value.dtype.kind != "f":
        return False
    if (value.shape[0], value.shape[-1]) != (rows, tokens):
        return False
    shown = np.broadcast_to(mask[:, None, None, :] == 1, value.shape)
    return bool((value[shown] == 0).all() and (value[~shown] <= _FAR_BELOW).all())


def is_mask(value: Array, mask: Array) -> bool:
    """Whether a value is a mask, the lengths of its rows, or a bias already."""
    meant = (mask, mask.sum(axis=1))
    return any(np.array_equal(value, m) for m in meant) or is_bias(value, mask)


def bounded(constant: Array) -> Array:
    """A constant with nothing in it that is infinite in 16 bits, and no mask below the bias.

    What is too large becomes as large as the bias, of whichever sign: some exporters take masks of
    3.4e38 away from scores.
    """
    if constant.dtype.kind != "f" or not constant.size:
        return constant
    largest = float(np.finfo(np.float16).max)
    least = MASK_BIAS if constant.size == 1 else -largest
    if constant.min() < least:
        constant = np.maximum(constant, np.asarray(MASK_BIAS, constant.dtype))
    if constant.max() > largest:
        constant = np.minimum(constant, np.asarray(-MASK_BIAS, constant.dtype))
    return constant
