"""The examples for clients work as they stand, against the models that README installs."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
import yaml

from mcp_server.settings import Settings

EXAMPLES = Path(__file__).parents[3] / "examples" / "openai_client"
WAITING_SECONDS = 120
PREFIX = f"http://127.0.0.1:{Settings().port}"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ran(*command: object, cwd: Path | None = None) -> str:
    told = subprocess.run(
        [str(one) for one in command],
        capture_output=True,
        encoding="utf-8",
        timeout=WAITING_SECONDS,
        cwd=cwd,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_all_examples_ask_where_a_gateway_listens_by_itself():
    texts = [one.read_text(encoding="utf-8") for one in EXAMPLES.iterdir() if one.is_file()]
    asked = [found for text in texts for found in re.findall(r"http://127\.0\.0\.1:\d+", text)]
    assert len(asked) > 10
    assert set(asked) == {PREFIX}


def test_the_python_client_tours_every_route_with_strict_checks(served):
    lines = list(loaded("tour").walk(served.url + "/v1", "none"))
    assert len(lines) == 14
    assert "tides.md" in "".join(lines)
    routes = {one.name for one in loaded("compatibility").OPENAI if one.result}
    end = time.monotonic() + WAITING_SECONDS
    while missing := routes - {one.route for one in served.gateway.measures.recent().requests}:
        assert time.monotonic() < end, missing  # A request is counted once it has been answered.


def test_curl_gets_an_answer_of_every_kind(served):
    if os.name == "nt" or not shutil.which("curl"):
        pytest.skip("needs POSIX with curl")
    told = ran("bash", EXAMPLES / "curl.sh", served.url + "/v1")
    assert told.count("== /") == 7
    assert "data: [DONE]" in told
    assert "The sea rises" in told


def test_the_node_client_tours_the_routes(served, by_node):
    told = ran(*by_node(EXAMPLES / "tour.mjs"), served.url + "/v1")
    assert len(told.splitlines()) == 8


def test_continue_finds_models_and_fields_that_are_there(served):
    config = yaml.safe_load((EXAMPLES / "continue.yaml").read_text())
    assert (config["schema"], len(config["models"])) == ("v1", 3)
    texts = ["def rises("] * max(one.get("maxStopWords", 1) for one in config["models"])
    for one in config["models"]:
        with httpx2.Client(
            base_url=served.url + one["apiBase"].removeprefix(PREFIX),
            headers={"authorization": f"Bearer {one['apiKey']}"},
            timeout=WAITING_SECONDS,
        ) as client:
            if "embed" in one["roles"]:
                most = one["embedOptions"]["maxBatchSize"]
                body = {"model": one["model"], "input": ["tide"] * most}
                answer = client.post("/embeddings", json=body)
            elif one.get("useLegacyCompletionsEndpoint"):
                body = {"model": one["model"], "prompt": "def", "max_tokens": 2, "stop": texts}
                answer = client.post("/completions", json=body)
            else:
                assert one["defaultCompletionOptions"]["contextLength"] == 8192
                turns = [{"role": "user", "content": "Hi"}]
                body = {"model": one["model"], "messages": turns, "max_tokens": 2}
                answer = client.post("/chat/completions", json=body)
        assert answer.status_code == 200, answer.text


def test_codex_finds_its_provider_by_responses(served):
    config = tomllib.loads((EXAMPLES / "codex.toml").read_text())
    provider = config["model_providers"][config["model_provider"]]
    assert provider["wire_api"] == "responses"
    path = provider["base_url"].removeprefix(PREFIX) + "/responses"
    asked = {"role": "user", "content": [{"type": "input_text", "text": "Say hi."}]}
    body = {
        "model": config["model"],
        "instructions": "Be brief.",
        "input": [{"type": "message"} | asked],
        "tools": [
            {"type": "function", "name": "shell", "parameters": {"type": "object"}, "strict": False}
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": None,
        "store": False,
        "stream": True,
        "include": [],
        "prompt_cache_key": "a",
        "max_output_tokens": 16,
    }
    told = served.post(path, body).text
    assert told.startswith("event: response.created\n")
    assert "event: response.failed" not in told
    models = served.get("/v1/models").json()["data"]
    most = {one["id"]: one["max_model_len"] for one in models}
    assert config["model_context_window"] == most[config["model"]]


@pytest.mark.nightly
def test_langchain_answers_and_finds_over_the_routes(served, tmp_path):
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / ("Scripts" if os.name == "nt" else "bin") / Path(sys.executable).name
    ran(python, "-m", "pip", "install", "-q", "langchain-openai", "numpy")
    told = ran(python, EXAMPLES / "langchain_tour.py", served.url + "/v1")
    assert "The moon makes the sea rise" in told
