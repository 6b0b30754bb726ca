"""The routes /responses give the official client, reading strictly, what it asks for."""

import json

import openai
import pytest

from mcp_server.keys import Keys

MODEL = "smollm2-135m-instruct"
GREETING = {"model": MODEL, "input": "Say hello.", "max_output_tokens": 4, "temperature": 0}

UNIT = {
    "type": "function",
    "name": "show_unit",
    "description": "Shows a unit of temperature.",
    "parameters": {
        "type": "object",
        "properties": {"unit": {"enum": ["C"]}},
        "required": ["unit"],
        "additionalProperties": False,
    },
}


def _answer(client, **changes):
    return client.responses.create(**GREETING | changes)


@pytest.mark.compat(
    "responses",
    honoured=[
        "model",
        "input",
        "max_output_tokens",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "max_tool_calls",
    ],
    ignored=["store.true", "reasoning.effort"],
)
def test_an_answer_is_read_strictly_and_shows_what_was_asked_for(client):
    shown = {
        "metadata": {"order": "7"},
        "user": "ada",
        "safety_identifier": "a1",
        "prompt_cache_key": "k",
        "max_tool_calls": 3,
    }
    told = _answer(client, **shown, store=True, reasoning={"effort": "low"})
    assert {name: getattr(told, name) for name in shown} == shown
    assert (told.store, told.model, told.object) == (False, MODEL, "response")
    assert told.id.startswith("resp_")
    (message,) = told.output
    assert (message.id[:4], message.role, message.content[0].annotations) == (
        "msg_",
        "assistant",
        [],
    )
    assert told.output_text
    assert (told.status, told.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (told.usage.output_tokens, told.max_output_tokens) == (4, 4)
    assert told.usage.total_tokens == told.usage.input_tokens + told.usage.output_tokens


@pytest.mark.compat("responses", honoured=["stop"])
def test_an_answer_that_stops_by_itself_is_complete(client):
    told = _answer(client, extra_body={"stop": [" there", "!"]})
    assert told.status == "completed"
    assert told.incomplete_details is None
    assert told.completed_at >= told.created_at
    assert " there" not in told.output_text


@pytest.mark.compat("responses", honoured=["instructions"])
@pytest.mark.compat("input_tokens")
@pytest.mark.compat(
    "input_tokens",
    honoured=[
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "max_output_tokens",
    ],
)
def test_tokens_are_counted_as_an_answer_reads_them(client):
    asked = {"tools": [UNIT], "tool_choice": "auto", "parallel_tool_calls": False}
    search = {"tools": [{"type": "file_search", "vector_store_ids": ["documents"]}]}
    counts = []
    for fields in (
        {},
        {"instructions": "Speak like a sailor. " * 9},
        {"text": {"format": {"type": "json_object"}}},
        asked,
        asked | {"tool_choice": "none"},
        search | {"input": "What pulls at the sea?"},
    ):
        counted = client.responses.input_tokens.count(
            model=MODEL, **{"input": GREETING["input"]} | fields
        )
        assert counted.object == "response.input_tokens"
        assert (
            counted.input_tokens
            == _answer(client, **fields, max_output_tokens=2).usage.input_tokens
        )
        counts.append(counted.input_tokens)
    plain, instructed, as_json, with_tools, without_tools, informed = counts
    assert plain == as_json == without_tools
    assert min(instructed, with_tools, informed) > plain
    any_model = client.responses.input_tokens.count(input="Hi", extra_body={"max_output_tokens": 9})
    assert any_model.input_tokens < plain


@pytest.mark.compat("responses", honoured=["text", "text.format"], ignored=["text.verbosity"])
def test_a_text_keeps_to_the_schema_asked_for(client):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    named = {
        "type": "json_schema",
        "name": "verdict",
        "schema": schema | {"additionalProperties": False},
    }
    told = _answer(client, text={"format": named, "verbosity": "low"}, max_output_tokens=30)
    assert list(json.loads(told.output_text)) == ["ok"]
    assert told.text.format.name == "verdict"
    free = _answer(client, text={"format": {"type": "json_object"}}, max_output_tokens=30)
    assert free.status == "incomplete" or isinstance(json.loads(free.output_text), dict)


@pytest.mark.compat("responses", honoured=["tools", "tool_choice", "parallel_tool_calls"])
def test_functions_are_called_as_the_choice_says(client):
    named = {"type": "function", "name": "show_unit"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [named]}
    for choice in (named, allowed):
        tools = [UNIT, UNIT | {"name": "other"}]
        told = _answer(
            client, tools=tools, tool_choice=choice, parallel_tool_calls=False, max_output_tokens=40
        )
        (call,) = told.output
        assert (call.type, call.name, call.status) == ("function_call", "show_unit", "completed")
        assert json.loads(call.arguments) == {"unit": "C"}
        assert (call.id[:3], call.call_id[:5]) == ("fc_", "call_")
        assert told.tools[0].name == "show_unit"
    silent = _answer(client, tools=[UNIT], tool_choice="none")
    assert (silent.output[0].type, silent.tool_choice) == ("message", "none")


@pytest.mark.compat("responses", honoured=["include", "top_logprobs", "logit_bias"])
def test_probabilities_come_where_they_are_included(client, loaded_decoder):
    included = {"include": ["message.output_text.logprobs"], "max_output_tokens": 2}
    told = _answer(client, **included, top_logprobs=2).output[0].content[0]
    assert "".join(one.token for one in told.logprobs) == told.text
    for one in told.logprobs:
        best, second = one.top_logprobs
        assert (best.token, best.bytes) == (one.token, list(one.token.encode()))
        assert best.logprob >= second.logprob
    assert _answer(client, top_logprobs=2, max_output_tokens=1).output[0].content[0].logprobs == []
    banned = {str(loaded_decoder.tokenize(told.logprobs[0].token)[0]): -100}
    other = _answer(client, **included, extra_body={"logit_bias": banned}).output[0].content[0]
    assert (
        other.logprobs[0].token == told.logprobs[0].top_logprobs[0].token or other.text != told.text
    )


@pytest.mark.compat(
    "responses",
    honoured=[
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
    ],
)
def test_tokens_are_chosen_as_the_fields_say(client):
    def text(**fields):
        asked = {"input": "Repeat: tide tide tide tide tide tide tide", "max_output_tokens": 8}
        return _answer(client, **asked, extra_body=fields).output_text

    greedy = text()
    short = {"temperature": 2, "max_output_tokens": 3}
    for fields in ({"top_p": 0}, {"top_k": 1}, {"min_p": 1}):
        assert greedy.startswith(text(**short, **fields)), fields
    drawn = text(**short, seed=5)
    assert drawn == text(**short, seed=5)
    assert not greedy.startswith(drawn)
    for fields in ({"repetition_penalty": 10}, {"presence_penalty": 2}, {"frequency_penalty": 2}):
        assert text(**fields) != greedy, fields


@pytest.mark.compat("response")
@pytest.mark.compat("response_delete")
@pytest.mark.compat("response_post")
def test_nothing_is_stored(client, served):
    for forget in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as refused:
            forget("resp_1")
        assert (refused.value.code, refused.value.type) == ("not_found", "invalid_request_error")
    assert served.post("/responses/compact", {}).status_code == 404


@pytest.mark.compat("responses")
def test_a_key_without_the_scope_search_answers_but_does_not_search(home, serve):
    key, _ = Keys(home.settings.keys_file).create("phone", {"infer"})
    told = {"authorization": f"Bearer {key}"}
    search = {"tools": [{"type": "file_search", "vector_store_ids": ["documents"]}]}
    with serve() as served:
        refused = served.post("/v1/responses", GREETING | search, headers=told)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "insufficient_permissions"
        for fields in ({}, search | {"tool_choice": "none"}):
            answered = served.post("/v1/responses", GREETING | fields, headers=told)
            assert answered.status_code == 200
