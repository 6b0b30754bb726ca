"""Runs other people's checkers of OpenAI-compatible servers against one that is served.

    npu-gateway serve --http --answer-tokens 200
    python examples/checkers/check.py [http://127.0.0.1:8642/v1 [KEY]] [--cases 100]

Checkers: llm-comply (both of OpenAI's formats), compatcanary, trustedrouter-provider-check, and
schemathesis on the server's own /openapi.json. They go into a virtual environment of their own;
node and npm are needed for compatcanary. Many of them ask without a limit, and a small model then
writes until its context is full: start the server with --answer-tokens.

What may fail is in skips.json, each with its reason: a "check" of that name, with that "detail" if
there is one (a star stands for any text), and only "sometimes" if it hangs on what a model or a
fuzzer happens to draw. Ends with 1 if anything else fails, or if something there does not fail any
more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from narrowed import as_read, narrowed

PACKAGES = ("llm-comply==0.5.0", "trustedrouter-provider-check==0.1.8", "schemathesis==4.32.5")
NODE_PACKAGES = ("compatcanary@0.2.2",)
SKIPS = Path(__file__).with_name("skips.json")
MOST_SECONDS = 300
"""For one answer."""

VERDICTS = {"pass": "passed", "warn": "warned", "skip": "skipped", "fail": "failed"}
"""By how a checker's own word for it begins; a word that is not here has failed."""


@dataclass(frozen=True)
class Finding:
    """What a checker says of one thing."""

    checker: str
    check: str
    verdict: str
    """One of VERDICTS."""
    detail: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the checker finds fault."""
        return self.verdict == "failed"


@dataclass(frozen=True)
class Place:
    """Where the checkers are, and what they look at."""

    folder: Path
    url: str
    """With /v1."""
    key: str
    cases: int
    seconds: int
    """For schemathesis; 0 for as long as it takes."""
    seed: int
    """Of what schemathesis draws."""

    def program(self, name: str) -> str:
        """A program of the virtual environment."""
        return str(self.folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / name)

    def get(self, path: str) -> Any:
        """What the server says at a path, which does not begin with /v1."""
        headers = {"authorization": f"Bearer {self.key}"}
        root = self.url.removesuffix("/v1")
        with urllib.request.urlopen(urllib.request.Request(root + path, headers=headers)) as told:
            return json.load(told)

    def model(self, task: str) -> str:
        """The model that does something."""
        models = self.get("/v1/models")["data"]
        return next(one["id"] for one in models if one["task"] == task)


def install(place: Place) -> None:
    """Puts the checkers where they are looked for, unless they are there."""
    if not Path(place.program("llm-comply")).exists():
        venv.create(place.folder / "venv", with_pip=True)
        python = place.program("python")
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    if not (place.folder / "node_modules").exists():
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place.folder)]
        subprocess.run([*npm, *NODE_PACKAGES], check=True, stdout=subprocess.DEVNULL)


def llm_comply(place: Place) -> Iterator[Finding]:
    """The two formats of llm-comply."""
    for form in ("open-responses", "openai-chat"):
        command = [place.program("llm-comply"), "run", "-u", place.url, "-k", place.key]
        command += ["-m", place.model("generate"), "--format", form, "--json"]
        told = _json(_output([*command, "--timeout", str(MOST_SECONDS)]))
        for one in told["results"]:
            errors = "; ".join(one.get("errors") or ())
            yield Finding(f"llm-comply {form}", one["id"], _verdict(one["status"]), errors)


def compatcanary(place: Place) -> Iterator[Finding]:
    """The profile modern of compatcanary."""
    program = place.folder / "node_modules" / ".bin" / "compatcanary"
    command = [str(program), "scan", "--base-url", place.url, "--model", place.model("generate")]
    command += ["--api-key", place.key, "--format", "json", "--timeout", str(MOST_SECONDS)]
    for one in _json(_output(command))["results"]:
        yield Finding("compatcanary", one["id"], _verdict(one["status"]), one["summary"])


def provider_check(place: Place) -> Iterator[Finding]:
    """The tiers 1 to 4 of trustedrouter-provider-check."""
    command = [place.program("trustedrouter-provider-check"), "--base-url", place.url]
    command += ["--api-key", place.key, "--model", place.model("generate"), "--tier", "4"]
    for one in _json(_output([*command, "--json", "-"]))["checks"]:
        detail = f"{one['assertion']}: {json.dumps(one['measured'])}"
        yield Finding("provider-check", one["id"], _verdict(one["status"]), detail)


def schemathesis(place: Place) -> Iterator[Finding]:
    """Requests that obey the server's own document, and requests that do not.

    Only the first are narrowed: without a limit a request would be wrong by the narrowed document
    alone, and be answered at length.
    """
    served = as_read(place.get("/openapi.json"))
    yield from _fuzzed(place, "negative", served)
    models = place.model("generate"), place.model("embed")
    yield from _fuzzed(place, "positive", narrowed(served, *models))


def _fuzzed(place: Place, mode: str, document: dict[str, Any]) -> Iterator[Finding]:
    schema, report = (place.folder / f"{mode}.{kind}.json" for kind in ("openapi", "report"))
    schema.write_text(json.dumps(document))
    command = [place.program("st"), "run", str(schema), "--url", place.url.removesuffix("/v1")]
    command += ["-H", f"Authorization: Bearer {place.key}", "-n", str(place.cases), "--no-color"]
    command += ["--phases", "coverage,fuzzing", "--mode", mode, "--continue-on-failure"]
    command += ["--request-timeout", str(MOST_SECONDS), "--no-shrink"]
    command += ["--seed", str(place.seed), "--generation-database", "none"]
    if place.seconds:
        command += ["--max-time", str(place.seconds)]
    command += ["--report", "json", "--report-json-path", str(report)]
    (place.folder / f"{mode}.txt").write_text(_output(command, place.folder))
    told = json.loads(report.read_text())
    verdict = "failed" if told["errors"] else "passed"
    yield Finding("schemathesis", f"run {mode}", verdict, str(told["errors"]))
    print(f"schemathesis, {mode}: {told['test_cases']['generated']} cases")
    for one in told["failures"]:
        for operation in one["operations"]:
            detail = f"{one['title']}; see {mode}.txt"
            yield Finding("schemathesis", f"{one['type']} {operation}", "failed", detail)


CHECKERS = (llm_comply, compatcanary, provider_check, schemathesis)


def judged(findings: list[Finding], skips: list[dict[str, Any]]) -> list[str]:
    """What is not as expected, a line each."""
    failed = [one for one in findings if one.has_failed]
    ran = {one.checker for one in findings}
    lines = [
        f"FAILED  {one.checker}: {one.check}: {one.detail[:400]}"
        for one in failed
        if not any(_is_of(skip, one) for skip in skips)
    ]
    return lines + [
        f"STALE   {skip['checker']}: {skip['check']} does not fail any more; "
        f"take it out of {SKIPS.name}"
        for skip in skips
        if skip["checker"] in ran and not skip.get("sometimes")
        if not any(_is_of(skip, one) for one in failed)
    ]


def _is_of(skip: dict[str, Any], found: Finding) -> bool:
    """Whether a failure is one that is known; a star stands for any text."""
    return (
        skip["checker"] == found.checker
        and fnmatchcase(found.check, skip["check"])
        and fnmatchcase(found.detail, skip.get("detail", "*"))
    )


def main(arguments: list[str]) -> int:
    """Runs the checkers; 1 if anything is not as expected."""
    asked = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    asked.add_argument("url", nargs="?", default="http://127.0.0.1:8642/v1")
    asked.add_argument("key", nargs="?", default="none")
    asked.add_argument("--cases", type=int, default=100, help="of schemathesis, an operation")
    asked.add_argument("--seconds", type=int, default=0, help="of schemathesis, at most")
    asked.add_argument("--seed", type=int, default=1, help="of what schemathesis draws")
    asked.add_argument("--keep", type=Path, help="the folder to install the checkers in")
    asked.add_argument("--only", choices=[one.__name__ for one in CHECKERS], nargs="*")
    told = asked.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (told.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(folder, told.url, told.key, told.cases, told.seconds, told.seed)
        install(place)
        checkers = [one for one in CHECKERS if not told.only or one.__name__ in told.only]
        findings = [finding for checker in checkers for finding in checker(place)]
    problems = judged(findings, json.loads(SKIPS.read_text(encoding="utf-8")))
    for checker in dict.fromkeys(one.checker for one in findings):
        own = [one.verdict for one in findings if one.checker == checker]
        counts = ((own.count(one), one) for one in VERDICTS.values() if one in own)
        print(f"{checker}: " + ", ".join(f"{count} {verdict}" for count, verdict in counts))
    print("\n".join(problems) or "As expected.")
    return 1 if problems else 0


def _verdict(word: str) -> str:
    return VERDICTS.get(word[:4], "failed")


def _output(command: list[str], folder: Path | None = None) -> str:
    """What a checker says; it may well end with an error."""
    told = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    return told.stdout or told.stderr


def _json(text: str) -> Any:
    """The JSON object in a text; checkers may say a line before or behind it."""
    start = text.find("{")
    if start < 0:
        raise SystemExit(f"A checker said no JSON:\n{text[:2000]}")
    return json.JSONDecoder().raw_decode(text, start)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
