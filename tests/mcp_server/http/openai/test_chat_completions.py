"""The route /chat/completions writes the next message of a conversation, whole or as it comes."""

import json
import time
from dataclasses import replace

import jsonschema
import openai
import pytest

from engine.engine import Engine
from mcp_server.commands.engine_options import options

MODEL = "smollm2-135m-instruct"
PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "Say hi"}]
SHORT = {"model": MODEL, "messages": HI, "max_completion_tokens": 6, "temperature": 0}
MODEL_TEXT = "Hello there, welcome to my"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALLING = SHORT | {"tools": [WEATHER, CLOCK], "max_completion_tokens": 60}


def message(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


def refusal(answer, status: int = 400) -> tuple[str, str]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error["param"], error["code"]


@pytest.mark.compat(
    "chat_completions", honoured=["model", "messages", "max_completion_tokens", "stream"]
)
def test_the_official_client_takes_answers_and_their_streams(client, served):
    whole = client.chat.completions.create(**SHORT)
    (choice,) = whole.choices
    assert (choice.message.content, choice.finish_reason) == (MODEL_TEXT, "length")
    assert whole.id.startswith("chatcmpl-")
    assert whole.usage.completion_tokens == 6
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 6
    prompt = whole.usage.prompt_tokens
    assert whole.usage.prompt_tokens_details.cached_tokens <= prompt
    chunks = list(client.chat.completions.create(**SHORT, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == MODEL_TEXT
    assert chunks[-1].choices[0].finish_reason == "length"
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}
    raw = served.post(PATH, SHORT).json()["choices"][0]
    assert (raw["logprobs"], raw["message"]["refusal"]) == (None, None)
    assert raw["message"]["annotations"] == []


@pytest.mark.compat("chat_completions", honoured=["stream_options.include_usage", "stream_options"])
def test_frames_come_in_order_and_tell_usage_only_when_asked(frames):
    first, *middle, last = frames(PATH, SHORT)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(list(one["choices"][0]["delta"]) == ["content"] for one in middle)
    assert last["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    ]
    assert not any("usage" in one for one in (first, *middle, last))
    assert len({(one["id"], one["created"], one["model"]) for one in (first, *middle, last)}) == 1
    *others, usage = frames(PATH, SHORT | {"stream_options": {"include_usage": True}})
    assert {one["usage"] for one in others} == {None}
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 6


@pytest.mark.compat("chat_completions", honoured=["max_tokens", "max_completion_tokens"])
def test_an_answer_is_as_long_as_the_newer_of_the_two_limits_says(served):
    both = served.post(PATH, SHORT | {"max_tokens": 2, "max_completion_tokens": 1}).json()
    assert both["usage"]["completion_tokens"] == 1
    old = served.post(PATH, SHORT | {"max_tokens": 2, "max_completion_tokens": None}).json()
    assert old["usage"]["completion_tokens"] == 2
    huge = SHORT | {"max_completion_tokens": 10**9, "stop": ["there"]}
    assert message(served.post(PATH, huge))["content"] == "Hello "
    for wrong in (0, -1, 1.5, "5", True):
        assert refusal(served.post(PATH, SHORT | {"max_tokens": wrong}))[0] == "max_tokens"


@pytest.mark.compat("chat_completions", honoured=["n"])
def test_several_answers_have_an_index_each_and_one_prompt(served, frames):
    body = SHORT | {"n": 2, "max_completion_tokens": 3, "temperature": 1, "seed": 5}
    whole = served.post(PATH, body).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    single = served.post(PATH, body | {"n": 1}).json()
    assert whole["usage"]["prompt_tokens"] == single["usage"]["prompt_tokens"]
    assert whole["usage"]["completion_tokens"] == 6
    assert whole["choices"][0]["message"] == single["choices"][0]["message"]
    texts = ["", ""]
    for one in frames(PATH, body):
        texts[one["choices"][0]["index"]] += one["choices"][0]["delta"].get("content", "")
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert refusal(served.post(PATH, SHORT | {"n": 9})) == ("n", "invalid_value")


@pytest.mark.compat("chat_completions", honoured=["logprobs", "top_logprobs"])
def test_probabilities_are_those_of_the_shown_tokens_best_first(client, served):
    body = SHORT | {"logprobs": True, "top_logprobs": 3}
    choice = client.chat.completions.create(**body).choices[0]
    told = choice.logprobs.content
    assert b"".join(bytes(one.bytes) for one in told).decode() == choice.message.content
    for one in told:
        ranked = [top.logprob for top in one.top_logprobs]
        assert ranked == sorted(ranked, reverse=True)
        assert (len(ranked), ranked[0]) == (3, one.logprob)
    streamed = [
        token
        for chunk in client.chat.completions.create(**body, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert streamed == told
    cut = served.post(PATH, body | {"stop": "there, wel"}).json()["choices"][0]
    assert [one["token"] for one in cut["logprobs"]["content"]] == ["Hello", " there"]
    assert cut["message"]["content"] == "Hello "
    assert refusal(served.post(PATH, SHORT | {"top_logprobs": 3}))[0] == "top_logprobs"
    assert refusal(served.post(PATH, body | {"top_logprobs": 21}))[0] == "top_logprobs"


@pytest.mark.compat("chat_completions", honoured=["response_format"])
def test_an_answer_is_json_of_the_schema_it_was_given(client, served):
    schema = WEATHER["function"]["parameters"]
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    body = SHORT | {"max_completion_tokens": 40, "response_format": form}
    content = client.chat.completions.create(**body).choices[0].message.content
    assert json.loads(content)["city"] in ("Rome", "Oslo")
    anything = message(served.post(PATH, body | {"response_format": {"type": "json_object"}}))
    assert isinstance(json.loads(anything["content"]), dict)
    text = message(served.post(PATH, SHORT | {"response_format": {"type": "text"}}))
    assert text["content"] == MODEL_TEXT
    cut = served.post(PATH, body | {"max_completion_tokens": 3}).json()["choices"][0]
    assert cut["finish_reason"] == "length"
    assert content.startswith(cut["message"]["content"])
    lacking = SHORT | {"response_format": {"type": "json_schema"}}
    assert refusal(served.post(PATH, lacking))[0] == "response_format.json_schema.schema"
    two = CALLING | {"response_format": form}
    assert refusal(served.post(PATH, two)) == ("response_format", "invalid_value")


@pytest.mark.compat("chat_completions", honoured=["tools", "tool_choice"])
def test_a_forced_call_has_valid_arguments_and_its_deltas_fold_to_the_whole(client, frames):
    chosen = {"type": "function", "function": {"name": "weather"}}
    body = CALLING | {"tool_choice": chosen}
    choice = client.chat.completions.create(**body).choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert call.id.startswith("call_")
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
    deltas = [
        delta
        for one in frames(PATH, body)
        for delta in one["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert {delta["index"] for delta in deltas} == {0}
    first, *more = deltas
    assert first["function"] == {"name": "weather", "arguments": ""}
    assert (first["type"], first["id"][:5]) == ("function", "call_")
    assert all(list(delta) == ["index", "function"] for delta in more)
    assert "".join(d["function"]["arguments"] for d in deltas) == call.function.arguments


@pytest.mark.compat("chat_completions", honoured=["tool_choice", "parallel_tool_calls"])
def test_what_may_be_called_is_what_the_choice_leaves(served):
    none = message(served.post(PATH, CALLING | {"tool_choice": "none"}))
    assert "tool_calls" not in none
    assert none["content"]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = CALLING | {"tool_choice": choice, "parallel_tool_calls": False}
    (call,) = message(served.post(PATH, body))["tool_calls"]
    assert call["function"]["name"] == "clock"
    cut = served.post(PATH, body | {"max_completion_tokens": 3}).json()["choices"][0]
    assert (cut["finish_reason"], cut["message"]["content"]) == ("length", "")
    for most in (3, 12):  # Within the tag, and behind it.
        body |= {"max_completion_tokens": most, "logprobs": True}
        cut = served.post(PATH, body).json()["choices"][0]
        assert not cut["message"]["content"]
        assert cut["logprobs"] is None
    wrong = {"type": "function", "function": {"name": "radio"}}
    assert refusal(served.post(PATH, CALLING | {"tool_choice": wrong}))[0] == "tool_choice"
    assert refusal(served.post(PATH, SHORT | {"tool_choice": "required"}))[0] == "tool_choice"
    twice = CALLING | {"tools": [CLOCK, CLOCK]}
    assert refusal(served.post(PATH, twice))[0] == "tools"
    many = CALLING | {"tools": [CLOCK] * 129}
    assert refusal(served.post(PATH, many))[0] == "tools"


@pytest.mark.compat(
    "chat_completions",
    honoured=["messages.text parts", "messages.roles developer and tool", "modalities"],
    refused=["messages.images, audio and files"],
)
def test_text_is_read_in_parts_and_in_every_role_and_nothing_else_is(served):
    parts = [{"type": "text", "text": "Say"}, {"type": "text", "text": " hi"}]
    whole = served.post(PATH, SHORT | {"modalities": ["text"]}).json()
    split = served.post(PATH, SHORT | {"messages": [{"role": "user", "content": parts}]}).json()
    assert split["choices"] == whole["choices"]
    called = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12:05"},
    ]
    assert message(served.post(PATH, SHORT | {"messages": turns}))["content"]
    turns[0]["role"] = "system"
    for kind in ("image_url", "input_audio", "file"):
        content = [parts[0], {"type": kind, kind: {"url": "https://example.com/a.png"}}]
        answer = served.post(PATH, SHORT | {"messages": [{"role": "user", "content": content}]})
        assert refusal(answer) == ("messages.0.content.1.type", "unsupported_parameter")
    assert refusal(served.post(PATH, SHORT | {"modalities": ["audio"]}))[0] == "modalities.0"


def test_what_cannot_be_answered_is_refused_by_its_field(served):
    assert refusal(served.post(PATH, SHORT | {"messages": HI * 2049}))[0] == "messages"
    assert refusal(served.post(PATH, SHORT | {"messages": []}))[0] == "messages"
    assert refusal(served.post(PATH, {"model": MODEL})) == (
        "messages",
        "missing_required_parameter",
    )
    for model in ("gpt-4", "", "default", "all-minilm-l6-v2"):
        assert refusal(served.post(PATH, SHORT | {"model": model}), 404) == (
            "model",
            "model_not_found",
        )
    long = SHORT | {"messages": [{"role": "user", "content": "a " * 9000}]}
    assert refusal(served.post(PATH, long | {"stream": True}))[1] == "context_length_exceeded"
    json_type = {"content-type": "application/json"}
    for wrong in (b'{"temperature": NaN}', b'{"messages": "\\ud800"}'):
        answer = served.http.post(PATH, content=wrong, headers=json_type)
        assert refusal(answer)[1] == "invalid_json"


def test_an_error_in_the_midst_of_a_stream_is_its_last_frame_and_frees_the_place(served, client):

    gateway = served.gateway
    stream = client.chat.completions.create(
        **SHORT | {"max_completion_tokens": 8000, "messages": HI * 3, "logit_bias": {"2": -100}},
        stream=True,
    )
    next(iter(stream))
    gateway.stopping.set()
    try:
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
    finally:
        gateway.stopping = type(gateway.stopping)()
    end = time.monotonic() + 60
    while gateway.answers.working:  # The last frame is sent before the place is left.
        assert time.monotonic() < end


def test_where_no_language_model_is_installed_the_answer_says_so(home, serve, tmp_path):
    bare = replace(home.settings, models_dir=tmp_path, offline=True)
    home.engine = lambda **_: Engine(options(bare))
    with serve() as without:
        answer = without.post(PATH, SHORT)
    assert refusal(answer, 404) == ("model", "model_not_found")
    assert "npu-gateway pull" in answer.json()["error"]["message"]


@pytest.mark.nightly
def test_a_hundred_drawn_answers_are_all_of_their_schema(served):
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    body = SHORT | {"response_format": form, "max_completion_tokens": 100, "temperature": 1}
    for seed in range(100):
        choice = served.post(PATH, body | {"seed": seed}).json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["message"]["content"]), schema)


def test_an_answer_without_a_limit_of_its_own_has_the_servers(serve):
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Count to a thousand."}]}
    with serve(answer_tokens=3) as served:
        chat = served.post("/v1/chat/completions", asked).json()
        more = served.post("/v1/chat/completions", asked | {"max_completion_tokens": 4}).json()
        written = served.post("/v1/responses", {"model": MODEL, "input": "Count."}).json()
    assert chat["usage"]["completion_tokens"] == 3
    assert chat["choices"][0]["finish_reason"] == "length"
    assert more["usage"]["completion_tokens"] == 4
    assert written["incomplete_details"] == {"reason": "max_output_tokens"}
