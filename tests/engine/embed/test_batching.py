"""Plans of batches."""

import random
from collections.abc import Callable

import pytest

from engine.embed.batching import plan
from engine.embed.embedder import MAX_BATCH_TOKENS, MAX_ROWS


def padded(batch: list[int], counts: list[int]) -> int:
    return len(batch) * max(counts[index] for index in batch)


@pytest.mark.parametrize("seed", range(5))
def test_padded_batches_of_1000_random_texts_stay_within_the_budget(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    generator = random.Random(seed)
    counts = [min(256, int(generator.lognormvariate(4.5, 0.8)) + 3) for _ in range(1000)]
    batches = plan(counts, MAX_BATCH_TOKENS, MAX_ROWS)

    assert sorted(index for batch in batches for index in batch) == list(range(1000))
    assert all(padded(batch, counts) <= MAX_BATCH_TOKENS for batch in batches)
    assert all(len(batch) <= MAX_ROWS for batch in batches)
    waste = 1 - sum(counts) / sum(padded(batch, counts) for batch in batches)
    record_property("padding_percent", round(100 * waste, 2))
    assert waste <= 0.15


@pytest.mark.parametrize("seed", range(5))
def test_no_random_budget_is_exceeded_but_by_a_text_alone(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(200):
        counts = [generator.randint(1, 600) for _ in range(generator.randint(0, 40))]
        budget, rows = generator.randint(1, 3000), generator.randint(1, 12)
        batches = plan(counts, budget, rows)
        assert sorted(index for batch in batches for index in batch) == list(range(len(counts)))
        assert all(len(batch) <= rows for batch in batches)
        assert all(len(batch) == 1 or padded(batch, counts) <= budget for batch in batches)


def test_a_text_longer_than_the_budget_has_a_batch_of_its_own() -> None:
    assert plan([5, 300, 5], 100, 8) == [[1], [0, 2]]


def test_the_longest_texts_come_first_and_equal_ones_keep_their_order() -> None:
    assert plan([2, 9, 2, 9, 5], 18, 8) == [[1, 3], [4, 0, 2]]


def test_rows_are_limited_even_where_the_budget_is_not() -> None:
    assert plan([1] * 5, 100, 2) == [[0, 1], [2, 3], [4]]


def test_no_text_needs_no_batch() -> None:
    assert plan([], 100, 8) == []
