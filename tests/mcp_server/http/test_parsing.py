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


def sent(served, body, path="/v1/embeddings"):
    return served.http.post(path, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize("path", ["/v1/embeddings", "/mcp"])
@pytest.mark.parametrize("part", ["[]", "{}", '{"a":1,"b":2,"c":3}'])
def test_a_body_of_countless_parts_is_refused_before_it_is_parsed(served, path, part):
    body = '{"model": "m", "input": "a", "ignored": [' + ",".join([part] * 40_000) + "]}"
    answer = sent(served, body, path)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    "ignored", [list(range(100_000)), "[{:" * 100_000, '"[\\":' * 100_000, ["[:{"] * 20_000]
)
def test_brackets_within_texts_are_no_parts(served, ignored):
    body = json.dumps({"model": "none", "input": "a", "ignored": ignored})
    assert sent(served, body).json()["error"]["code"] == "model_not_found"
