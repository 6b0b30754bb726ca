"""A body is read strictly, and what is wrong with it is told without repeating it."""

import json

import pytest

from mcp_server.http.failures import Refused
from mcp_server.http.openai.chat_completions import ChatBody
from mcp_server.http.openai.store_bodies import SearchBody
from mcp_server.http.parsing import parsed

HI = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
LONG = "Z" * 5_000


def refusal(body, kind=ChatBody) -> Refused:
    with pytest.raises(Refused) as refused:
        parsed(json.dumps(body).encode(), kind)
    return refused.value


def test_a_refusal_repeats_nothing_long():
    filters = {"type": LONG, "key": "kind", "value": "html"}
    refused = refusal({"query": "a", "filters": filters}, SearchBody)
    assert refused.param == "filters.type"
    for one in (refused, refusal(HI | {"logit_bias": {LONG: "a"}})):
        assert "ZZ" * 50 not in str(one)
        assert len(one.param) < 100


def test_a_body_of_countless_parts_is_refused_as_one():
    parts = [{"type": "text", "text": "a"}] * 40_000
    refused = refusal(HI | {"messages": [{"role": "user", "content": parts}]})
    assert refused.kind.code == "invalid_json"
    assert parsed(json.dumps(HI | {"ignored": list(range(100_000))}).encode(), ChatBody)
