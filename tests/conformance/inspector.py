"""Has the protocol's inspector talk to `npu-gateway serve` over stdio, in both eras.

Its exit code says what came of a call: 0 for a result, 5 for one that is an error.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npm import Packages
from row import Row

PACKAGE = "@modelcontextprotocol/inspector"
ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
"""What the inspector calls them, and the revision that the two agree on."""

_SECONDS = 60


@dataclass(frozen=True)
class Step:
    """A command line, how it has to end, and what the answer has to be."""

    words: tuple[str, ...]
    code: int
    holds: Callable[[dict[str, Any], str], bool]
    """Of the answer and the revision."""


STEPS = (
    Step(
        ("initialize",),
        0,
        lambda told, revision: told["protocolVersion"] == revision and bool(told["instructions"]),
    ),
    Step(
        ("tools/list", "--strict"),
        0,
        lambda told, _: {"status", "semantic_search"} <= {one["name"] for one in told["tools"]},
    ),
    Step(
        ("tools/call", "--tool-name", "status"),
        0,
        lambda told, _: not told.get("isError") and "npu-gateway" in told["content"][0]["text"],
    ),
    Step(
        ("tools/call", "--tool-name", "get_document", "--tool-arg", "document_id=nothing"),
        5,
        lambda told, _: told["isError"] is True and "nothing" in told["content"][0]["text"],
    ),
)


def config(folder: Path, command: list[str]) -> Path:
    """A file on how to start the server, an entry per era."""
    program, *arguments = command
    servers = {
        era: {
            "type": "stdio",
            "command": program,
            "args": [*arguments, "--data-dir", str(folder / era)],
            "env": {"PYTHONPATH": os.pathsep.join(_python_path())},
            "protocolEra": era,
        }
        for era in ERAS
    }
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": servers}), "utf-8")
    return path


def _python_path() -> list[str]:
    return [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]


def run(packages: Packages, servers: Path, era: str) -> Row:
    """All steps with one era, each with a server of its own."""
    began = time.perf_counter()
    faults = [fault for step in STEPS if (fault := _fault(packages, servers, era, step))]
    return Row(
        run=f"inspector {era}",
        scenarios=len(STEPS),
        passed=len(STEPS) - len(faults),
        failed=len(faults),
        seconds=time.perf_counter() - began,
        faults=tuple(faults),
    )


def _fault(packages: Packages, servers: Path, era: str, step: Step) -> str:
    """What is wrong with how a step ended; empty if nothing is."""
    command = packages.program(PACKAGE, "mcp-inspector")
    command += ["--cli", "--config", str(servers), "--server", era, "--format", "json"]
    name = " ".join(step.words)
    try:
        ended = subprocess.run(
            [*command, "--method", *step.words],
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            env=os.environ | {"HOME": str(servers.parent), "MCP_INSPECTOR_SECRET_STORE": "memory"},
        )
    except subprocess.TimeoutExpired:
        return f"{name} took more than {_SECONDS} s"
    said = f"{ended.stdout[-1_000:]}\n{ended.stderr[-2_000:]}"
    if ended.returncode != step.code:
        return f"{name} ends with {ended.returncode}, not {step.code}\n{said}"
    try:
        is_right = step.holds(json.loads(ended.stdout)["result"], ERAS[era])
    except (ValueError, LookupError):
        is_right = False
    return "" if is_right else f"{name} answers something else\n{said}"
