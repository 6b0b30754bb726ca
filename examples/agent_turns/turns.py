"""Takes the turns of turns.json, as an agent's host would, with the official Python client.

    python documents.py FOLDER
    python turns.py modern FOLDER npu-gateway serve --root FOLDER --data-dir NEW

Ends with a failure at the first turn that is not answered as it should be; prints how many
characters each answer has in either channel, and whether they keep to their budgets. The era is
modern (2026-07-28) or legacy (the handshake of before). turns.mjs is the same in JavaScript.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

SCRIPT = json.loads(Path(__file__).with_name("turns.json").read_text(encoding="utf-8"))
MODES = {"modern": "auto", "legacy": "legacy"}
ALMOST_FOR_EVER = 600


@dataclass(frozen=True)
class Row:
    """What one turn cost."""

    number: int
    does: str
    kind: str
    """Of the budget."""
    text: int
    """Characters of the text channel."""
    data: int
    """Characters of structuredContent as JSON."""
    seconds: float


class Turns:
    """One conversation, and what was kept of it."""

    def __init__(self, client: Client, folder: Path, patience: float) -> None:
        self._client = client
        self._patience = patience
        self._kept: dict[str, Any] = {
            "folder": str(folder),
            "count": sum(one.is_file() for one in folder.rglob("*")),
            "huge": "x" * 100_000,
            "many": ["text"] * 100,
        }

    async def take(self, number: int, turn: dict[str, Any]) -> Row:
        """One turn; an AssertionError says what was not as it should be."""
        begin = time.perf_counter()
        patience = max(self._patience, turn.get("seconds", 0))
        seen = await self._answer(turn)
        while not all(_at(seen, path) == value for path, value in turn.get("until", {}).items()):
            assert time.perf_counter() - begin < patience, f"{turn} lasts: {seen['data']}"
            seen = await self._answer(turn)
        seconds = time.perf_counter() - begin
        self._check(turn, seen)
        for name, path in turn.get("keep", {}).items():
            self._kept[name] = _at(seen, path)
            assert self._kept[name], path
        for name, pattern in turn.get("find", {}).items():
            found = re.search(pattern, seen["text"])
            assert found, pattern
            self._kept[name] = int(found[1])
        kind = turn.get("tool") or ("resource" if "resource" in turn else "prompt")
        data = "" if seen["data"] is None else _written(seen["data"])
        kind = "failure" if seen["failed"] else kind
        row = Row(number, turn["does"], kind, len(seen["text"]), len(data), seconds)
        most = turn.get("most") or SCRIPT["budgets"][kind]
        assert max(row.text, row.data) <= most, f"{row} is over {most:,} characters"
        return row

    async def _answer(self, turn: dict[str, Any]) -> dict[str, Any]:
        arguments = self._filled(turn.get("arguments", {}))
        try:
            if "resource" in turn:
                read = await self._client.read_resource(self._filled(turn["resource"]))
                return _seen([part.text for part in read.contents])
            if "prompt" in turn:
                got = await self._client.get_prompt(turn["prompt"], arguments)
                return _seen([message.content.text for message in got.messages])
        except MCPError as error:
            return _seen([error.message], failed=True)
        return await self._called(turn, arguments)

    async def _called(self, turn: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        told: list[float] = []
        results: list[Any] = []
        with anyio.CancelScope() as scope:

            async def progress(done: float, total: float | None, message: str | None) -> None:
                told.append(done)
                if "cancel" in turn and total is not None:
                    scope.cancel()

            wants = turn.get("progress") or "cancel" in turn
            options: dict[str, Any] = {"progress_callback": progress} if wants else {}
            results.append(await self._client.call_tool(turn["tool"], arguments, **options))
        if not results:
            assert "cancel" in turn
            return _seen([])
        assert turn.get("cancel") != "must not be over"
        assert told or not turn.get("progress")
        result = results[0]
        texts = [part.text for part in result.content]
        return _seen(texts, result.structured_content, dict(result.meta or {}), result.is_error)

    def _filled(self, value: Any) -> Any:
        """A part of a turn with what was kept in the place of ${name}."""
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if isinstance(value, dict):
            return {self._filled(name): self._filled(one) for name, one in value.items()}
        if not isinstance(value, str):
            return value
        whole = re.fullmatch(r"\$\{(\w+)\}", value)
        if whole:
            return self._kept[whole[1]]
        return re.sub(r"\$\{(\w+)\}", lambda found: str(self._kept[found[1]]), value)

    def _check(self, turn: dict[str, Any], seen: dict[str, Any]) -> None:
        text = seen["text"]
        shown = f"{turn['does']}: {text[:500]!r}"
        assert seen["failed"] == ("fails" in turn), shown
        assert not (seen["failed"] and seen["data"]), shown
        for words in self._filled(turn.get("fails", []) + turn.get("holds", [])):
            assert words in text, f"no {words!r} in {shown}"
        for words in turn.get("lacks", []):
            assert words not in text, f"{words!r} in {shown}"
        for path, value in self._filled(turn.get("is", {})).items():
            assert _at(seen, path) == value, f"{path} is {_at(seen, path)!r} in {shown}"
        for path in turn.get("both", []):
            values = _all_at(seen, path)
            assert values, path
            assert all(str(one) in text for one in values), f"{path} is not all in {shown}"
        if "json" in turn:
            assert sorted(json.loads(text)) == sorted(turn["json"]), shown
        assert re.search(turn.get("matches", ""), text), shown


def _seen(
    texts: list[str], data: Any = None, meta: dict[str, Any] | None = None, failed: bool = False
) -> dict[str, Any]:
    text = "\n".join(texts)
    return {"text": text, "parts": len(texts), "data": data, "meta": meta, "failed": failed}


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if name == "length":
            value = len(value)
        else:
            value = value[int(name)] if isinstance(value, list) else (value or {}).get(name)
    return value


def _all_at(value: Any, path: str) -> list[Any]:
    before, star, after = path.partition(".*.")
    return [_at(one, after) for one in _at(value, before)] if star else [_at(value, path)]


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def take_all(
    client: Client, folder: Path, patience: float = SCRIPT["stops_in_seconds"]
) -> list[Row]:
    """All turns of the script through a client; what it reads of tools and instructions first."""
    tools = (await client.list_tools()).tools
    facing = [
        {"name": one.name, "description": one.description, "inputSchema": one.input_schema}
        for one in tools
    ]
    rows = [
        Row(0, "is told what there is", "tools", len(_written(facing)), 0, 0),
        Row(0, "is told how to use it", "instructions", len(client.instructions or ""), 0, 0),
    ]
    assert all(0 < row.text <= SCRIPT["budgets"][row.kind] for row in rows)
    turns = Turns(client, folder, patience)
    rows += [await turns.take(number, turn) for number, turn in enumerate(SCRIPT["turns"], 1)]
    return rows


def table(rows: list[Row]) -> list[str]:
    """What the turns cost, a line each, then medians and maxima."""
    lines = [f"{'':4} {'turn':32} {'kind':17} {'text':>7} {'data':>7} {'seconds':>8}"]
    lines += [
        f"{row.number or '':4} {row.does:32} {row.kind:17} {row.text:7,} {row.data:7,} "
        f"{row.seconds:8.2f}"
        for row in rows
    ]
    taken = [row for row in rows if row.number]
    measures: dict[str, Callable[[list[int]], float]] = {"median": median, "maximum": max}
    for name, measure in measures.items():
        text, data = measure([one.text for one in taken]), measure([one.data for one in taken])
        lines.append(f"{'':4} {name:50} {text:7,.0f} {data:7,.0f}")
        if name == "median":
            assert max(text, data) <= SCRIPT["budgets"]["median"]
    return lines


async def taken(era: str, folder: Path, command: str, *arguments: str) -> list[Row]:
    """Starts a server and takes all turns."""
    server = StdioServerParameters(command=command, args=list(arguments))
    async with Client(server, mode=MODES[era], read_timeout_seconds=ALMOST_FOR_EVER) as client:
        assert (client.protocol_version == "2026-07-28") == (era == "modern")
        return await take_all(client, folder)


def main(era: str, folder: str, *command: str) -> None:
    """Takes all turns and prints the table."""
    rows = asyncio.run(taken(era, Path(folder).resolve(), *command))
    sys.stdout.write("\n".join([f"Python client, {era} era", *table(rows)]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
