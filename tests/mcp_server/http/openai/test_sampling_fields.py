"""The fields that say how tokens are chosen do so on both routes."""

from typing import Any

import pytest

MODEL = "smollm2-135m-instruct"
BOTH: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Say hi"}]},
    "/v1/completions": {"prompt": "one two one two one two"},
}


def asked(served, path: str, **fields: Any) -> str:
    body = {"model": MODEL, "max_tokens": 4, "temperature": 0} | BOTH[path] | fields
    answer = served.post(path, body)
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"]


@pytest.mark.compat("chat_completions", honoured=["temperature", "top_p", "top_k", "min_p"])
@pytest.mark.compat("completions", honoured=["temperature", "top_p", "top_k", "min_p"])
def test_of_one_possible_token_a_draw_takes_it(served):
    for path in BOTH:
        best = asked(served, path)
        for only in ({"top_p": 0.0}, {"top_k": 1}, {"min_p": 1.0}):
            assert asked(served, path, temperature=2, **only) == best


@pytest.mark.compat("chat_completions", honoured=["seed", "temperature.default of 1"])
@pytest.mark.compat("completions", honoured=["seed", "temperature.default of 1"])
def test_a_seed_repeats_a_draw(served):
    for path in BOTH:
        first = asked(served, path, temperature=None, seed=7)
        assert asked(served, path, temperature=1.0, seed=7) == first
        assert asked(served, path, temperature=None, seed=-8) != first


@pytest.mark.compat("chat_completions", honoured=["stop"])
@pytest.mark.compat("completions", honoured=["stop"])
def test_a_stop_string_ends_an_answer_and_is_not_shown_even_across_tokens(served, frames):
    for path in BOTH:
        whole = asked(served, path, max_tokens=8)
        within = whole[7:13]
        before = whole.partition(within)[0]
        assert asked(served, path, max_tokens=8, stop=["zzz", within]) == before
        assert asked(served, path, max_tokens=8, stop=within) == before
        body = {"model": MODEL, "max_tokens": 8, "temperature": 0, "stop": within} | BOTH[path]
        choices = [one["choices"][0] for one in frames(path, body)]
        told = [one.get("text") or one.get("delta", {}).get("content") or "" for one in choices]
        assert "".join(told) == before
        assert choices[-1]["finish_reason"] == "stop"


@pytest.mark.compat("chat_completions", honoured=["logit_bias"])
@pytest.mark.compat("completions", honoured=["logit_bias"])
def test_a_bias_takes_a_token_out_or_makes_it_the_only_one(served):
    decoder = served.gateway.engine.decoder.loaded()
    for path in BOTH:
        (first, *_) = decoder.tokenize(asked(served, path, max_tokens=1))
        assert asked(served, path, max_tokens=1, logit_bias={str(first): -100}) != asked(
            served, path, max_tokens=1
        )
        (word,) = decoder.tokenize(" tide")
        assert asked(served, path, max_tokens=1, logit_bias={str(word): 100}).strip() == "tide"


@pytest.mark.compat(
    "chat_completions",
    honoured=["repetition_penalty", "presence_penalty", "frequency_penalty"],
)
@pytest.mark.compat(
    "completions", honoured=["repetition_penalty", "presence_penalty", "frequency_penalty"]
)
def test_penalties_keep_an_answer_from_going_round(served):
    turns = [{"role": "user", "content": "Write the word no ten times."}]
    for path, own in (("/v1/chat/completions", {"messages": turns}), ("/v1/completions", {})):
        plain = asked(served, path, max_tokens=8, **own)
        for name, most in (
            ("repetition_penalty", 10),
            ("presence_penalty", 2),
            ("frequency_penalty", 2),
        ):
            assert asked(served, path, max_tokens=8, **own, **{name: most}) != plain, name


def test_what_no_token_can_be_chosen_by_is_refused_by_its_field(served):
    wrong: dict[str, list[Any]] = {
        "temperature": [-0.1, 2.1, "1", True],
        "top_p": [-0.1, 1.1],
        "top_k": [-2, 0.5],
        "min_p": [2],
        "repetition_penalty": [0],
        "presence_penalty": [-2.1],
        "frequency_penalty": [2.1],
        "seed": [2**63, 1.5],
        "stop": [["a"] * 17, ["a" * 257], [""], 5],
        "logit_bias": [{"a": 1}, {"-1": 1}, {"5": 101}, {str(i): 0 for i in range(1025)}, [5]],
    }
    for path, own in BOTH.items():
        for field, values in wrong.items():
            for value in values:
                answer = served.post(path, {"model": MODEL} | own | {field: value})
                assert answer.status_code == 400, (field, value)
                assert answer.json()["error"]["param"].partition(".")[0] == field
