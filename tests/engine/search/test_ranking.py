"""The order that is shown, made of fused candidates and the passages behind them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from engine.search.fusion import DEPTH, fuse
from engine.search.query import read_query
from engine.search.ranking import diversify, rank, worth_reading


@dataclass(frozen=True)
class Candidate:
    text_id: int
    score: float


def fused_in_order(count: int) -> Any:
    return fuse([Candidate(one, 100.0 - one) for one in range(1, count + 1)], [])


def order(ranked: Any) -> list[int]:
    return [one.fused.text_id for one in ranked]


@pytest.mark.parametrize(
    ("question", "near", "exact"),
    [
        ("--pre", "pre --prefix pre-release --pre-x pre", "pip install --pre"),
        ("what is in 38.101?", "38 101 138.101 38.1012", "see TS 38.101."),
        ("foo.bar", "foo.bark kfoo.bar foo.barx", "then foo.bar returns"),
        ("foo.bar()", "foo bar foo.bar foo.bar", "then foo.bar() returns"),
        ('"the exact words"', "exact the words the exactwords", "here The exact\n words are"),
        ("C++", "C c C", "written in C++"),
        ("東京 getName()", "getName 東京", "東京 getName()"),
    ],
)
def test_the_passage_that_holds_it_verbatim_stands_first(
    question: str, near: str, exact: str, hit: Any
) -> None:
    ranked = rank(fused_in_order(2), [hit(1, near), hit(2, exact)], read_query(question))
    assert order(ranked) == [2, 1]
    assert [one.verbatim for one in ranked] == [1.0, 0.0]


def test_a_heading_may_hold_it_and_a_path_counts_half(hit: Any) -> None:
    hits = [hit(1, "a"), hit(2, "b", path="/src/fusion.py"), hit(3, "c", heading="fusion.py")]
    ranked = rank(fused_in_order(3), hits, read_query("fusion.py"))
    assert order(ranked) == [3, 2, 1]
    assert [one.verbatim for one in ranked] == [1.0, 0.5, 0.0]


def test_a_passage_counts_by_how_many_of_them_it_holds(hit: Any) -> None:
    hits = [hit(1, "none"), hit(2, "--pre"), hit(3, "--pre and --user")]
    ranked = rank(fused_in_order(3), hits, read_query("pip --pre --user"))
    assert order(ranked) == [3, 2, 1]


def test_a_long_text_with_a_quotation_does_not_insist_on_it(hit: Any) -> None:
    question = '"--pre" ' + " ".join(f"word{number}" for number in range(40))
    ranked = rank(fused_in_order(2), [hit(1, "other"), hit(2, "--pre")], read_query(question))
    assert order(ranked) == [1, 2]


def test_without_anything_verbatim_the_fused_order_stays(hit: Any) -> None:
    ranked = rank(fused_in_order(3), [hit(3, "c"), hit(1, "a"), hit(2, "b")], read_query("word"))
    assert order(ranked) == [1, 2, 3]
    assert [one.score for one in ranked] == [one.fused.score for one in ranked]
    assert [one.hit.score for one in ranked] == [one.score for one in ranked]


def test_the_score_is_made_of_its_parts_and_sets_the_place(hit: Any) -> None:
    hits = [hit(one, "--pre" if one % 3 else "other", heading=str(one)) for one in range(1, 50)]
    ranked = rank(fused_in_order(49), hits, read_query("--pre"))
    scores = [one.fused.score + one.verbatim for one in ranked]
    assert [one.score for one in ranked] == scores == sorted(scores, reverse=True)


def test_the_same_words_stand_once_and_name_the_others(hit: Any) -> None:
    hits = [hit(1, "same  words\n"), hit(2, "different"), hit(3, "same words", heading="Elsewhere")]
    ranked = rank(fused_in_order(3), hits, read_query("words"))
    assert order(ranked) == [1, 2]
    assert [duplicate.text_id for duplicate in ranked[0].duplicates] == [3]


def test_headings_without_text_are_no_duplicates(hit: Any) -> None:
    hits = [hit(1, "\n", heading="One"), hit(2, "\n", heading="Other")]
    assert order(rank(fused_in_order(2), hits, read_query("one"))) == [1, 2]


def test_a_text_that_is_gone_is_passed_over(hit: Any) -> None:
    assert order(rank(fused_in_order(3), [hit(3, "c")], read_query("c"))) == [3]


def test_all_that_may_hold_an_identifier_is_read(hit: Any) -> None:
    fused = fused_in_order(3 * DEPTH)
    assert len(worth_reading(fused, read_query("--pre"), 5)) == 2 * DEPTH
    assert len(worth_reading(fused, read_query("words"), 5)) == 10


def test_reading_more_does_not_change_the_order_of_the_first(hit: Any) -> None:
    fused = fused_in_order(300)
    hits = [hit(one, f"text {one % 40}") for one in range(1, 301)]
    all_of_them = order(rank(fused, hits, read_query("text")))
    few = order(rank(worth_reading(fused, read_query("text"), 10), hits, read_query("text")))
    assert few == all_of_them[: len(few)]


def test_what_holds_an_identifier_far_down_does_not_push_into_what_was_shown(hit: Any) -> None:
    question = read_query("foo_bar()")
    texts = ["foo bar, not called" if one % 3 else "foo_bar()" for one in range(900)]
    hits = [hit(one + 1, f"{one} {text}") for one, text in enumerate(texts)]
    found = [Candidate(one, 1_000.0 - one) for one in range(1, 901)]
    shown = order(rank(fuse(found, []), hits, question))
    for depth in (DEPTH, 2 * DEPTH, 3 * DEPTH):
        assert order(rank(fuse(found[:depth], []), hits, question)) == shown[:depth]


def test_what_is_new_comes_before_more_of_the_same(hit: Any) -> None:
    ranked = rank(fused_in_order(3), [hit(i, str(i)) for i in (1, 2, 3)], read_query("x"))
    vectors = {1: [1.0, 0.0], 2: [1.0, 0.01], 3: [0.0, 1.0]}
    arrays = {key: np.array(value, np.float32) for key, value in vectors.items()}
    assert order(diversify(ranked, arrays)) == [1, 3, 2]
    assert order(diversify(ranked, arrays, balance=1.0)) == [1, 2, 3]
    assert order(diversify(ranked, {})) == [1, 2, 3]
    assert diversify([], arrays) == []


def test_a_text_without_a_vector_is_like_no_other(hit: Any) -> None:
    ranked = rank(fused_in_order(3), [hit(i, str(i)) for i in (1, 2, 3)], read_query("x"))
    arrays = {one: np.array([1.0, 0.0], np.float32) for one in (1, 2)}
    assert order(diversify(ranked, arrays)) == [1, 3, 2]
