"""The route /embeddings makes vectors as OpenAI's clients ask for them."""

import numpy as np
import openai
import pytest
from homes import NOTES

MODEL = "all-minilm-l6-v2"
TEXTS = list(NOTES.values())
LONG = "word " * 2_000


def _vectors(answer):
    return np.array([one.embedding for one in answer.data], "<f4")


def _refusal(served, status=400, **body):
    refused = served.post("/v1/embeddings", {"model": MODEL, "input": "a"} | body)
    assert refused.status_code == status, refused.text
    error = refused.json()["error"]
    return error["param"], error["code"], error["message"]


@pytest.mark.compat("embeddings", honoured=["encoding_format"])
def test_numbers_and_bytes_are_the_same_unit_vectors_to_the_last_bit(client, served):
    asked = {"model": MODEL, "input": TEXTS}
    floats = client.embeddings.create(**asked, encoding_format="float")
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as usual:
        from_bytes = usual.embeddings.create(**asked)
    assert [one.embedding for one in floats.data] == [one.embedding for one in from_bytes.data]
    assert _vectors(floats).shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(_vectors(floats), axis=1), 1, atol=1e-3)
    engine = served.gateway.engine
    with engine.embedder.lease() as embedder:
        direct = embedder.embed(TEXTS, "document")
    np.testing.assert_allclose(_vectors(floats), direct.vectors, atol=1e-6)
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == direct.prompt_tokens


@pytest.mark.compat("embeddings", honoured=["input"])
def test_a_batch_equals_its_texts_one_by_one(client):
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS * 4)]
    batch = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    assert [one.index for one in batch.data] == list(range(12))
    for place in (0, 5, 11):
        one = client.embeddings.create(model=MODEL, input=texts[place], encoding_format="float")
        np.testing.assert_allclose(_vectors(one)[0], _vectors(batch)[place], atol=1e-5)


@pytest.mark.compat("embeddings", refused=["input.token ids"])
def test_what_is_no_text_is_refused_by_its_place(served):
    for wrong, param in (
        ("", "input"),
        (" \n", "input"),
        ([], "input"),
        (None, "input"),
        (True, "input"),
        ({"text": "a"}, "input"),
        (["a"] * 2_049, "input"),
        (["a", ""], "input.1"),
        (["a", "b", None], "input.2"),
        (["a", {"text": "b"}], "input.1"),
    ):
        assert _refusal(served, input=wrong)[0] == param, wrong
    for tokens in ([1, 2], [[1, 2], [3]], ["a", 1]):
        param, _, message = _refusal(served, input=tokens)
        assert param == "input"
        assert "check_embedding_ctx_length=False" in message
    assert _refusal(served, input="a", dimensions=256)[0] == "dimensions"
    assert _refusal(served, input="a", encoding_format="int8")[0] == "encoding_format"


@pytest.mark.compat("embeddings", honoured=["truncate"])
def test_a_text_that_is_too_long_is_refused_or_cut_and_said(served):
    assert _refusal(served, input=LONG)[:2] == ("input", "context_length_exceeded")
    param, code, message = _refusal(served, input=["a", LONG])
    assert (param, code) == ("input.1", "context_length_exceeded")
    assert "truncate" in message
    cut = served.post("/embeddings", {"model": MODEL, "input": ["a", LONG], "truncate": True})
    assert cut.json()["truncated"] == [1]
    assert cut.json()["usage"]["prompt_tokens"] == 3 + 256


@pytest.mark.compat("embeddings", honoured=["model"])
def test_another_model_is_not_found_and_the_right_one_named(served):
    for wrong, told in (("text-embedding-3-small", MODEL), ("smollm2-135m-instruct", "writes")):
        param, code, message = _refusal(served, 404, model=wrong)
        assert (param, code) == ("model", "model_not_found")
        assert told in message
        assert MODEL in message


@pytest.mark.compat("embeddings", honoured=["dimensions", "input_type"], ignored=["user"])
def test_fields_that_change_nothing_here_are_taken(client, served):
    plain = served.post("/embeddings", {"model": MODEL, "input": "a"}).json()
    for more in ({"dimensions": 384}, {"user": "u", "new_field": 1}, {"input_type": "query"}):
        assert served.post("/embeddings", {"model": MODEL, "input": "a"} | more).json() == plain
