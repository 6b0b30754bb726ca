"""Writes COMPATIBILITY.md: what of OpenAI's API is served, and by which test each word is proved.

    python examples/openai_client/compatibility.py

A test says what it proves with a marker, in literals:

    @pytest.mark.compat("chat_completions", honoured=["stop", "stream_options.include_usage"])

The first word is the name of an endpoint; behind a dot comes a part of a field or a kind of its
values. Which fields are ignored or refused as a whole, the classes of the bodies say; one test
tries them all.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mcp_server.http import app
from mcp_server.http.endpoint import Endpoint
from mcp_server.http.openai.bodies import RequestBody

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("COMPATIBILITY.md")
TESTS = ROOT / "tests" / "mcp_server" / "http"

State = Literal["honoured", "ignored", "refused"]
STATES: tuple[State, ...] = ("honoured", "ignored", "refused")

OPENAI = tuple(
    one for one in app.ENDPOINTS if one.answer.__module__.startswith("mcp_server.http.openai.")
)
"""The endpoints that OpenAI's clients call."""

_ALL_TRIED = {
    "ignored": ("test_compatibility.py", "test_an_ignored_field_changes_nothing"),
    "refused": ("test_compatibility.py", "test_a_refused_field_is_named"),
}
"""The tests that try whatever the bodies' classes name."""

_HEAD = """# What of OpenAI's API is served

Made from the tests by `python examples/openai_client/compatibility.py`; a test fails where this
page, the tests and the routes do not say the same. All routes are there without `/v1` too.

- **honoured**: it does what OpenAI's reference says, and the test named beside it shows that.
- **ignored**: it may be sent, and the answer is the same without it.
- **refused**: 400, with the field in `error.param`, unless it asks for nothing (`null`, `false`,
  `0`, an empty text or list).

Fields that are not named here are accepted and change nothing.
"""


@dataclass(frozen=True)
class Proof:
    """A test that shows what becomes of a field."""

    endpoint: str
    field: str
    """Empty: of the route itself."""
    state: State
    file: str
    test: str

    @property
    def sentence(self) -> str:
        """The test's name as text."""
        return self.test.removeprefix("test_").replace("_", " ")


class BadMarker(Exception):
    """A marker says something that is not so; the text says what and where."""


def proofs() -> list[Proof]:
    """All proofs there are: those of markers, and the two that try what the classes name."""
    found = [one for path in sorted(TESTS.rglob("test_*.py")) for one in _proofs_in(path)]
    for endpoint in OPENAI:
        for state, names in (("ignored", ignored(endpoint)), ("refused", refused(endpoint))):
            found += [Proof(endpoint.name, name, state, *_ALL_TRIED[state]) for name in names]
    return found


def fields(endpoint: Endpoint[Any]) -> list[str]:
    """The fields that an endpoint reads, of its body and behind the question mark."""
    names: list[str] = []
    for kind in (endpoint.body, endpoint.query):
        if kind:
            names += [one.alias or name for name, one in kind.model_fields.items()]
    return names


def ignored(endpoint: Endpoint[Any]) -> tuple[str, ...]:
    """Fields that its body names as changing nothing."""
    return endpoint.body.IGNORED if _has_table(endpoint) else ()


def refused(endpoint: Endpoint[Any]) -> dict[str, str]:
    """Fields that its body refuses, with what to do instead."""
    return dict(endpoint.body.REFUSED) if _has_table(endpoint) else {}


def problems() -> list[str]:
    """What of the routes is not proved, and what of the proofs is not so; a sentence each."""
    found: list[str] = []
    by_endpoint = _by_endpoint(proofs())
    known = {one.name: {*fields(one), *ignored(one), *refused(one)} for one in OPENAI}
    for name, shown in by_endpoint.items():
        if name not in known:
            found.append(f"{shown[0].test}: there is no endpoint {name}.")
            continue
        found += [
            f"{one.test}: {name} has no field {one.field}."
            for one in shown
            if one.field and one.field.partition(".")[0] not in known[name]
        ]
    for endpoint in OPENAI:
        shown = by_endpoint.get(endpoint.name, [])
        if not any(one.state == "honoured" for one in shown):
            found.append(f"{endpoint.name}: no test is marked as its proof.")
        heads = {one.field.partition(".")[0] for one in shown}
        found += [
            f"{endpoint.name}: no test is marked as a proof of {name}."
            for name in fields(endpoint)
            if name not in heads
        ]
    return found


def page() -> str:
    """The whole page."""
    by_endpoint = _by_endpoint(proofs())
    parts = [_HEAD]
    for endpoint in OPENAI:
        prefix = "/v1" if endpoint.is_versioned else ""
        path = prefix + endpoint.path.replace(":path", "")
        parts.append(f"## {endpoint.method} {path}\n\n{endpoint.summary}\n")
        parts.append(_table(endpoint, by_endpoint.get(endpoint.name, [])))
    return "\n".join(parts)


def _has_table(endpoint: Endpoint[Any]) -> bool:
    return endpoint.body is not None and issubclass(endpoint.body, RequestBody)


def _by_endpoint(found: Iterable[Proof]) -> dict[str, list[Proof]]:
    sorted_in: dict[str, list[Proof]] = defaultdict(list)
    for one in found:
        sorted_in[one.endpoint].append(one)
    return sorted_in


def _table(endpoint: Endpoint[Any], found: list[Proof]) -> str:
    order = ["", *fields(endpoint), *ignored(endpoint), *refused(endpoint)]
    rows: dict[tuple[int, str, State], list[Proof]] = defaultdict(list)
    for one in found:
        head = one.field.partition(".")[0]
        rows[(order.index(head), one.field, one.state)].append(one)
    lines = ["| field | | shown by |", "|---|---|---|"]
    for (_, name, state), shown in sorted(rows.items(), key=_row_order):
        advice = refused(endpoint).get(name, "")
        what = f"{state}: {advice}" if advice and state == "refused" else state
        links = ", ".join(f"[{one.sentence}]({_link(one)})" for one in shown)
        lines.append(f"| {f'`{name}`' if name else 'the route'} | {what} | {links} |")
    return "\n".join(lines) + "\n"


def _row_order(row: tuple[tuple[int, str, State], list[Proof]]) -> tuple[int, int, str]:
    (place, name, state), _ = row
    return STATES.index(state), place, name


def _link(proof: Proof) -> str:
    return f"../../{(TESTS / proof.file).relative_to(ROOT).as_posix()}"


def _proofs_in(path: Path) -> Iterator[Proof]:
    """The proofs that a file's markers name."""
    file = path.relative_to(TESTS).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for marker in node.decorator_list:
            if isinstance(marker, ast.Call) and ast.unparse(marker.func) == "pytest.mark.compat":
                yield from _proofs_of(marker, file, node.name)


def _proofs_of(marker: ast.Call, file: str, test: str) -> Iterator[Proof]:
    (endpoint,) = (ast.literal_eval(one) for one in marker.args)
    if not marker.keywords:
        yield Proof(endpoint, "", "honoured", file, test)
    for keyword in marker.keywords:
        if keyword.arg not in STATES:
            raise BadMarker(f"{file}, {test}: a field is {', '.join(STATES)}, not {keyword.arg}.")
        for field in ast.literal_eval(keyword.value):
            yield Proof(endpoint, field, keyword.arg, file, test)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print("\n".join(problems()) or f"{PAGE.name} is written, and everything in it is proved.")
