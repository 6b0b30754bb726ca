"""The route /metrics tells what was really done."""

import re


def counted(served, name: str) -> float:
    """The sum of a name's series, or of those with labels that are given in its braces."""
    text = served.get("/metrics").text
    name, _, labels = name.partition("{")
    lines = re.findall(rf"^npu_gateway_{name}((?:{{.*?}})?) (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labelled, value in lines if labels.rstrip("}") in labelled)


EMBEDDED = 'prompt_tokens_total{task="embed"}'
PLACED = 'provider_selected_total{workload="embed"}'
"""An answer that another test left may still be counted when this one has begun."""


def test_what_is_embedded_and_searched_is_counted(served):
    before = counted(served, EMBEDDED), counted(served, PLACED)
    searches = counted(served, "search_duration_seconds_count")
    body = {"model": "all-minilm-l6-v2", "input": "a river at night"}
    used = served.post("/v1/embeddings", body).json()["usage"]["prompt_tokens"]
    assert counted(served, EMBEDDED) == before[0] + used
    assert counted(served, PLACED) == before[1] + 1
    assert served.post("/v1/vector_stores/documents/search", {"query": "tides"}).status_code == 200
    assert counted(served, "search_duration_seconds_count") == searches + 1


def test_a_request_is_counted_by_the_name_of_its_route(served):
    series = 'http_requests_total{method="GET",route="model",status="404"}'
    served.get("/v1/models/nobody")
    text = served.get("/metrics").text
    assert f"npu_gateway_{series}" in text
    assert "nobody" not in text


def test_what_is_refused_is_counted_by_its_reason(served):
    before = counted(served, "rejected_total")
    assert served.post("/v1/embeddings", {"model": "nobody", "input": "x"}).status_code == 404
    assert served.get("/v1/models", headers={"host": "evil.example"}).status_code == 421
    assert counted(served, "rejected_total") == before + 2
    assert 'reason="model_not_found"' in served.get("/metrics").text
