"""Two rankings joined into one."""

import random
from dataclasses import dataclass

import pytest

from engine.search.fusion import DEPTH, dense_share, fuse, uncompared
from engine.search.query import read_query


@dataclass(frozen=True)
class Candidate:
    text_id: int
    score: float


def candidates(*pairs: tuple[int, float]) -> list[Candidate]:
    return [Candidate(*pair) for pair in pairs]


LEXICAL = candidates((1, 8.0), (2, 4.0), (3, 2.0))
DENSE = candidates((3, 0.9), (4, 0.7), (1, 0.5))


def test_scores_are_averaged_between_nothing_and_the_best() -> None:
    scores = {one.text_id: one.score for one in fuse(LEXICAL, DENSE, 0.5)}
    assert scores == pytest.approx({1: 0.5, 3: 0.625, 2: 0.25, 4: 0.25})


def test_ranks_are_averaged_on_request() -> None:
    scores = {one.text_id: one.score for one in fuse(LEXICAL, DENSE, 0.5, "reciprocal-rank")}
    expected = {1: (1 + 61 / 63) / 2, 3: (61 / 63 + 1) / 2, 2: 61 / 62 / 2, 4: 61 / 62 / 2}
    assert scores == pytest.approx(expected)


def test_the_share_says_how_much_meaning_counts() -> None:
    assert [one.text_id for one in fuse(LEXICAL, DENSE, 1.0)][:2] == [3, 4]
    assert [one.text_id for one in fuse(LEXICAL, DENSE, 0.0)][:3] == [1, 2, 3]


def test_equals_stand_by_their_better_rank_and_then_by_age() -> None:
    lexical = candidates((9, 5.0), (7, 5.0), (8, 5.0))
    assert [one.text_id for one in fuse(lexical, [])] == [9, 7, 8]
    both = fuse(candidates((5, 1.0)), candidates((2, 0.3)), 0.5)
    assert [one.text_id for one in both] == [2, 5]


@pytest.mark.parametrize("method", ["min-max", "reciprocal-rank"])
def test_one_way_of_searching_alone_keeps_its_order(method: str) -> None:
    assert [one.text_id for one in fuse(LEXICAL, [], 0.5, method)] == [1, 2, 3]
    assert [one.text_id for one in fuse([], DENSE, 0.5, method)] == [3, 4, 1]
    assert fuse(LEXICAL, [], 0.5, method)[0].score == 1.0
    assert fuse([], [], 0.5, method) == []


@pytest.mark.parametrize("method", ["min-max", "reciprocal-rank"])
def test_the_parts_of_a_score_reproduce_it_and_its_place(method: str) -> None:
    choice = random.Random(3)
    for _ in range(50):
        lexical, dense = (
            sorted(
                candidates(*((i, choice.random()) for i in choice.sample(range(500), 300))),
                key=lambda one: -one.score,
            )
            for _ in range(2)
        )
        fused = fuse(lexical, dense, choice.random(), method)
        explained = [
            one.dense_share * (one.dense.normalised if one.dense else 0)
            + (1 - one.dense_share) * (one.lexical.normalised if one.lexical else 0)
            for one in fused
        ]
        assert [one.score for one in fused] == explained
        assert explained == sorted(explained, reverse=True)
        raws = {one.text_id: one.score for one in lexical}
        assert all(raws[one.text_id] == one.lexical.raw for one in fused if one.lexical)


def test_what_only_words_found_is_compared_by_meaning_too() -> None:
    assert uncompared(LEXICAL, DENSE) == [2]
    assert uncompared(LEXICAL, []) == []
    fused = {one.text_id: one for one in fuse(LEXICAL, DENSE, 0.5, similarities={2: 0.4})}
    assert {key: one.score for key, one in fused.items()} == pytest.approx(
        {1: 0.5 + 0.1, 2: 0.25 + 0.0, 3: 0.125 + 0.5, 4: 0.3}
    )
    looked_up = fused[2].dense
    assert looked_up is not None
    assert (looked_up.rank, looked_up.raw) == (0, 0.4)
    assert fused[2].best_rank == 2


def test_a_text_without_a_vector_is_ranked_by_its_words() -> None:
    fused = fuse(LEXICAL, DENSE, 0.5, similarities={})
    assert [one.dense for one in fused if one.text_id == 2] == [None]


@pytest.mark.parametrize("method", ["min-max", "reciprocal-rank"])
def test_asking_for_more_does_not_change_the_order_of_the_first(method: str) -> None:
    choice = random.Random(4)
    ids = list(range(2000))
    lexical, dense = ([], [])
    for found in (lexical, dense):
        choice.shuffle(ids)
        found += [Candidate(one, 1 - place / 2000) for place, one in enumerate(ids[:1500])]
    known = {one.text_id: one.score for one in dense}
    told = {one: known[one] for one in uncompared(lexical, dense) if one in known}
    few = [one.text_id for one in fuse(lexical[:DEPTH], dense[:DEPTH], 0.4, method, told)]
    many = [one.text_id for one in fuse(lexical, dense, 0.4, method, told)]
    assert many[: len(few)] == few
    assert sorted(many) == sorted({one.text_id for one in lexical + dense})


def test_scores_that_do_not_differ_are_all_the_best() -> None:
    fused = fuse([], candidates((1, 0.4), (2, 0.4)))
    assert [one.score for one in fused] == [1.0, 1.0]


def test_identifiers_lean_on_words_and_long_questions_on_meaning() -> None:
    usual = dense_share(read_query("how to keep an index fresh"))
    long = " ".join(f"word{number}" for number in range(40))
    assert dense_share(read_query("foo.bar()")) < usual < dense_share(read_query(long))


def test_a_text_without_a_vector_is_judged_by_its_words_alone() -> None:
    lexical = [Candidate(1, 8.0), Candidate(2, 4.0)]
    dense = [Candidate(3, 0.6), Candidate(2, 0.5)]
    fused = {one.text_id: one for one in fuse(lexical, dense, 0.65, vectorless={1})}
    assert (fused[1].score, fused[1].dense_share) == (1.0, 0.0)
    assert fused[3].score == pytest.approx(0.65)
    assert fused[1].dense is None
