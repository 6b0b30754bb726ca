"""Blocks of quantised weights keep their values from GGUF's layout to MatMulNBits'."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from engine.models.converters import block_weights
from engine.models.converters.block_weights import BlockWeights

Q4_1, Q8_0 = GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0


def unpacked(values: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return values
    return np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:-1], -1)


def dequantised(weights: BlockWeights) -> np.ndarray:
    """What MatMulNBits' documentation says the arrays mean."""
    blocks = weights.packed.shape[1]
    values = unpacked(weights.packed, weights.bits).astype(np.float64)
    zeros = np.float64(2 ** (weights.bits - 1))
    if weights.zeros is not None:
        zeros = unpacked(weights.zeros, weights.bits)[:, :blocks, None].astype(np.float64)
    return ((values - zeros) * weights.scales[..., None]).reshape(weights.rows, weights.columns)


def q4_1(scales: np.ndarray, smallest: np.ndarray, values: np.ndarray) -> np.ndarray:
    """GGUF's layout of [rows, blocks] scales and minima and [rows, blocks, 32] values."""
    halves = (values[..., :16] | values[..., 16:] << 4).astype(np.uint8)
    floats = np.stack([scales, smallest], axis=-1).astype("<f2").view(np.uint8)
    return np.concatenate([floats, halves], axis=-1).reshape(len(scales), -1)


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(6, 96)).astype(np.float32)


def test_q8_0_is_kept_exactly(matrix):
    raw = gguf.quantize(matrix, Q8_0)
    weights = block_weights.from_q8_0(raw)
    assert (weights.rows, weights.columns, weights.bits) == (6, 96, 8)
    np.testing.assert_array_equal(dequantised(weights), gguf.dequantize(raw, Q8_0))


@pytest.mark.parametrize(("bits", "of_a_scale"), [(8, 0.03), (4, 0.5001)])
def test_q4_1_moves_by_no_more_than_the_rounding_of_the_zero_point(matrix, bits, of_a_scale):
    raw = gguf.quantize(matrix, Q4_1)
    weights = block_weights.from_q4_1(raw, bits)
    scales = raw.reshape(6, 3, 20)[..., :2].copy().view("<f2").astype(np.float64)
    error = np.abs(dequantised(weights) - gguf.dequantize(raw, Q4_1)).reshape(6, 3, 32) / scales
    assert error.max() < of_a_scale


def test_whole_number_minima_are_kept_exactly():
    values = np.random.default_rng(4).integers(0, 16, (2, 3, 32))
    scales, smallest = np.full((2, 3), 0.25), np.array([[-1, -2, -3.75], [0, -0.25, -2.5]])
    raw = q4_1(scales, smallest, values)
    expected = (values * 0.25 + smallest[..., None]).reshape(2, 96)
    for bits in (4, 8):
        np.testing.assert_array_equal(dequantised(block_weights.from_q4_1(raw, bits)), expected)


@pytest.mark.parametrize(
    ("scale", "smallest"),
    [(0.01, 1.0), (0.01, -1.0), (0.0, 0.5), (0.0, -0.5), (0.0, 0.0), (0.5, 0.01)],
    ids=["all above", "all below", "one value", "one negative", "all nought", "barely above"],
)
def test_blocks_that_do_not_reach_zero_lose_a_step_of_their_range_at_most(scale, smallest):
    values = np.arange(32).reshape(1, 1, 32) % 16
    raw = q4_1(np.full((1, 1), scale), np.full((1, 1), smallest), values)
    expected = gguf.dequantize(raw, Q4_1)
    found = dequantised(block_weights.from_q4_1(raw, 8))
    reach = max(expected.max(), 0) - min(expected.min(), 0)
    np.testing.assert_allclose(found, expected, atol=reach / 255 + 1e-9)


def test_stacked_matrices_stand_below_each_other(matrix):
    raw = gguf.quantize(matrix, Q4_1)
    parts = [block_weights.from_q4_1(part, 4) for part in (raw[:1], raw[1:4], raw[4:])]
    whole = block_weights.stack(parts)
    np.testing.assert_array_equal(dequantised(whole), dequantised(block_weights.from_q4_1(raw, 4)))
