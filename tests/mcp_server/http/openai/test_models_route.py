"""The routes /models tell which models answer."""

import pytest
from homes import NOTES


@pytest.mark.compat("models")
def test_the_two_models_are_listed_with_and_without_the_prefix(served):
    for path in ("/v1/models", "/models"):
        listed = served.get(path).json()
        assert listed["object"] == "list"
        assert [one["id"] for one in listed["data"]] == [
            "all-minilm-l6-v2",
            "smollm2-135m-instruct",
        ]
        assert {one["object"] for one in listed["data"]} == {"model"}


@pytest.mark.compat("model")
def test_one_model_is_told_of_and_an_unknown_one_is_not_found(served):
    assert served.get("/v1/models/all-minilm-l6-v2").json()["dimensions"] == 384
    refused = served.get("/v1/models/some/other%2Fmodel")
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "model_not_found"


@pytest.mark.compat("embeddings", honoured=["input"])
def test_vectors_come_in_the_order_of_the_texts(served):
    body = {"model": "all-minilm-l6-v2", "input": list(NOTES.values())}
    answer = served.post("/v1/embeddings", body)
    assert answer.status_code == 200
    assert [one["index"] for one in answer.json()["data"]] == [0, 1, 2]
