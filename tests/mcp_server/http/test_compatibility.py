"""The compatibility page is made from the tests; ignored and refused fields are all tried."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from openai.types import (
    completion_create_params,
    embedding_create_params,
    vector_store_search_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import input_token_count_params, response_create_params

_FILE = Path(__file__).parents[3] / "examples" / "openai_client" / "compatibility.py"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compatibility", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["compatibility"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compatibility = _loaded()
ENDPOINTS = {one.name: one for one in compatibility.OPENAI}

DECODER, EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"

SHORTEST: dict[str, dict[str, Any]] = {
    "embeddings": {"model": EMBEDDER, "input": "The tide"},
    "chat_completions": {
        "model": DECODER,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 3,
        "temperature": 0,
    },
    "completions": {"model": DECODER, "prompt": "The tide", "max_tokens": 3, "temperature": 0},
    "responses": {"model": DECODER, "input": "Hi", "max_output_tokens": 16, "temperature": 0},
    "input_tokens": {"model": DECODER, "input": "Hi"},
    "tokenize": {"content": "The tide"},
    "vector_store_search": {"query": "tide"},
}
"""A body of each endpoint that takes one, with nothing but what it needs."""

OFFICIAL = {
    "embeddings": embedding_create_params.EmbeddingCreateParams,
    "chat_completions": chat_create_params.CompletionCreateParamsBase,
    "completions": completion_create_params.CompletionCreateParamsBase,
    "responses": response_create_params.ResponseCreateParamsBase,
    "input_tokens": input_token_count_params.InputTokenCountParams,
    "vector_store_search": vector_store_search_params.VectorStoreSearchParams,
}
"""What the official client sends."""

CHANGING = ("id", "created", "created_at", "completed_at", "item_id", "call_id", "cached_tokens")
"""What differs between two answers to the same request."""


def post(served, name: str, **fields: Any):
    path = ENDPOINTS[name].path
    if "{" in path:
        first = served.get("/v1/vector_stores").json()["data"][0]["id"]
        path = path[: path.index("{")] + first + path[path.index("}") + 1 :]
    return served.post("/v1" + path, SHORTEST[name] | fields)


def lasting(value: Any) -> Any:
    """An answer without what differs between two."""
    if isinstance(value, dict):
        return {key: lasting(one) for key, one in value.items() if key not in CHANGING}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def with_a(table: str) -> list[str]:
    return [name for name, one in ENDPOINTS.items() if getattr(compatibility, table)(one)]


def test_everything_that_is_served_is_proved_and_every_proof_is_of_something_served():
    assert compatibility.problems() == []


def test_the_page_is_what_the_tests_say():
    assert compatibility.PAGE.read_text(encoding="utf-8") == compatibility.page(), (
        "run python examples/openai_client/compatibility.py"
    )


def test_each_field_of_the_official_client_is_honoured_ignored_or_refused_by_name():
    missing = {}
    for name, kind in OFFICIAL.items():
        if name in ENDPOINTS:
            one = ENDPOINTS[name]
            told = {*compatibility.fields(one), *compatibility.ignored(one)}
            missing[name] = {*kind.__annotations__} - told - {*compatibility.refused(one)}
    assert not any(missing.values()), missing


@pytest.mark.parametrize("name", with_a("ignored"))
def test_an_ignored_field_changes_nothing(served, name):
    names = compatibility.ignored(ENDPOINTS[name])
    plain, full = post(served, name), post(served, name, **{key: {"any": [1]} for key in names})
    assert (plain.status_code, full.status_code) == (200, 200), full.text
    assert lasting(plain.json()) == lasting(full.json())


@pytest.mark.parametrize("name", with_a("refused"))
def test_a_refused_field_is_named(served, name):
    fields = compatibility.refused(ENDPOINTS[name])
    for field in fields:
        for asking in ("yes", {}):
            refused = post(served, name, **{field: asking})
            assert refused.status_code == 400, field
            error = refused.json()["error"]
            assert (error["param"], error["code"]) == (field, "unsupported_parameter")
    assert post(served, name, **dict.fromkeys(fields)).status_code == 200


def test_a_marker_that_names_what_is_not_there_is_told(tmp_path, monkeypatch):
    (tmp_path / "test_x.py").write_text(
        '@pytest.mark.compat("embeddings", honoured=["inputs"])\ndef test_a(): ...\n'
        '@pytest.mark.compat("embedding")\ndef test_b(): ...\n'
    )
    monkeypatch.setattr(compatibility, "TESTS", tmp_path)
    told = compatibility.problems()
    assert "test_a: embeddings has no field inputs." in told
    assert "test_b: there is no endpoint embedding." in told
    assert "embeddings: no test is marked as a proof of model." in told
    (tmp_path / "test_x.py").write_text(
        '@pytest.mark.compat("embeddings", honored=["input"])\ndef test_a(): ...\n'
    )
    with pytest.raises(compatibility.BadMarker, match="honored"):
        compatibility.proofs()
