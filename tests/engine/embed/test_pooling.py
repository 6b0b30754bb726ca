"""From token states to unit vectors."""

import numpy as np
import pytest

from engine.embed.pooling import unit_vectors
from engine.models.spec import Pooling

STATES = np.array([[[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]], [[0.0, 2.0], [0.0, 0.0], [6.0, 6.0]]])
MASK = np.array([[1, 1, 0], [1, 1, 1]])


def test_cls_takes_the_first_state() -> None:
    assert unit_vectors(STATES, MASK, "cls") == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))


def test_mean_takes_the_mean_of_the_tokens_and_none_of_the_padding() -> None:
    first = np.array([2.0, 2.0]) / np.sqrt(8)
    second = np.array([6.0, 8.0]) / 10
    assert unit_vectors(STATES, MASK, "mean") == pytest.approx(np.stack([first, second]))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_zero_state_stays_a_zero_vector(pooling: Pooling) -> None:
    vectors = unit_vectors(
        np.zeros((2, 3, 4), np.float32), np.array([[1, 1, 1], [0, 0, 0]]), pooling
    )
    assert vectors.tolist() == np.zeros((2, 4)).tolist()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_are_float32_of_length_one(pooling: Pooling, dtype: type[np.floating]) -> None:
    generator = np.random.default_rng(3)
    states = (100 * generator.normal(size=(7, 300, 16))).astype(dtype)
    mask = (np.arange(300) < generator.integers(1, 301, size=(7, 1))).astype(np.int64)
    vectors = unit_vectors(states, mask, pooling)
    assert vectors.dtype == np.float32
    assert vectors.shape == (7, 16)
    assert vectors.flags.c_contiguous
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(7), abs=1e-6)
