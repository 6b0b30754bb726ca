"""What the routes /responses take as input, and what they refuse by its place in the body."""

import json

import pytest

from engine.decode.tool_calls import ToolCall
from engine.decode.tool_turns import CallingTurn, ToolResult
from engine.text.chat import Message
from mcp_server.http.openai.responses.bodies import InputTokensBody, ResponsesBody
from mcp_server.http.openai.responses.items import input_turns
from mcp_server.http.parsing import parsed

MODEL = "smollm2-135m-instruct"


def _turns(items, instructions=None):
    body = parsed(json.dumps({"input": items}).encode(), InputTokensBody)
    return input_turns(body.input, instructions)


def _call(call_id, arguments="{}", name="look"):
    kind = {"type": "function_call", "status": "completed"}
    return kind | {"call_id": call_id, "name": name, "arguments": arguments}


@pytest.mark.compat("responses", honoured=["input.items"])
def test_items_are_the_turns_that_a_model_reads():
    parts = [{"type": "input_text", "text": "Look "}, {"type": "input_text", "text": "there."}]
    said = {"type": "output_text", "text": "I look.", "annotations": []}
    refused = {"type": "refusal", "refusal": "No."}
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": parts},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [said], "phase": "commentary"},
        {"type": "file_search_call", "id": "fs_1", "queries": ["x"], "status": "completed"},
        _call("c1", '{"at": 1}'),
        _call("c2"),
        {"type": "function_call_output", "call_id": "c1", "output": "a tree"},
        {"type": "function_call_output", "call_id": "c2", "output": parts},
        _call("c3", name="listen"),
        {"type": "function_call_output", "call_id": "c9", "output": "nothing"},
        {"role": "assistant", "content": [refused]},
    ]
    assert _turns(items, "You see.") == [
        Message("system", "You see."),
        Message("system", "Be brief."),
        Message("user", "Look there."),
        CallingTurn("I look.", (ToolCall("look", '{"at": 1}'), ToolCall("look", "{}"))),
        ToolResult("look", "a tree"),
        ToolResult("look", "Look there."),
        CallingTurn("", (ToolCall("listen", "{}"),)),
        ToolResult("", "nothing"),
        Message("assistant", "No."),
    ]
    assert _turns("Hi") == _turns([{"role": "user", "content": "Hi"}]) == [Message("user", "Hi")]


@pytest.mark.compat(
    "responses",
    honoured=["truncation"],
    refused=[
        "input.images",
        "input.item_reference",
        "tools.of other kinds",
        "previous_response_id",
    ],
)
@pytest.mark.compat("input_tokens", refused=["previous_response_id"])
def test_what_cannot_be_served_is_refused_by_its_place(served):
    def message(content):
        return [{"role": "user", "content": content}]

    function = {"type": "function", "name": "f"}
    search = {"type": "file_search", "vector_store_ids": ["documents"]}
    unsupported, value = "unsupported_parameter", "invalid_value"
    missing, kind = "missing_required_parameter", "invalid_type"
    cases = [
        ({"input": message([{"type": "input_image"}])}, "input.0.content.0.type", unsupported),
        ({"input": message([{"type": "input_file"}])}, "input.0.content.0.type", unsupported),
        ({"input": message([{"type": "input_text"}])}, "input.0.content.0.text", missing),
        ({"input": message(5)}, "input.0.content", kind),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role", value),
        ({"input": [{"type": "item_reference", "id": "m"}]}, "input.0.type", unsupported),
        ({"input": [{"id": "m"}]}, "input.0.type", unsupported),
        ({"input": [{"type": "computer_call"}]}, "input.0.type", unsupported),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input.0.name", missing),
        ({"input": [5]}, "input.0", None),
        ({"input": []}, "input", value),
        ({"input": None}, "input", kind),
        ({"previous_response_id": "r"}, "previous_response_id", "previous_response_not_found"),
        ({"tools": [function, {"type": "web_search"}]}, "tools.1.type", unsupported),
        ({"tools": [search, search]}, "tools", value),
        ({"tools": [{"type": "file_search"}]}, "tools.0.vector_store_ids", missing),
        ({"tools": [search | {"max_num_results": 51}]}, "tools.0.max_num_results", value),
        ({"tools": [{"type": "function"}]}, "tools.0.name", missing),
        ({"tools": [function, function]}, "tools", value),
        ({"tools": [{"type": 5}]}, "tools.0.type", value),
        ({"tool_choice": "required"}, "tool_choice", value),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", value),
        (
            {"tools": [function], "tool_choice": {"type": "function", "name": "g"}},
            "tool_choice",
            value,
        ),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type", value),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", missing),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", value),
        ({"max_output_tokens": 0}, "max_output_tokens", value),
        ({"top_logprobs": 21}, "top_logprobs", value),
        ({"max_tool_calls": 0}, "max_tool_calls", value),
        ({"truncation": "middle"}, "truncation", value),
        ({"model": "gpt-5"}, "model", "model_not_found"),
        ({"input": "tide " * 8_200}, "input", "context_length_exceeded"),
    ]
    for fields, param, code in cases:
        refused = served.post("/v1/responses", {"model": MODEL, "input": "Hi"} | fields)
        assert 400 <= refused.status_code < 500, fields
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == (param, code or error["code"]), error
    for text in (None, {"format": None}):
        assert served.post("/v1/responses/input_tokens", {"input": "Hi", "text": text}).is_success
    endless = [{"type": "function_call_output", "call_id": "c", "output": "<" * 4_000_000}]
    refused = served.post("/v1/responses/input_tokens", {"input": endless})
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    counted = {"input": "Hi", "previous_response_id": "r"}
    assert served.post("/v1/responses/input_tokens", counted).status_code == 400


@pytest.mark.compat("responses", honoured=["truncation.auto"])
@pytest.mark.compat("input_tokens", honoured=["truncation"])
def test_the_oldest_turns_go_where_that_is_asked_for(served):
    def counted(turns, truncation):
        body = {"model": MODEL, "input": turns, "truncation": truncation, "instructions": "Sing."}
        return served.post("/v1/responses/input_tokens", body).json()["input_tokens"]

    def said(text):
        return {"role": "user", "content": text}

    called = [_call("c"), {"type": "function_call_output", "call_id": "c", "output": "sea " * 900}]
    old, recent, last = said("tide " * 900), said("moon " * 5_600), said("And now?")
    turns = [old, *called, recent, last]
    assert counted(turns, "disabled") > 7_400
    assert counted(turns, "auto") == counted([recent, last], "disabled")
    assert counted([old, last], "auto") == counted([old, last], "disabled")
    assert counted([last, said("tide " * 8_000)], "auto") > 8_000


def test_a_body_echoes_what_is_text_of_what_it_should_echo():
    given = {"metadata": {"a": "b", "c": 5}, "user": 7, "prompt_cache_key": "k"}
    body = parsed(json.dumps({"model": MODEL, "input": "Hi"} | given).encode(), ResponsesBody)
    assert (body.metadata, body.user, body.prompt_cache_key) == ({"a": "b"}, None, "k")
