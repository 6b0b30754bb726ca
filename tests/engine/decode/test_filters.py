"""What may be drawn, and what is, against a full sort of all tokens."""

import math

import numpy as np
import pytest

from engine.decode.filters import candidates, drawn, largest

SHAPES = ("many equals", "few equals", "one peak", "flat", "some impossible")


def _logits(chance: np.random.Generator, shape: str, size: int) -> np.ndarray:
    """Multiples of 1/64: what differs differs clearly, whatever the machine's exp rounds to."""
    spread = {"many equals": 1.0, "flat": 0.1}.get(shape, 4.0)
    logits = np.round(chance.normal(0, spread, size) * 64) / 64
    if shape == "one peak":
        logits[chance.integers(size)] = logits.max() + 20
    if shape == "some impossible":
        logits[chance.random(size) < 0.5] = -np.inf
        logits[chance.integers(size)] = 1.0
    return logits.astype(np.float32)


def _sorted_probabilities(logits: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-logits, kind="stable")
    weights = np.exp((logits[order].astype(np.float64) - logits.max()) / temperature)
    return order, weights / weights.sum()


def _all(ids: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    return np.arange(len(weights)) if ids is None else ids


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_keep_what_a_full_sort_keeps(shape: str) -> None:
    chance = np.random.default_rng(SHAPES.index(shape))
    for _ in range(150):
        logits = _logits(chance, shape, int(chance.integers(1, 3_000)))
        temperature, top_p = float(chance.uniform(0.2, 2)), float(chance.uniform(0, 1))
        top_k = int(chance.integers(1, 2 * len(logits)))
        order, probabilities = _sorted_probabilities(logits, temperature)

        ids, weights = candidates(logits, temperature, top_k, 1.0, 0.0)
        assert set(_all(ids, weights)) == set(order[:top_k])

        ids, weights = candidates(logits, temperature, 0, top_p, 0.0)
        size = len(weights)
        assert set(_all(ids, weights)) == set(order[:size])
        # Enough, and not one more; within what sums of float32 weights may be off.
        assert probabilities[:size].sum() > top_p - 1e-6
        assert probabilities[: size - 1].sum() < top_p + 1e-6

        ids, weights = candidates(logits, temperature, 0, 1.0, top_p)
        ratios = probabilities / probabilities[0]
        assert set(order[ratios > top_p + 1e-6]) <= set(_all(ids, weights))
        assert set(_all(ids, weights)) <= set(order[ratios > top_p - 1e-6])


def test_filters_apply_one_after_the_other() -> None:
    chance = np.random.default_rng(3)
    for _ in range(200):
        logits = _logits(chance, "few equals", 500)
        top_k, top_p, min_p = int(chance.integers(1, 99)), chance.uniform(), chance.uniform(0, 0.2)
        order, probabilities = _sorted_probabilities(logits, 1.0)
        probabilities = probabilities[:top_k] / probabilities[:top_k].sum()
        size = 1 + np.count_nonzero(np.cumsum(probabilities)[:-1] < top_p)
        size = np.count_nonzero(probabilities[:size] >= min_p * probabilities[0])
        ids, weights = candidates(logits, 1.0, top_k, float(top_p), float(min_p))
        assert set(_all(ids, weights)) == set(order[:size])


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_proportional_to_probabilities_and_ids_ascend(shape: str) -> None:
    chance = np.random.default_rng(11)
    logits = _logits(chance, shape, 2_000)
    for temperature, top_k, top_p, min_p in ((0.7, 0, 1, 0), (1, 50, 1, 0), (2, 0, 0.9, 0.01)):
        ids, weights = candidates(logits, temperature, top_k, top_p, min_p)
        ids = _all(ids, weights)
        expected = np.exp((logits[ids].astype(np.float64) - logits.max()) / temperature)
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-30)
        assert weights.max() == 1
        assert np.all(np.diff(ids) > 0)


def test_of_equals_those_of_the_lowest_ids_stay() -> None:
    equals = np.zeros(9, np.float32)
    assert largest(equals, 4).tolist() == [0, 1, 2, 3]
    ids, _ = candidates(equals, 1.0, 0, 0.5, 0.0)
    assert ids is not None
    assert ids.tolist() == [0, 1, 2, 3, 4]


def test_a_share_that_is_reached_exactly_is_enough() -> None:
    _, weights = candidates(np.zeros(8, np.float32), 1.0, 0, 0.5, 0.0)
    assert len(weights) == 4


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-30, 1e-3])
def test_the_coldest_temperatures_leave_the_best(temperature: float) -> None:
    logits = np.array([1.0, 1.5, 3.0, 3.0], np.float32)
    _, weights = candidates(logits, temperature, 0, 1.0, 0.0)
    assert weights.tolist() == [0, 0, 1, 1]


def test_the_largest_are_those_a_full_sort_puts_first() -> None:
    chance = np.random.default_rng(5)
    for _ in range(300):
        values = np.round(chance.normal(0, 9, int(chance.integers(1, 99)))).astype(np.float32)
        count = int(chance.integers(0, 110))
        order = np.argsort(-values, kind="stable")
        assert largest(values, count).tolist() == sorted(order[:count])


def test_a_point_falls_on_the_weight_that_lies_there() -> None:
    """Whole numbers as weights: every sum is exact, so every point has one right answer."""
    chance = np.random.default_rng(6)
    for size in (1, 2, 255, 256, 257, 700):
        weights = chance.integers(0, 4, size).astype(np.float32)
        weights[chance.integers(size)] = 1
        owners = np.repeat(np.arange(size), weights.astype(int))
        points = (np.arange(len(owners)) + 0.5) / len(owners)
        assert [drawn(weights, point) for point in points] == owners.tolist()


def test_a_weight_of_nothing_is_never_drawn_not_even_at_the_ends() -> None:
    weights = np.zeros(600, np.float32)
    weights[[300, 310]] = 0.1, 1e-20
    assert drawn(weights, 0.0) == 300
    assert drawn(weights, math.nextafter(1.0, 0.0)) in (300, 310)
    for size in (1, 3, 256, 300):
        thirds = np.full(size, 1 / 3, np.float32)
        padded = np.concatenate([np.zeros(9, np.float32), thirds, np.zeros(9, np.float32)])
        assert drawn(padded, 0.0) == 9
        assert drawn(padded, math.nextafter(1.0, 0.0)) == 8 + size


def test_no_point_at_the_edge_of_a_block_falls_on_a_weight_of_nothing() -> None:
    """So far apart are the weights that adding them in another order rounds to another sum."""
    chance = np.random.default_rng(9)
    for _ in range(200):
        weights = np.exp(-chance.uniform(0, 40, 768)).astype(np.float32)
        weights[250:256] = weights[506:512] = weights[760:] = 0
        total = float(weights.sum(dtype=np.float64))
        for end in (256, 512, 768):
            edge = float(weights[:end].sum(dtype=np.float64)) / total
            for point in (edge * (1 - k * 2**-53) for k in range(9)):
                assert weights[drawn(weights, min(point, math.nextafter(1.0, 0.0)))] > 0
