"""Which tokens may be drawn, how often, and which parameters are refused."""

import math
from collections import Counter
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from engine.decode.sampling import Sampler, SamplingParams
from engine.errors import InvalidInput, ModelBroken

PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.25, 0.2])


def _logits(probabilities: np.ndarray = PROBABILITIES) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities).astype(np.float32)


def _sampler(
    prompt_ids: tuple[int, ...] = (), stop_token_ids: tuple[int, ...] = (), **params: object
) -> Sampler:
    return Sampler(SamplingParams(**params), prompt_ids, stop_token_ids)  # type: ignore[arg-type]


def _chosen(sampler: Sampler, logits: np.ndarray) -> int:
    token_id = sampler.pick(sampler.adjust(logits))
    sampler.count(token_id)
    return token_id


def _drawn(logits: np.ndarray, draws: int = 400, **params: object) -> Counter[int]:
    sampler = _sampler(**{"temperature": 1.0, "seed": 1, **params})
    return Counter(_chosen(sampler, logits) for _ in range(draws))


def _sequence(sampler: Sampler, draws: int) -> list[int]:
    return [_chosen(sampler, _logits()) for _ in range(draws)]


def _chi_square(counts: Counter[int], expected: dict[int, float]) -> float:
    draws = counts.total()
    return sum((counts[i] - draws * p) ** 2 / (draws * p) for i, p in expected.items())


def test_greedy_takes_the_best_and_the_first_of_equals() -> None:
    assert _chosen(_sampler(), _logits()) == 1
    assert _chosen(_sampler(), np.zeros(9, np.float32)) == 0


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 3, 4}),
        ({"top_k": 9}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.0}, {1}),
        ({"top_p": 0.39}, {1}),
        ({"top_p": 0.41}, {1, 3}),
        ({"top_p": 0.84}, {1, 3, 4}),
        ({"top_p": 0.86}, {1, 2, 3, 4}),
        ({"min_p": 0.2}, {1, 2, 3, 4}),
        ({"min_p": 0.3}, {1, 3, 4}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 3, "top_p": 0.7}, {1, 3}),
        ({"top_p": 0.96, "min_p": 0.6}, {1, 3}),
        ({"temperature": 0.5, "min_p": 0.3}, {1, 3}),
        ({"temperature": 1e-6}, {1}),
    ],
)
def test_exactly_the_right_tokens_may_be_drawn(params: dict[str, float], kept: set[int]) -> None:
    assert set(_drawn(_logits(), **params)) == kept


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    counts = _drawn(_logits(), draws=20_000)
    # 18.5 is exceeded once in a thousand with 4 degrees of freedom; the seed is fixed.
    assert _chi_square(counts, dict(enumerate(PROBABILITIES))) < 18.5


def test_what_a_filter_leaves_keeps_its_proportions() -> None:
    counts = _drawn(_logits(), draws=20_000, top_p=0.8)
    assert _chi_square(counts, {1: 0.4 / 0.85, 3: 0.25 / 0.85, 4: 0.2 / 0.85}) < 13.8


def test_temperature_sharpens_and_flattens() -> None:
    for temperature in (0.5, 2.0):
        powers = PROBABILITIES ** (1 / temperature)
        counts = _drawn(_logits(), draws=20_000, temperature=temperature)
        assert _chi_square(counts, dict(enumerate(powers / powers.sum()))) < 18.5


@pytest.mark.parametrize("top_p", [0.02, 0.5])
def test_a_large_vocabulary_is_cut_where_a_full_sort_would_cut_it(top_p: float) -> None:
    """The nucleus is about 10 and about 1,500 tokens of 5,000."""
    logits = np.random.default_rng(4).normal(0, 1, 5_000).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    order = np.argsort(-weights)
    share = np.cumsum(weights[order]) / weights.sum()
    size = int(np.searchsorted(share, top_p)) + 1
    chosen = _drawn(logits, draws=3_000, top_p=top_p)
    assert set(chosen) <= set(order[:size].tolist())
    assert len(chosen) > size * 0.6
    assert set(_drawn(logits, draws=300, top_k=7)) == set(order[:7].tolist())


def test_an_impossible_token_is_never_drawn() -> None:
    logits = _logits(np.array([0.5, 0.0, 0.5]))
    assert set(_drawn(logits, temperature=2.0)) == {0, 2}


def test_huge_logits_do_not_overflow() -> None:
    assert set(_drawn(np.array([-3e38, 3e38, 3e38], np.float32))) == {1, 2}


@pytest.mark.parametrize("seed", [0, 7, -1, 2**64 - 1])
def test_a_seed_repeats_the_draws(seed: int) -> None:
    draws = [_sequence(_sampler(temperature=1.0, seed=seed), 50) for _ in range(2)]
    assert draws[0] == draws[1]


def test_without_a_seed_the_draws_differ() -> None:
    draws = [_sequence(_sampler(temperature=1.0), 99) for _ in range(2)]
    assert draws[0] != draws[1]


def test_a_draw_takes_one_random_number_whatever_may_be_drawn() -> None:
    """So two samplers stay in step though their tokens are filtered differently for a while."""
    one, other = _sampler(temperature=1.0, seed=5), _sampler(temperature=1.0, seed=5)
    for _ in range(20):
        one.pick(_logits())
        other.pick(_logits(np.array([1.0, 0.0, 0.0, 0.0, 0.0])))
    assert _sequence(one, 50) == _sequence(other, 50)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nonsense_from_the_model_is_not_silent(temperature: float, bad: float) -> None:
    sampler = _sampler(temperature=temperature)
    nonsense = np.array([0.0, bad, 1.0], np.float32)
    for step in (sampler.adjust, sampler.pick):
        with pytest.raises(ModelBroken, match=f"computed {bad} where a number was due"):
            step(nonsense)
    with pytest.raises(ModelBroken, match="computed -inf"):
        sampler.adjust(np.full(3, -np.inf, np.float32))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_no_token_is_left_the_request_is_to_blame(temperature: float) -> None:
    """A form that is complete allows stop tokens alone, which min_tokens excludes."""
    sampler = _sampler(temperature=temperature, min_tokens=3, stop_token_ids=(1,))
    adjusted = sampler.adjust(np.zeros(3, np.float32))
    adjusted[[0, 2]] = -np.inf
    with pytest.raises(InvalidInput, match=r"min_tokens asks for more than the form .* allows"):
        sampler.pick(adjusted)


def test_logits_to_which_nothing_applies_are_not_copied() -> None:
    logits = _logits()
    sampler = _sampler(temperature=1.0, top_k=3, stop=("x",), stop_token_ids=(1,), logprobs=3)
    assert sampler.adjust(logits) is logits
    sampler.count(2)
    assert sampler.adjust(logits) is logits
    late = _sampler(presence_penalty=1.0, min_tokens=1)
    assert late.adjust(logits) is not logits
    late.count(2)
    assert late.adjust(logits) is not logits


@pytest.mark.parametrize(
    "params",
    [
        {"logit_bias": {1: -9.0}},
        {"repetition_penalty": 3.0},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"min_tokens": 9, "stop_token_ids": (1,)},
    ],
)
def test_the_given_logits_are_never_changed(params: dict[str, object]) -> None:
    logits = _logits()
    sampler = _sampler(prompt_ids=(1,), **params)
    sampler.count(1)
    adjusted = sampler.adjust(logits)
    assert adjusted[1] < logits[1]
    assert logits.tolist() == _logits().tolist()


def test_bias_multiplies_the_odds() -> None:
    weights = PROBABILITIES * [1, 1, 8, 1, 0.5]
    bias = {2: math.log(8), 4: math.log(0.5)}
    counts = _drawn(_logits(), draws=20_000, logit_bias=bias)
    assert _chi_square(counts, dict(enumerate(weights / weights.sum()))) < 18.5


def test_bias_comes_before_penalties_and_penalties_before_the_filters() -> None:
    sampler = _sampler(
        prompt_ids=(0,), logit_bias={0: 4.0, 1: -1.0}, repetition_penalty=2.0, frequency_penalty=0.5
    )
    sampler.count(1)
    sampler.count(1)
    adjusted = sampler.adjust(np.array([2.0, -1.0, 0.5], np.float32))
    assert adjusted.tolist() == [(2 + 4) / 2, (-1 - 1) * 2 - 0.5 * 2, 0.5]
    drawn = _drawn(np.array([0.0, 1.0, 2.0], np.float32), logit_bias={0: 9.0}, top_k=1)
    assert set(drawn) == {0}


def test_bias_for_a_token_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^logit_bias names token 5, but .* highest is 4\.$"):
        SamplingParams(logit_bias={5: 1.0}).check_vocabulary(5)
    SamplingParams(logit_bias={4: 1.0}).check_vocabulary(5)


def test_a_frequency_penalty_makes_every_token_come_around() -> None:
    sampler = _sampler(frequency_penalty=2.0)
    assert set(_sequence(sampler, 15)) == {0, 1, 2, 3, 4}
    assert set(_sequence(_sampler(frequency_penalty=-2.0), 15)) == {1}


def test_a_repetition_penalty_sees_the_prompt() -> None:
    logits = np.array([1.0, 1.1], np.float32)
    assert _chosen(_sampler(prompt_ids=(1,), repetition_penalty=1.5), logits) == 0
    assert _chosen(_sampler(prompt_ids=(1,), presence_penalty=1.5), logits) == 1


def test_a_penalty_beyond_what_float32_reaches_leaves_the_token_impossible() -> None:
    sampler = _sampler(prompt_ids=(0,), repetition_penalty=10.0)
    assert sampler.adjust(np.array([-3e38, 1.0], np.float32)).tolist() == [-math.inf, 1.0]


def test_stop_tokens_are_not_chosen_before_min_tokens() -> None:
    """Neither the model's own nor the request's; of one that the logits lack nothing is said."""
    logits = np.array([5.0, 4.0, 3.0], np.float32)
    params = SamplingParams(min_tokens=3, stop_token_ids=(1, 77))
    sampler = Sampler(params, prompt_ids=(), stop_token_ids=(0,))
    assert [_chosen(sampler, logits) for _ in range(5)] == [2, 2, 2, 0, 0]


def test_no_logprob_unless_asked_for() -> None:
    assert _sampler().logprob(_logits(), 1) is None
    with_none_beside = _sampler(logprobs=0).logprob(_logits(), 1)
    assert with_none_beside is not None
    assert with_none_beside.top == ()


def test_logprobs_are_the_models_own_whatever_the_request_does_to_them() -> None:
    sampler = _sampler(temperature=0.5, logprobs=3, logit_bias={0: 100.0}, top_k=1)
    logits = _logits() + np.float32(7)
    chosen = _chosen(sampler, logits)
    assert chosen == 0
    logprob = sampler.logprob(logits, chosen)
    assert logprob is not None
    assert logprob.token_id == 0
    assert logprob.logprob == pytest.approx(math.log(0.05), abs=1e-6)
    assert [token_id for token_id, _ in logprob.top] == [1, 3, 4]
    assert [p for _, p in logprob.top] == pytest.approx(np.log([0.4, 0.25, 0.2]), abs=1e-6)


def test_logprobs_of_a_large_vocabulary_add_up_and_are_ranked() -> None:
    logits = np.random.default_rng(8).normal(0, 5, 30_000).astype(np.float32)
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum())
    logprob = _sampler(logprobs=20).logprob(logits, 123)
    assert logprob is not None
    assert logprob.logprob == pytest.approx(exact[123], abs=1e-5)
    assert [token_id for token_id, _ in logprob.top] == np.argsort(-exact)[:20].tolist()
    assert [p for _, p in logprob.top] == pytest.approx(np.sort(exact)[:-21:-1], abs=1e-5)


def test_the_chosen_token_among_the_top_has_the_same_logprob() -> None:
    logprob = _sampler(logprobs=20).logprob(_logits(), 3)
    assert logprob is not None
    assert (3, logprob.logprob) in logprob.top
    assert len(logprob.top) == 5
    assert all(p <= 0 for _, p in logprob.top)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 1.1),
        ("top_p", -0.1),
        ("top_p", math.nan),
        ("min_p", 1.5),
        ("min_p", math.nan),
        ("seed", 2**64),
        ("min_tokens", -1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.nan),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("logprobs", 21),
        ("logprobs", -1),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name_limit_and_value(
    name: str, value: float
) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name} must be between \S+ and \S+, but is {value}"):
        SamplingParams(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_tokens", True, "max_tokens must be a whole number, but is True"),
        ("max_tokens", 1.5, "max_tokens must be a whole number, but is 1.5"),
        ("max_tokens", None, "max_tokens must be a whole number, but is None"),
        ("top_k", "5", "top_k must be a whole number, but is '5'"),
        ("top_k", "5" * 50, f"but is '{'5' * 40}'…"),
        ("seed", 0.5, "seed must be a whole number, but is 0.5"),
        ("temperature", "hot", "temperature must be a number, but is 'hot'"),
        ("top_p", False, "top_p must be a number, but is False"),
        ("min_p", None, "min_p must be a number, but is None"),
        ("logprobs", True, "logprobs must be a whole number, but is True"),
        ("min_tokens", None, "min_tokens must be a whole number, but is None"),
        ("presence_penalty", [], "presence_penalty must be a number, but is a list"),
        ("stop", "abc", "stop must be a tuple of strings, but is a str"),
        ("stop", None, "stop must be a tuple of strings, but is a NoneType"),
        ("stop", ("a", 7), "stop must hold strings, but holds a int"),
        ("stop", ("a", "b\ud800"), "A string of stop holds a lone surrogate"),
        ("stop_token_ids", [2], "stop_token_ids must be a tuple of token ids, but is a list"),
        ("stop_token_ids", (2,) * 129, "stop_token_ids must be at most 128 token ids, but is 129"),
        ("stop_token_ids", (2, True), "Each token id of stop_token_ids must be a whole number"),
        ("stop_token_ids", (-1,), "Each token id of stop_token_ids must be between 0 and"),
        ("logit_bias", [(1, 2.0)], "logit_bias must map token ids to numbers, but is a list"),
        ("logit_bias", None, "logit_bias must map token ids to numbers, but is None"),
        ("logit_bias", {"1": 2.0}, "Each token id of logit_bias must be a whole number"),
        (
            "logit_bias",
            {2**31: 2.0},
            "Each token id of logit_bias must be between 0 and 2147483647",
        ),
        ("logit_bias", {1: 100.5}, r"Each number of logit_bias must be between -100.0 and 100.0"),
        ("logit_bias", {1: math.nan}, "Each number of logit_bias must be between"),
        ("logit_bias", {1: "2"}, "Each number of logit_bias must be a number, but is '2'"),
        ("logit_bias", dict.fromkeys(range(1025), 1.0), "at most 1024 entries, but has 1025"),
    ],
)
def test_a_parameter_of_another_type_is_refused(name: str, value: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        SamplingParams(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), "x" * 10_000, "\ud800", object()],
    ids=["huge", "hugely negative", "long", "surrogate", "object"],
)
@pytest.mark.parametrize("name", ["max_tokens", "temperature", "seed", "logprobs", "top_p"])
def test_a_refusal_is_short_and_can_be_sent_whatever_it_refuses(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name} must be") as refused:
        SamplingParams(**{name: value})  # type: ignore[arg-type]
    assert len(str(refused.value).encode()) < 200


def test_min_tokens_beyond_max_tokens_is_refused_with_both() -> None:
    SamplingParams(min_tokens=5, max_tokens=5)
    with pytest.raises(InvalidInput, match="min_tokens must be at most max_tokens, 5, but is 6"):
        SamplingParams(min_tokens=6, max_tokens=5)


def test_params_stay_as_they_were_made() -> None:
    bias = {1: 2.0}
    params = SamplingParams(logit_bias=bias)
    bias[1] = 9.0
    assert params.logit_bias == {1: 2.0}
    with pytest.raises(TypeError):
        params.logit_bias[1] = 9.0  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        params.logit_bias = {}  # type: ignore[misc]


def test_params_are_values() -> None:
    params = SamplingParams(temperature=1.0, logit_bias={1: 2.0}, stop=("x",))
    assert replace(params, seed=None) == params
    assert hash(replace(params)) == hash(params)
    assert replace(params, logit_bias={1: 3.0}) != params


def test_whole_numbers_are_numbers() -> None:
    assert SamplingParams(temperature=1, top_p=0, min_p=1).temperature == 1


def test_stop_strings_are_limited_in_number_and_length() -> None:
    SamplingParams(stop=("x" * 256,) * 16)
    with pytest.raises(InvalidInput, match="at most 16 strings, but is 17"):
        SamplingParams(stop=("x",) * 17)
    with pytest.raises(InvalidInput, match="1 to 256 characters, but one has 0"):
        SamplingParams(stop=("a", ""))
    with pytest.raises(InvalidInput, match="but one has 257"):
        SamplingParams(stop=("x" * 257,))
