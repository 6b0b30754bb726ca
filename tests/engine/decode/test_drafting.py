"""Drafts: what came next before is proposed as far as it pays, and what misses cost is bounded."""

import random
from collections.abc import Iterable, Sequence

import pytest

from engine.decode.drafting import (
    LARGE_MODEL_COST,
    SMALL_MODEL_COST,
    Drafting,
    DraftLength,
    PromptLookup,
    RunCost,
)
from engine.decode.sampling import SamplingParams
from engine.decode.sequence import Sequence as Answer
from engine.models.spec import DecoderSpec
from engine.runtime.session import Stop
from engine.text.tokenizer import Tokenizer

COSTS = [SMALL_MODEL_COST, LARGE_MODEL_COST]


def _ids(text: str) -> list[int]:
    return [ord(character) for character in text]


def _proposed(text: str, limit: int = 8) -> str:
    return "".join(map(chr, PromptLookup(_ids(text)).propose(limit)))


@pytest.mark.parametrize(
    ("text", "proposed"),
    [
        ("the cat sat. the ca", "t sat. t"),
        ("abxab", "xabxabxa"),
        ("abcabc", "abcabcab"),
        ("zzz", "zzzzzzzz"),
    ],
)
def test_what_followed_the_same_tokens_before_is_proposed(text: str, proposed: str) -> None:
    assert _proposed(text) == proposed


@pytest.mark.parametrize("text", ["", "a", "ab", "abcdefg", "axbxcx", "ab ba"])
def test_without_a_repetition_nothing_is_proposed(text: str) -> None:
    lookup = PromptLookup(_ids(text))
    assert (lookup.propose(8), lookup.match_length) == ([], 0)


def test_of_several_places_the_latest_is_followed() -> None:
    assert _proposed("ab1 ab2 ab", 1) == "2"


def test_a_longer_match_goes_before_a_later_one() -> None:
    assert _proposed("four words more, rds less, four words", 5) == " more"


def test_a_match_that_goes_on_is_not_left_for_a_later_and_shorter_one() -> None:
    lookup = PromptLookup(_ids("one two three. two thr... one two "))
    for token_id in _ids("thr"):
        lookup.push(token_id)
    assert lookup.propose(3) == _ids("ee.")


def test_no_more_than_the_limit_is_proposed() -> None:
    lookup = PromptLookup(_ids("abcabc"))
    assert [lookup.propose(limit) for limit in (0, 1, 2)] == [[], _ids("a"), _ids("ab")]


def test_the_length_of_a_match_grows_with_the_text_and_ends_with_it() -> None:
    lookup = PromptLookup(_ids("the same words. Again the sa"))
    lengths = [lookup.match_length]
    for token_id in _ids("me wX"):
        lookup.push(token_id)
        lengths.append(lookup.match_length)
    assert lengths == [6, 7, 8, 9, 10, 0]


@pytest.mark.parametrize("seed", range(30))
def test_proposed_tokens_followed_a_match_of_the_length_said(seed: int) -> None:
    chance = random.Random(seed)
    ids = [chance.randrange(chance.choice([2, 3, 9])) for _ in range(120)]
    lookup = PromptLookup(ids[:20])
    for end in range(20, len(ids)):
        text, length = ids[:end], lookup.match_length
        assert (length > 0) == _occurs_before(text, 2)
        assert not _occurs_before(text, 4) or length >= 4
        if length:
            assert any(
                text[at - length : at] == text[-length:] and _goes_on(text, at, lookup.propose(9))
                for at in range(length, end)
            )
        lookup.push(ids[end])


def _occurs_before(text: Sequence[int], size: int) -> bool:
    return any(text[at - size : at] == text[-size:] for at in range(size, len(text)))


def _goes_on(text: Sequence[int], at: int, proposed: Iterable[int]) -> bool:
    longer = list(text)
    for step, token_id in enumerate(proposed):
        longer.append(token_id)
        if longer[at + step] != token_id:
            return False
    return True


@pytest.mark.parametrize("cost", COSTS)
def test_after_a_match_that_is_hardly_ever_right_nothing_is_drafted(cost: RunCost) -> None:
    length = DraftLength(cost)
    for _ in range(40):
        length.record(0, 0)
    assert length.after(8, 15) > 0
    for _ in range(40):
        length.learn(8, was_right=False)
        length.record(0, 0)
    assert length.after(8, 15) == 0


@pytest.mark.parametrize("cost", COSTS)
def test_after_matches_that_prove_right_more_is_drafted_than_at_first(cost: RunCost) -> None:
    length = DraftLength(cost)
    length.record(0, 0)
    first = length.after(8, 15)
    for _ in range(40):
        length.learn(8, was_right=True)
        length.record(0, 0)
    assert length.after(8, 15) > first > 0
    assert length.after(8, 2) == 2
    assert length.after(8, 0) == 0


@pytest.mark.parametrize("cost", COSTS)
def test_misses_stop_drafting_for_as_many_tokens_as_they_have_cost(cost: RunCost) -> None:
    length = DraftLength(cost)
    length.record(0, 0)
    drafted = length.after(8, 15)
    length.record(drafted, 0)
    pause = 0
    while not length.after(8, 15):
        length.record(0, 0)
        pause += 1
    assert 1 <= pause <= cost.of(drafted) / 0.02


def test_drafting_that_costs_nearly_a_whole_run_each_is_never_worth_it() -> None:
    drafting = Drafting(_ids("the same " * 9), RunCost(first=0.0, each=0.98))
    for token_id in _ids("the same " * 9):
        assert drafting.propose(15) == []
        drafting.push(token_id)
        drafting.record(0, 0)


def _seconds(prompt: Sequence[int], answer: Sequence[int], cost: RunCost) -> float:
    """Time an answer takes with drafts, in runs of one token."""
    drafting, done, seconds = Drafting(prompt, cost), 0, 0.0
    while done < len(answer):
        draft = drafting.propose(min(15, len(answer) - done - 1))
        accepted = 0
        while accepted < len(draft) and draft[accepted] == answer[done + accepted]:
            accepted += 1
        for token_id in answer[done : done + accepted + 1]:
            drafting.push(token_id)
        drafting.record(len(draft), accepted)
        done += accepted + 1
        seconds += 1 + cost.of(len(draft))
    return seconds


@pytest.mark.parametrize("cost", COSTS)
def test_an_answer_that_copies_its_prompt_takes_far_fewer_runs(cost: RunCost) -> None:
    chance = random.Random(1)
    text = [chance.randrange(5000) for _ in range(150)]
    speedup = len(text) / _seconds([1, 2, 3, *text, 4, 5], text, cost)
    assert speedup > (3.5 if cost is SMALL_MODEL_COST else 2.0)


@pytest.mark.parametrize("cost", COSTS)
def test_an_answer_that_repeats_nothing_takes_its_own_time(cost: RunCost) -> None:
    assert _seconds(range(100), range(100, 300), cost) == 200


def _misleading(seed: int, tokens: int) -> list[int]:
    """Text of passages that are repeated, each time with another end."""
    chance = random.Random(seed)
    passages = [
        [chance.randrange(5000) for _ in range(chance.choice([2, 3, 5, 9, 20]))] for _ in range(4)
    ]
    ids: list[int] = []
    while len(ids) < tokens:
        ids += [*chance.choice(passages), chance.randrange(5000, 10_000)]
    return ids[:tokens]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("tokens", [30, 100, 400])
def test_even_misleading_text_costs_no_more_than_three_percent(cost: RunCost, tokens: int) -> None:
    for seed in range(40):
        ids = _misleading(seed, tokens + 60)
        assert _seconds(ids[:60], ids[60:], cost) <= 1.03 * tokens


@pytest.mark.parametrize("cost", COSTS)
def test_an_answer_after_a_long_copy_loses_only_what_gains_set_aside(cost: RunCost) -> None:
    copied = _misleading(0, 200)
    ids = [*copied, *_misleading(1, 300)]
    assert _seconds(copied, ids, cost) <= _seconds(copied, copied, cost) + 300 * 1.02 + 4.3


@pytest.mark.parametrize("cost", COSTS)
def test_the_same_tokens_are_always_drafted_alike(cost: RunCost) -> None:
    def drafts() -> list[list[int]]:
        drafting = Drafting(_ids("a text, a text, "), cost)
        proposed: list[list[int]] = []
        for token_id in _ids("a text, a text too, a text"):
            proposed.append(drafting.propose(9))
            drafting.push(token_id)
            drafting.record(0, 0)
        return proposed

    assert drafts() == drafts()
    assert any(drafts())


@pytest.mark.parametrize(("max_tokens", "most"), [(1, 0), (2, 1), (30, 15)])
def test_the_last_token_of_an_answer_is_never_drafted(
    tiny_spec: DecoderSpec, max_tokens: int, most: int
) -> None:
    """A run that checks drafts gives one token more, which is the last then."""
    answer = Answer(
        _ids("the same " * 9),
        SamplingParams(max_tokens=max_tokens),
        stop=Stop(),
        stop_token_ids=(),
        room=100,
        tokenizer=Tokenizer.open(tiny_spec.tokenizer_file),
        draft_cost=RunCost(first=0.0, each=0.0),
        constraint=None,
    )
    assert len(answer.draft(15)) == most
