"""Fields that are honoured, each shown at the smallest request that it changes."""

import base64

import numpy as np
import pytest

EMBEDDER = "all-minilm-l6-v2"


def refusal(answer, status: int = 400):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return error["param"], error["code"]


@pytest.mark.compat("embeddings", honoured=["input", "model", "encoding_format", "dimensions"])
def test_a_vector_is_the_same_in_both_encodings_and_has_the_dimensions_asked_for(served):
    body = {"model": EMBEDDER, "input": "The tide", "dimensions": 384}
    plain = served.post("/v1/embeddings", body).json()["data"][0]["embedding"]
    packed = served.post("/v1/embeddings", body | {"encoding_format": "base64"}).json()
    assert served.post("/v1/embeddings", body | {"encoding_format": None}).json()["data"][0] == {
        "object": "embedding",
        "index": 0,
        "embedding": plain,
    }
    unpacked = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    assert unpacked.shape == (384,)
    np.testing.assert_allclose(unpacked, plain, atol=1e-6)
    assert abs(float(np.linalg.norm(unpacked)) - 1) < 1e-3
    assert packed["model"] == EMBEDDER


@pytest.mark.compat("embeddings", refused=["input.token ids", "dimensions.other than the model's"])
def test_what_no_vector_can_be_made_of_is_refused_by_its_field(served):
    wrong = {
        "dimensions": (7, "invalid_value"),
        "encoding_format": ("hex", "invalid_value"),
        "input": (5, "invalid_type"),
    }
    for field, (value, code) in wrong.items():
        body = {"model": EMBEDDER, "input": "a"} | {field: value}
        param, told = refusal(served.post("/v1/embeddings", body))
        assert (param, told) == (field, code)
    tokens = served.post("/v1/embeddings", {"model": EMBEDDER, "input": [5, 6]})
    assert refusal(tokens)[0].partition(".")[0] == "input"
    assert refusal(served.post("/v1/embeddings", {"model": "no", "input": "a"}), 404)[1] == (
        "model_not_found"
    )
