"""The routes /models tell which models answer."""

import openai
import pytest

DECODER, EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"


def _states(served):
    return {one["id"]: one["status"] for one in served.get("/models").json()["data"]}


@pytest.mark.compat("models")
def test_the_two_models_are_listed_with_and_without_the_prefix(served, client):
    assert [one.id for one in client.models.list()] == [EMBEDDER, DECODER]
    listed = served.get("/v1/models").json()
    assert listed == served.get("/models").json()
    assert listed["object"] == "list"
    embedder, decoder = listed["data"]
    assert (embedder["meta"]["n_ctx"], embedder["dimensions"]) == (256, 384)
    assert (decoder["meta"]["n_ctx"], decoder["max_model_len"]) == (8192, 8192)
    assert decoder["architecture"] == {"input_modalities": ["text"], "output_modalities": ["text"]}


def test_a_model_that_does_something_else_is_told_apart_from_one_that_is_not_there(served):
    does = f"{EMBEDDER} makes vectors; {DECODER} writes text."
    bodies = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
        "/v1/completions": {"prompt": "Hi"},
        "/v1/responses": {"input": "Hi"},
    }
    for path, body in bodies.items():
        refused = served.post(path, body | {"model": EMBEDDER})
        assert (refused.status_code, refused.json()["error"]["message"]) == (404, does)


@pytest.mark.compat("model")
def test_one_model_is_told_of_and_an_unknown_one_is_not_found(served, client):
    assert client.models.retrieve(EMBEDDER).to_dict() == served.get("/models").json()["data"][0]
    for wanted in ("some/other%2Fmodel", "..%2f..%2fsecret", "gpt%205", "C:%5Cmodel"):
        refused = served.get(f"/v1/models/{wanted}")
        assert refused.status_code == 404, wanted
        assert refused.json()["error"]["code"] == "model_not_found"
    with pytest.raises(openai.NotFoundError, match=EMBEDDER):
        client.models.retrieve("some/other")


def test_an_unloaded_model_is_listed_and_loads_when_it_is_asked(serve):
    with serve() as served:
        assert served.post("/tokenize", {"content": "a"}).status_code == 200
        assert _states(served)[DECODER] == "ready"
        served.gateway.engine.free_idle(0)
        assert _states(served)[DECODER] == "idle"
        assert served.post("/tokenize", {"content": "a"}).status_code == 200


def test_a_model_that_is_not_installed_is_not_listed(serve, tmp_path):
    with serve(models_dir=tmp_path / "none") as served:
        assert _states(served) == {}
        refused = served.get(f"/models/{EMBEDDER}")
        assert refused.status_code == 404
        assert "none yet" in refused.json()["error"]["message"]
