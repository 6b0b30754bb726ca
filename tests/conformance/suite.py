"""Runs the protocol's own suite against a server over HTTP, and reads what each check came to.

The suite's exit code decides on what a revision requires. What it leaves open is decided here: that
scenarios prove something, and that those pass which are not required but met.
"""

import json
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from npm import Packages
from row import Row

PACKAGE = "@modelcontextprotocol/conformance"
REVISIONS = ("2025-11-25", "2026-07-28")

_SECONDS = 120
_OF_ANY_MESSAGE = "wire-schema"
"""Checks of this name are made of every exchange, whatever it was about."""
_NO_SUCH_TOOL = "There is no tool"
"""What the server says, which is a text and an error, as some scenarios want them."""
_CALLED = re.compile(
    r"`(?:tools/call|prompts/get|resources/read)`,\{(?:name|uri):`([^`]+)`|callTool\(\{name:`(\w+)`"
)
_OWN = ("test_", "test://")
_NOT_WANTED = {
    "test://nonexistent-resource-for-conformance-testing",
    "test://template/123/data",
}
"""Missing on purpose; of a template, which its own scenario proves."""


@dataclass(frozen=True)
class Target:
    """A server, and what is asked of it."""

    name: str
    url: str
    """With its path."""
    also: Mapping[str, frozenset[str]]
    """Per revision: scenarios beyond the required ones that have to pass."""
    vacuous: Mapping[str, frozenset[str]]
    """Per revision: required scenarios that prove nothing and do not fail; no others may be so."""
    baselines: Path | None
    """A folder with a file per revision, on what is expected to fail; None where nothing may."""

    def baseline(self, revision: str) -> Path | None:
        return self.baselines and self.baselines / f"{self.name}-{revision}.yaml"


@dataclass(frozen=True)
class Scenario:
    """What came of one."""

    name: str
    checks: tuple[dict[str, Any], ...]

    def count(self, status: str) -> int:
        return sum(check["status"] == status for check in self.checks)

    @property
    def is_vacuous(self) -> bool:
        """Whether nothing of its own passed, or only the answer that there is no such thing."""
        own = [
            check
            for check in self.checks
            if check["status"] == "SUCCESS" and not check["id"].startswith(_OF_ANY_MESSAGE)
        ]
        return not own or any(_NO_SUCH_TOOL in json.dumps(check) for check in own)

    @property
    def passes(self) -> bool:
        return not self.count("FAILURE") and not self.is_vacuous


def names_called(packages: Packages) -> set[str]:
    """Tools, prompts and resources that the suite calls by name, so that they have to be there."""
    source = (packages.folder / PACKAGE / "dist" / "index.js").read_text("utf-8")
    found = {name for names in _CALLED.findall(source) for name in names}
    return {name for name in found if name.startswith(_OWN) and name not in _NOT_WANTED}


def run(packages: Packages, target: Target, revision: str) -> list[Row]:
    """The scenarios of a revision: a row on the required ones, another on the others."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        command = packages.program(PACKAGE, "conformance")
        command += ["server", "--url", target.url, "--requirements", revision, "-o", scratch]
        if baseline := target.baseline(revision):
            command += ["--expected-failures", str(baseline)]
        ended = _ended(command)
        found = {one.name: one for one in map(_scenario, Path(scratch).glob("server-*/"))}
    seconds = time.perf_counter() - began
    required, others = _sets(packages, revision)
    known = [found[one] for one in required if one in found]
    beyond = [found[one] for one in others if one in found]
    faults = [f"{name} was not run" for name in required + others if name not in found]
    faults += [
        f"the suite ends with {ended.returncode}\n{_end(ended.stdout + ended.stderr)}"
    ] * bool(ended.returncode)
    name = f"{target.name} {revision}"
    first = _row(name, known, seconds).judged(faults)
    return [
        _required(target, revision, first, known),
        _others(target.also[revision], _row(f"{name}, beyond", beyond, 0), beyond),
    ]


def _ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    """How the suite ended; as if by itself, if it took too long."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, 1, f"It took more than {error.timeout} s.", "")


def _required(target: Target, revision: str, row: Row, known: list[Scenario]) -> Row:
    baseline = target.baseline(revision)
    expected: list[str] = yaml.safe_load(baseline.read_text("utf-8"))["server"] if baseline else []
    names = {one.name for one in known}
    vacuous = {one.name for one in known if one.is_vacuous and not one.count("FAILURE")}
    faults = [f"{one} is no scenario" for one in expected if one.partition(":")[0] not in names]
    known_so = target.vacuous[revision]
    faults += [f"{name} proves nothing" for name in sorted(vacuous - known_so)]
    faults += [f"{name} is not seen to prove nothing" for name in sorted(known_so - vacuous)]
    told = _failing(known, expected)
    notes = [f"{len(expected)} failures are expected, see the baseline"] if expected else []
    notes += [f"pass without proving anything: {', '.join(sorted(vacuous))}"] if vacuous else []
    return row.judged([*faults, told] if told else faults, notes)


def _others(also: frozenset[str], row: Row, beyond: list[Scenario]) -> Row:
    faults = [f"{one.name} has to pass" for one in beyond if one.name in also and not one.passes]
    rest = [one for one in beyond if one.name not in also]
    told = {
        "not met": [one.name for one in rest if one.count("FAILURE")],
        "not tried": [one.name for one in rest if one.is_vacuous and not one.count("FAILURE")],
        "pass, and could be demanded": [one.name for one in rest if one.passes],
    }
    return row.judged(faults, [f"{what}: {', '.join(who)}" for what, who in told.items() if who])


def _sets(packages: Packages, revision: str) -> tuple[list[str], list[str]]:
    """Scenarios for servers that a revision requires, and those that are run besides."""
    folder = packages.folder / PACKAGE / "requirements"
    read = yaml.safe_load((folder / f"{revision}.yaml").read_text("utf-8"))
    others = [one["scenario"] for one in read["not_scored"] if one["leg"] == "server"]
    return read["server"], others


def _scenario(folder: Path) -> Scenario:
    name = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$", "", folder.name)
    return Scenario(name, tuple(json.loads((folder / "checks.json").read_text("utf-8"))))


def _row(name: str, scenarios: Iterable[Scenario], seconds: float) -> Row:
    found = list(scenarios)
    counts = Counter(check["status"] for one in found for check in one.checks)
    return Row(
        run=name,
        scenarios=len(found),
        passed=counts["SUCCESS"],
        failed=counts["FAILURE"],
        warned=counts["WARNING"],
        skipped=counts["SKIPPED"],
        seconds=seconds,
    )


def _end(output: str) -> str:
    """What the suite says last, without colours and without what was expected."""
    plain = re.sub(r"\x1b\[\d+m", "", output[-20_000:])
    last = plain.partition("\nTotal: ")[2] or plain
    return "\n".join(line for line in last.splitlines() if line and "  ~ " not in line)


def _failing(known: Iterable[Scenario], expected: Iterable[str]) -> str:
    """The checks that failed, or warn, and are not expected to, each with the suite's words."""
    told = [
        f"  {one.name}:{check['id']}: {check.get('errorMessage')}"
        for one in known
        for check in one.checks
        if check["status"] in ("FAILURE", "WARNING")
        and not {one.name, f"{one.name}:{check['id']}"} & set(expected)
    ]
    return "\n".join(told)
