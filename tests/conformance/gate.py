"""The conformance gate: other people's checkers of the protocol, against this server, both eras.

    fixtures   the server object with the suite's tools laid over it: all that a revision requires
    product    `npu-gateway serve --http` as it is: what it does not have is in a reviewed baseline
    inspector  `npu-gateway serve` over stdio: handshake, list, a call, a call that fails

Usage: python tests/conformance/gate.py. Needs npm, which brings the checkers once; without npm
nothing is checked, and it says so. Prints a table; ends with 1 if anything is wrong.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import anyio
import inspector
import npm
import row
import servers
import suite
from mcp import Client
from npm import Packages
from row import Row
from servers import Served
from suite import REVISIONS, Target

HERE = Path(__file__).parent
Run = Callable[[], list[Row]]

_SCHEMAS = frozenset({"json-schema-2020-12"})
_HEADERS = frozenset({"http-header-validation"})
_PARAMETERS = frozenset({"http-custom-header-server-validation"})
_TASKS = frozenset(
    f"tasks-{what}"
    for what in (
        "lifecycle",
        "capability-negotiation",
        "wire-fields",
        "request-state-removal",
        "request-headers",
        "dispatch-and-envelope",
        "required-task-error",
        "mrtr-composition",
    )
)
"""Of the others, the suite does not try status notifications yet, and the product's tasks never ask
for anything (mrtr-input)."""

MET = {
    "fixtures": {
        "2025-11-25": _SCHEMAS | {"server-session-lifecycle"},
        "2026-07-28": _SCHEMAS | _HEADERS | _PARAMETERS | _TASKS,
    },
    "product": {"2025-11-25": frozenset[str](), "2026-07-28": _HEADERS},
}
"""Scenarios that no revision requires, and that pass."""

_NO_SUCH_TOOL = frozenset({"tools-call-simple-text", "tools-call-error"})
"""They want a text, and an error: that there is no such tool is both."""

UNPROVEN = {
    "fixtures": dict.fromkeys(REVISIONS, frozenset[str]()),
    "product": {
        "2025-11-25": _NO_SUCH_TOOL | {"server-sse-multiple-streams"},
        "2026-07-28": _NO_SUCH_TOOL
        | {
            "input-required-result-ignore-extra-params",
            "input-required-result-missing-input-response",
        },
    },
}
"""Required scenarios that pass, or are warned of, without proving anything."""


def main() -> int:
    """Checks everything; 0 if all is well, or nothing can be checked."""
    began = time.perf_counter()
    servers.without_settings()
    try:
        packages = npm.installed()
    except npm.Absent:
        print("skipped: npm is absent")
        return 0
    except subprocess.SubprocessError as error:
        print(f"npm could not bring the checkers: {error}")
        return 1
    brought = time.perf_counter() - began
    rows = checked(packages)
    print(row.table(rows))
    took = time.perf_counter() - began
    print(f"{took:.0f} s, {brought:.0f} of them until npm had brought the checkers")
    return int(any(one.faults for one in rows))


def checked(packages: Packages) -> list[Row]:
    """All runs. Those that fail are made again, alone: the suite gives some answers half a second,
    which is little beside other runs."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        fixtures = held.enter_context(servers.fixtures(folder / "fixtures"))
        product = held.enter_context(servers.over_http(folder / "product"))
        lanes = _lanes(packages, folder, fixtures.url, product.url)
        with ThreadPoolExecutor(len(lanes)) as pool:
            made = [one for lane in pool.map(_one_by_one, lanes) for one in lane]
        rows = [one for run, rows in made for one in _settled(run, rows)]
        return [*rows, _silent("fixtures", fixtures), _silent("product", product)]


def _lanes(packages: Packages, folder: Path, fixtures: str, product: str) -> list[list[Run]]:
    """What is run: lanes side by side, the runs of a lane one after the other."""
    started = inspector.config(folder, [*servers.product(), "serve", "--offline"])
    targets = (
        Target("fixtures", fixtures, MET["fixtures"], UNPROVEN["fixtures"], None),
        Target("product", product, MET["product"], UNPROVEN["product"], HERE),
    )
    over_http = [
        [_suite(packages, target, revision) for revision in REVISIONS] for target in targets
    ]
    over_http[0].insert(0, lambda: [anyio.run(offered, packages, fixtures)])
    return [*over_http, [_inspector(packages, started, era) for era in inspector.ERAS]]


def _suite(packages: Packages, target: Target, revision: str) -> Run:
    return lambda: suite.run(packages, target, revision)


def _inspector(packages: Packages, started: Path, era: str) -> Run:
    return lambda: [inspector.run(packages, started, era)]


def _one_by_one(lane: Sequence[Run]) -> list[tuple[Run, list[Row]]]:
    return [(run, run()) for run in lane]


def _settled(run: Run, rows: list[Row]) -> list[Row]:
    if not any(one.faults for one in rows):
        return rows
    first = "; ".join(fault.partition("\n")[0] for one in rows for fault in one.faults)
    again = run()
    return [again[0].judged([], [f"run twice, at first: {first}"]), *again[1:]]


def _silent(name: str, served: Served) -> Row:
    """Whether a server met with nothing that it had not thought of."""
    bugs = served.bugs
    return Row(
        run=f"{name}, no traceback",
        scenarios=1,
        passed=int(not bugs),
        failed=bugs,
        seconds=0,
        faults=("".join(served.said)[-6_000:],) if bugs else (),
    )


async def offered(packages: Packages, url: str) -> Row:
    """Whether the fixtures are all there: some scenarios would pass without them."""
    wanted = suite.names_called(packages)
    async with Client(url) as client:
        there = {one.name for one in (await client.list_tools()).tools}
        there |= {one.name for one in (await client.list_prompts()).prompts}
        there |= {one.uri for one in (await client.list_resources()).resources}
    missing = sorted(wanted - there)
    return Row(
        run="fixtures, by name",
        scenarios=1,
        passed=len(wanted) - len(missing),
        failed=len(missing),
        seconds=0,
        faults=(
            *(f"{name} is called by the suite, and not there" for name in missing),
            *(() if wanted else ("the suite is read wrongly: it calls nothing",)),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
