"""Quantised matrices: from GGUF's blocks of 32 weights to the layout of MatMulNBits.

Numbers only; knows no files and no graphs. Both layouts cut every row into blocks of 32. In GGUF a
block carries its own half-precision scale, and in Q4_1 a smallest value; MatMulNBits keeps unsigned
values, float32 scales and whole-number zero points in three arrays: w = (value - zero) * scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BLOCK = 32

Bits = Literal[4, 8]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SMALLEST_STEP = np.float32(1e-30)
_LOW_HALF, _FOUR, _SIGN = np.uint8(15), np.uint8(4), np.uint8(128)


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """A matrix as MatMulNBits takes it: `rows` outputs, `columns` inputs."""

    bits: Bits
    packed: Bytes
    """[rows, blocks, 32 * bits / 8]; of two values in a byte the first is in the low half."""
    scales: Floats
    """[rows, blocks]."""
    zeros: Bytes | None
    """[rows, ceil(blocks * bits / 8)], packed like the values; None: half of the range."""

    @property
    def rows(self) -> int:
        """Outputs of the product."""
        return self.packed.shape[0]

    @property
    def columns(self) -> int:
        """Inputs of the product."""
        return self.packed.shape[1] * BLOCK


def from_q8_0(raw: Bytes) -> BlockWeights:
    """GGUF's Q8_0 rows, [rows, blocks * 34], as 8 bits, exactly: w = value * scale."""
    blocks = raw.reshape(raw.shape[0], -1, 2 + BLOCK)
    # Adding 128 to a signed byte is flipping its highest bit.
    return BlockWeights(8, blocks[..., 2:] ^ _SIGN, _half(blocks, 0), None)


def from_q4_1(raw: Bytes, bits: Bits = 8) -> BlockWeights:
    """GGUF's Q4_1 rows, [rows, blocks * 20], where w = value * scale + smallest.

    `smallest` is seldom a whole number of scales, so the zero point has to be rounded. At 4 bits
    that moves a block by up to half a scale. At 8 bits there is room to spread the 16 values: each
    block's scale is divided by the number up to 17 that makes the rounding smallest, which moves a
    block by 0.03 of a scale at most and 0.007 in root mean square (measured on SmolLM2-135M).
    """
    blocks = raw.reshape(raw.shape[0], -1, 4 + BLOCK // 2)
    scales, smallest = _half(blocks, 0), _half(blocks, 2)
    halves = blocks[..., 4:]
    values = np.concatenate([halves & _LOW_HALF, halves >> _FOUR], axis=-1)
    values, steps, zeros = _spread(values, scales, smallest, bits)
    return BlockWeights(bits, _pack(values, bits), steps, _pack(zeros, bits))


def stack(parts: Sequence[BlockWeights]) -> BlockWeights:
    """Matrices of one format and one width below each other, as one."""
    zeros = [part.zeros for part in parts if part.zeros is not None]
    return BlockWeights(
        parts[0].bits,
        np.concatenate([part.packed for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate(zeros) if zeros else None,
    )


def _half(blocks: Bytes, start: int) -> Floats:
    stored = np.ascontiguousarray(blocks[..., start : start + 2])
    return stored.view("<f2")[..., 0].astype(np.float32)


def _spread(
    values: Bytes, scales: Floats, smallest: Floats, bits: Bits
) -> tuple[Bytes, Floats, Bytes]:
    """Whole multiples of the 4-bit values, and of the multiples the one that fits each block."""
    top = 2**bits - 1
    ratio = -smallest.astype(np.float64) / np.maximum(scales, _SMALLEST_STEP)
    least = np.full(ratio.shape, np.inf)
    factor, zero = np.zeros_like(ratio), np.zeros_like(ratio)
    for candidate in range(1, top // 15 + 1):
        rounded = np.rint(candidate * ratio)
        error = np.abs(candidate * ratio - rounded) / candidate
        better = (rounded >= 0) & (rounded <= top) & (error < least)
        least = np.where(better, error, least)
        factor = np.where(better, candidate, factor)
        zero = np.where(better, rounded, zero)
    spread = values * factor[..., None].astype(np.uint8)
    steps = scales / np.maximum(factor, 1).astype(np.float32)
    zeros = zero.astype(np.uint8)
    # Blocks that do not reach zero or hold a single value have no such multiple.
    rest = (factor == 0) | (scales <= _SMALLEST_STEP)
    weights = values[rest] * scales[rest][:, None] + smallest[rest][:, None]
    spread[rest], steps[rest], zeros[rest] = _equal_steps(weights, top)
    return spread, steps, zeros


def _equal_steps(weights: Floats, top: int) -> tuple[Bytes, Floats, Bytes]:
    """The usual asymmetric form: the range of a block and zero, cut into equal steps."""
    low = np.minimum(weights.min(-1), 0)
    high = np.maximum(weights.max(-1), 0)
    step = np.maximum((high - low) / top, _SMALLEST_STEP)
    zero = np.rint(-low / step)
    values = np.clip(np.rint(weights / step[..., None]) + zero[..., None], 0, top)
    return values.astype(np.uint8), step, zero.astype(np.uint8)


def _pack(values: Bytes, bits: Bits) -> Bytes:
    """Two 4-bit values a byte, the first in the low half; 8-bit values as they are."""
    if bits == 8:
        return values
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    return values[..., ::2] | (values[..., 1::2] << _FOUR)
