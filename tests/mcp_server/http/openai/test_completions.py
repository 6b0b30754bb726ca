"""The route /completions goes on from texts as they are."""

import pytest
from openai import OpenAI

MODEL = "smollm2-135m-instruct"
PATH = "/v1/completions"
SHORT = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}
TEXT = ", the city of"


def refusal(answer, status: int = 400) -> tuple[str, str]:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["param"], answer.json()["error"]["code"]


def texts(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [choice["text"] for choice in answer.json()["choices"]]


@pytest.mark.compat("completions", honoured=["model", "prompt", "max_tokens", "stream"])
def test_the_official_client_takes_completions_and_their_streams(client):
    whole = client.completions.create(**SHORT)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (TEXT, "length")
    assert whole.id.startswith("cmpl-")
    assert (whole.usage.completion_tokens, whole.usage.total_tokens) == (4, 8)
    # The client's type has no null as a finish_reason, which OpenAI sends all the same.
    with OpenAI(base_url=client.base_url, api_key="none", max_retries=0) as lenient:
        chunks = list(lenient.completions.create(**SHORT, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "length"]
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}


@pytest.mark.compat("completions", honoured=["stream_options", "max_tokens.default of 16"])
def test_frames_tell_usage_only_when_asked_and_an_answer_is_short_by_default(frames):
    assert not any("usage" in one for one in frames(PATH, SHORT))
    body = SHORT | {"max_tokens": None, "stream_options": {"include_usage": True}}
    *others, last = frames(PATH, body)
    assert {one["usage"] for one in others} == {None}
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 16)


@pytest.mark.compat("completions", honoured=["prompt.list of texts", "n", "echo", "best_of"])
def test_each_prompt_has_its_answers_next_to_each_other(served):
    body = SHORT | {"prompt": ["Once upon a time", "The sea"], "n": 2, "echo": True, "best_of": 2}
    whole = served.post(PATH, body).json()
    told = [choice["text"] for choice in whole["choices"]]
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert told[:2] == [f"Once upon a time{TEXT}"] * 2
    assert told[2] == told[3]
    assert told[2].startswith("The sea")
    single = served.post(PATH, SHORT | {"prompt": "The sea", "max_tokens": 1}).json()["usage"]
    assert whole["usage"]["prompt_tokens"] == 4 + single["prompt_tokens"]
    assert whole["usage"]["completion_tokens"] == 16
    assert refusal(served.post(PATH, SHORT | {"best_of": 2})) == ("best_of", "invalid_value")


@pytest.mark.compat("completions", honoured=["logprobs"], refused=["logprobs.with echo"])
def test_probabilities_come_as_lists_of_one_length(client, served):
    told = client.completions.create(**SHORT, logprobs=2).choices[0].logprobs
    assert told.tokens == [",", " the", " city", " of"]
    assert told.text_offset == [0, 1, 5, 10]
    assert [len(one) for one in told.top_logprobs] == [2] * 4
    tops = zip(told.tokens, told.top_logprobs, strict=True)
    assert told.token_logprobs == [one[token] for token, one in tops]
    assert refusal(served.post(PATH, SHORT | {"logprobs": 6}))[0] == "logprobs"
    assert refusal(served.post(PATH, SHORT | {"logprobs": 1, "echo": True}))[0] == "echo"


@pytest.mark.compat("completions", refused=["prompt.token ids"])
def test_what_cannot_be_gone_on_from_is_refused_by_its_field(served):
    for ids in ([5, 6], [[5, 6]]):
        assert refusal(served.post(PATH, SHORT | {"prompt": ids}))[0] == "prompt"
    assert refusal(served.post(PATH, SHORT | {"prompt": []}))[0] == "prompt"
    assert refusal(served.post(PATH, SHORT | {"prompt": "a" * 65, "n": 9}))[0] == "n"
    assert served.post(PATH, SHORT | {"prompt": ""}).status_code == 400
    assert refusal(served.post(PATH, SHORT | {"model": "gpt"}), 404)[0] == "model"


def test_one_of_several_prompts_that_cannot_be_answered_refuses_all_before_a_stream_begins(served):
    for wrong in ("", "word " * 9000, "x" * 1_000_000):
        body = SHORT | {"prompt": ["The sea", wrong], "stream": True}
        assert served.post(PATH, body).status_code == 400
