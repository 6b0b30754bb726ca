"""A streamed response tells its events in the one order there is, and is what it would be whole."""

import json
from itertools import groupby
from typing import Any

import pytest

MODEL = "smollm2-135m-instruct"
UNIT = {
    "type": "function",
    "name": "show_unit",
    "parameters": {
        "type": "object",
        "properties": {"unit": {"enum": ["C"]}},
        "required": ["unit"],
        "additionalProperties": False,
    },
}
SEARCH = {"type": "file_search", "vector_store_ids": ["documents"]}

REQUESTS: dict[str, dict[str, Any]] = {
    "cut by its length": {"input": "Say hello.", "max_output_tokens": 5},
    "stopping": {"input": "Say hello.", "max_output_tokens": 9, "stop": [" there", "!"]},
    "saying nothing": {"input": "Say hello.", "max_output_tokens": 1, "stop": ["H"]},
    "calling": {"input": "Which unit?", "tools": [UNIT], "tool_choice": "required"},
    "calling in part": {
        "input": "Which unit?",
        "tools": [UNIT],
        "tool_choice": "required",
        "max_output_tokens": 16,
    },
    "searching": {
        "input": "What pulls at the sea?",
        "tools": [SEARCH],
        "include": ["file_search_call.results", "message.output_text.logprobs"],
        "max_output_tokens": 3,
    },
}

ITEMS = {"message", "function_call", "file_search_call"}
ENDS = {"completed", "incomplete"}

FOLLOWERS: dict[str, set[str]] = {
    "": {"created"},
    "created": {"in_progress"},
    "in_progress": ITEMS,
    "message": {"content_part.added"},
    "content_part.added": {"output_text.delta", "output_text.done"},
    "output_text.delta": {
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
    },
    "output_text.annotation.added": {"output_text.annotation.added", "output_text.done"},
    "output_text.done": {"content_part.done"},
    "content_part.done": {"output_item.done"},
    "function_call": {"function_call_arguments.delta", "function_call_arguments.done"},
    "function_call_arguments.delta": {
        "function_call_arguments.delta",
        "function_call_arguments.done",
    },
    "function_call_arguments.done": {"output_item.done"},
    "file_search_call": {"file_search_call.in_progress"},
    "file_search_call.in_progress": {"file_search_call.searching"},
    "file_search_call.searching": {"file_search_call.completed"},
    "file_search_call.completed": {"output_item.done"},
    "output_item.done": ITEMS | ENDS,
}
"""What may come behind an event; an item that is added is called by its type."""

CHANGING = ("id", "created_at", "completed_at", "item_id", "call_id", "cached_tokens")
"""What differs between two answers to the same request."""


def _body(fields):
    return {"model": MODEL, "temperature": 1, "seed": 7, "max_output_tokens": 40} | fields


def _events(served, body):
    """The events of a stream; each frame names its own, and the last is the sign of the end."""
    with served.http.stream("POST", "/v1/responses", json=body | {"stream": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        *frames, done, rest = "".join(answer.iter_text()).split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    events = []
    for frame in frames:
        name, data = frame.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def _state(event):
    if event["type"] == "response.output_item.added":
        return event["item"]["type"]
    return event["type"].removeprefix("response.")


def _lasting(value):
    if isinstance(value, dict):
        return {key: _lasting(one) for key, one in value.items() if key not in CHANGING}
    return [_lasting(one) for one in value] if isinstance(value, list) else value


@pytest.mark.compat("responses", honoured=["stream", "include"], ignored=["stream_options"])
@pytest.mark.parametrize("name", REQUESTS)
def test_events_come_in_order_and_fold_to_the_whole_response(served, name):
    body = _body(REQUESTS[name])
    events = _events(served, body)
    _check_order(events)
    _check_items(events)
    streamed, whole = events[-1]["response"], served.post("/v1/responses", body).json()
    assert _lasting(streamed) == _lasting(whole)
    assert streamed["id"] == events[0]["response"]["id"]


def _check_order(events):
    before = ""
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        assert _state(event) in FOLLOWERS[before], (before, event)
        before = _state(event)
    assert before in ENDS


def _check_items(events):
    """Each item is the sum of what was told of it, and stays as it was when it was done."""
    inside = [event for event in events if "output_index" in event]
    assert [event["output_index"] for event in inside] == sorted(
        event["output_index"] for event in inside
    )
    done = []
    for index, group in groupby(inside, lambda event: event["output_index"]):
        told = list(group)
        assert index == len(done)
        first, last = told[0]["item"], told[-1]["item"]
        assert first["id"] == last["id"]
        assert {event["item_id"] for event in told[1:-1]} == {last["id"]}
        assert _said(told) == _content(last)
        done.append(last)
    assert events[-1]["response"]["output"] == done


def _said(told):
    return "".join(event.get("delta", "") for event in told), [
        event["annotation"] for event in told if "annotation" in event
    ]


def _content(item):
    if item["type"] == "message":
        (part,) = item["content"]
        return part["text"], part["annotations"]
    return item.get("arguments", ""), []


def test_the_client_takes_each_kind_of_event_and_puts_them_together(client):
    kinds = set()
    for name in ("stopping", "searching"):
        fields = _body(REQUESTS[name])
        beyond = {key: fields.pop(key) for key in ("seed", "stop") if key in fields}
        events = client.responses.create(**fields, stream=True, extra_body=beyond)
        kinds |= {event.type.removeprefix("response.") for event in events}
    calling = REQUESTS["calling"] | {"model": MODEL, "temperature": 0}
    with client.responses.stream(**calling) as stream:
        kinds |= {event.type.removeprefix("response.") for event in stream}
        call = stream.get_final_response().output[0]
    assert json.loads(call.arguments) == {"unit": "C"}
    assert kinds == {*FOLLOWERS, *ENDS, "output_item.added"} - ITEMS - {""}


def test_what_fails_after_the_beginning_is_told_as_the_last_event(serve):
    endless = {"max_output_tokens": 4_000, "logit_bias": {"2": -100}}
    body = _body({"input": "Count to a hundred.", "stream": True} | endless)
    with serve() as served, served.http.stream("POST", "/v1/responses", json=body) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "output_text.delta" in line)
        served.gateway.stopping.set()
        frames = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    events = [json.loads(frame) for frame in frames[:-1]]
    failed = events[-1]
    assert failed["type"] == "response.failed"
    assert failed["sequence_number"] == events[-2]["sequence_number"] + 1
    response = failed["response"]
    assert response["status"] == "failed"
    assert response["error"]["code"] == "server_error"
    assert "shutting down" in response["error"]["message"]
    assert response["output"][0]["content"][0]["text"]
