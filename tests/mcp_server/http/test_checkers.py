"""Other people's checkers of OpenAI-compatible servers, and how what they find is judged."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mcp_server.http import app

EXAMPLES = Path(__file__).parents[3] / "examples" / "checkers"
LEAST_CASES = 10_000
CASES_AN_OPERATION = 300
ANSWER_TOKENS = 200


@pytest.fixture(scope="module")
def check() -> ModuleType:
    sys.path.insert(0, str(EXAMPLES))
    try:
        spec = importlib.util.spec_from_file_location("check", EXAMPLES / "check.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["check"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXAMPLES))
    return module


def test_what_fails_without_a_reason_and_a_reason_without_a_failure_are_told(check):
    findings = [
        check.Finding("one", "a", "failed", "broken"),
        check.Finding("one", "b", "failed"),
        check.Finding("one", "c", "passed"),
    ]
    skips = [
        {"checker": "one", "check": "b", "reason": "known"},
        {"checker": "one", "check": "c", "reason": "was known"},
        {"checker": "two", "check": "d", "reason": "was not run"},
    ]
    unexpected, stale = check.judged(findings, skips)
    assert unexpected == "FAILED  one: a: broken"
    assert stale.startswith("STALE   one: c")


def test_a_failure_that_hangs_on_chance_may_be_missing_and_one_for_another_reason_is_told(check):
    skip = {
        "checker": "one",
        "check": "*",
        "detail": "was cut*",
        "sometimes": True,
        "reason": "known",
    }
    assert check.judged([check.Finding("one", "a", "passed")], [skip]) == []
    assert check.judged([check.Finding("one", "a", "failed", "was cut off")], [skip]) == []
    assert len(check.judged([check.Finding("one", "a", "failed", "status 500")], [skip])) == 1


def test_every_skip_has_a_reason_and_is_there_once(check):
    skips = json.loads(check.SKIPS.read_text(encoding="utf-8"))
    assert all(len(one["reason"]) > 20 and one["reason"].endswith(".") for one in skips)
    assert len({(one["checker"], one["check"]) for one in skips}) == len(skips)
    routes = {
        f"{one.method} {'/v1' if one.is_versioned else ''}{re.sub(':path', '', one.path)}"
        for one in app.ENDPOINTS
    }
    for one in skips:
        method, _, path = one["check"].partition(" ")[2].partition(" ")
        if one["checker"] == "schemathesis" and method != "OPTIONS":
            assert f"{method} {path}" in routes, one


def test_the_document_is_narrowed_to_few_tokens_of_models_that_answer(check, served):
    told = check.narrowed(served.get("/openapi.json").json(), "a", "b")["components"]["schemas"]
    assert told["ChatBody"]["properties"]["model"]["enum"] == ["a"]
    assert told["EmbeddingsBody"]["properties"]["model"]["enum"] == ["b"]
    assert "max_output_tokens" in told["ResponsesBody"]["required"]


def test_each_event_of_a_stream_is_held_against_its_schema(check, served):
    told = check.as_read(served.get("/openapi.json").json())
    answer = told["paths"]["/v1/completions"]["post"]["responses"]["200"]
    data = answer["content"]["text/event-stream"]["schema"]["properties"]["data"]
    event = data["anyOf"][1]["contentSchema"]["$ref"].rpartition("/")[2]
    assert "choices" in told["components"]["schemas"][event]["properties"]


def test_a_discriminator_with_several_values_for_a_schema_is_left_to_the_schema(check, served):
    told = check.as_read(served.get("/openapi.json").json())["components"]["schemas"]
    filters = told["SearchBody"]["properties"]["filters"]["anyOf"][0]
    assert "discriminator" not in filters
    assert "ne" in told["Comparison"]["properties"]["type"]["enum"]
    assert '"discriminator"' in json.dumps(told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the checkers are installed by the first test that needs them."""
    return tmp_path_factory.mktemp("checkers")


@pytest.mark.nightly
def test_ten_thousand_requests_of_a_fuzzer_find_no_error_of_the_server(serve, folder):
    asked = ("--only", "schemathesis", "--cases", str(CASES_AN_OPERATION))
    cases = re.findall(r"schemathesis, \w+: (\d+) cases", checked(serve, folder, *asked))
    assert sum(map(int, cases)) >= LEAST_CASES


@pytest.mark.nightly
def test_the_other_checkers_find_nothing_that_is_not_known(serve, folder):
    checked(serve, folder, "--only", "llm_comply", "compatcanary", "provider_check")


def checked(serve, folder: Path, *arguments: str) -> str:
    with serve(answer_tokens=ANSWER_TOKENS) as served:
        library = served.gateway.engine.library
        for root in served.gateway.settings.root:
            list(library.index(root.resolve()))
        command = [sys.executable, EXAMPLES / "check.py", served.url + "/v1", "none"]
        command += ["--keep", folder, *arguments]
        told = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout
