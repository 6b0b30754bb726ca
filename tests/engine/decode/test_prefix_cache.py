"""Kept beginnings of prompts: the longest is found, the least used goes, the budget holds."""

import random

import numpy as np
import pytest

from engine.decode.prefix_cache import PrefixCache


def _kept(cache: PrefixCache[str], ids: list[int]) -> str | None:
    """What is held for exactly these ids or longer ones."""
    entry, length = cache.longest(ids)
    return entry.arrays if entry is not None and length == len(ids) else None


def test_the_entry_with_the_longest_common_beginning_is_found() -> None:
    cache = PrefixCache[str](100)
    cache.put([1, 2, 3, 4], "short", 1)
    cache.put([1, 2, 9, 9, 9, 9], "other", 1)
    entry, length = cache.longest([1, 2, 3, 4, 5])
    assert entry is not None
    assert (entry.arrays, length, entry.ids.tolist()) == ("short", 4, [1, 2, 3, 4])


def test_an_entry_longer_than_the_match_is_found_with_the_length_to_cut_it_to() -> None:
    cache = PrefixCache[str](100)
    cache.put(range(1, 9), "long", 1)
    entry, length = cache.longest([1, 2, 3, 7])
    assert entry is not None
    assert (entry.arrays, length) == ("long", 3)


@pytest.mark.parametrize("ids", [[], [7], [7, 1, 2, 3]])
def test_where_nothing_begins_alike_nothing_is_found(ids: list[int]) -> None:
    cache = PrefixCache[str](100)
    assert cache.longest(ids) == (None, 0)
    cache.put([1, 2, 3], "entry", 1)
    assert cache.longest(ids) == (None, 0)


def test_arrays_of_ids_are_taken_as_lists_are() -> None:
    cache = PrefixCache[str](100)
    mine = np.array([1, 2, 3])
    cache.put(mine, "entry", 1)
    mine[:] = 0
    assert cache.longest(np.array([1, 2, 5], np.int32))[1] == 2


def test_what_is_held_comes_back_as_it_is() -> None:
    cache = PrefixCache[list[np.ndarray]](100)
    arrays = [np.zeros(3)]
    cache.put([1], arrays, 1)
    entry, _ = cache.longest([1])
    assert entry is not None
    assert entry.arrays is arrays


def test_a_longer_entry_takes_the_place_of_its_own_beginnings() -> None:
    cache = PrefixCache[str](100)
    cache.put([1, 2], "first turn", 10)
    cache.put([1, 2, 8, 8], "another", 10)
    assert (len(cache), cache.bytes) == (1, 10)
    cache.put([1, 2, 3], "second", 10)
    assert cache.put([1, 2, 3, 4], "third", 20)
    assert (len(cache), cache.bytes) == (2, 30)
    assert _kept(cache, [1, 2, 8]) == "another"


def test_what_is_covered_already_is_refused_and_its_cover_counts_as_used() -> None:
    cache = PrefixCache[str](20)
    cache.put([1, 2, 3], "cover", 10)
    cache.put([5], "other", 10)
    assert not cache.put([1, 2, 3], "again", 10)
    assert not cache.put([1, 2], "part", 10)
    assert not cache.put([], "nothing", 0)
    assert cache.put([6], "new", 10)
    assert (_kept(cache, [1, 2, 3]), _kept(cache, [5])) == ("cover", None)


def test_the_least_recently_used_goes_first() -> None:
    cache = PrefixCache[str](30)
    for token_id, name in ((1, "a"), (2, "b"), (3, "c")):
        cache.put([token_id, 0], name, 10)
    cache.longest([1, 7])
    assert cache.put([4, 0], "d", 20)
    assert [_kept(cache, [token_id, 0]) for token_id in (1, 2, 3, 4)] == ["a", None, None, "d"]
    assert cache.bytes == 30


def test_a_beginning_that_all_share_does_not_change_who_goes_first() -> None:
    cache = PrefixCache[str](30)
    for token_id in (1, 2, 3):
        cache.put([0, token_id], str(token_id), 10)
    for _ in range(5):
        assert cache.longest([0, 9])[1] == 1
    cache.put([0, 4], "4", 10)
    assert [_kept(cache, [0, token_id]) for token_id in (1, 2, 3, 4)] == [None, "2", "3", "4"]


def test_what_is_larger_than_the_budget_is_refused_and_drops_nothing() -> None:
    cache = PrefixCache[str](10)
    cache.put([1], "small", 10)
    assert not cache.put([1, 2], "large", 11)
    assert _kept(cache, [1]) == "small"


def test_a_budget_of_nothing_keeps_nothing() -> None:
    cache = PrefixCache[str](0)
    assert not cache.put([1], "entry", 1)
    assert (len(cache), cache.bytes, cache.limit_bytes) == (0, 0, 0)


def test_clearing_forgets_all() -> None:
    cache = PrefixCache[str](10)
    cache.put([1], "entry", 10)
    cache.clear()
    assert (len(cache), cache.bytes, cache.longest([1])) == (0, 0, (None, 0))
    assert cache.put([1], "entry", 10)


class _Naive:
    """The same promises, kept word for word on lists."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: list[tuple[list[int], int]] = []

    def longest(self, ids: list[int]) -> tuple[list[int] | None, int]:
        best: tuple[list[int], int] | None = None
        for entry in self.entries:
            if best is None or _common(entry[0], ids) >= _common(best[0], ids):
                best = entry
        if best is None or not _common(best[0], ids):
            return None, 0
        self.entries.remove(best)
        self.entries.append(best)
        return best[0], _common(best[0], ids)

    def put(self, ids: list[int], size: int) -> bool:
        covered = self.longest(ids)[1] == len(ids)
        if covered or size > self.limit:
            return False
        self.entries = [e for e in self.entries if _common(e[0], ids) < len(e[0])]
        self.entries.append((ids, size))
        while sum(size for _, size in self.entries) > self.limit:
            self.entries.pop(0)
        return True


def _common(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@pytest.mark.parametrize("seed", range(40))
def test_any_calls_do_what_a_naive_cache_does(seed: int) -> None:
    chance = random.Random(seed)
    limit = chance.randrange(1, 60)
    cache, naive = PrefixCache[list[int]](limit), _Naive(limit)
    for _ in range(150):
        ids = [chance.randrange(3) for _ in range(chance.randrange(8))]
        if chance.random() < 0.5:
            size = chance.randrange(1, 30)
            assert cache.put(ids, ids, size) == naive.put(ids, size)
        else:
            entry, length = cache.longest(ids)
            assert (entry and entry.arrays, length) == naive.longest(ids)
        assert len(cache) == len(naive.entries)
        assert cache.bytes == sum(size for _, size in naive.entries) <= limit
