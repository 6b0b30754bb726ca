"""The command demo: everything once, for real, through a real client.

Fetches the default models, starts the server as a host would, and drives it over stdio with the
official MCP client: what is printed is what an agent host would get. Exit status 1 as soon as a
step fails or a question is answered from the wrong document.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import numpy as np
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent
from rich.console import Console

from engine.errors import EngineError, ModelMissing
from engine.models import catalog, installed
from engine.models.spec import Task
from mcp_server.agent_hosts import launching
from mcp_server.agent_hosts.snippets import snippet
from mcp_server.agent_hosts.table import BY_NAME
from mcp_server.commands import models
from mcp_server.commands.config import launch
from mcp_server.commands.opening import results
from mcp_server.settings import Settings

DOCUMENTS = Path(__file__).parents[1] / "sample_documents"

QUESTIONS = (
    ("It is freezing in my bedroom. What should I check first?", "the_house.md"),
    ("My bike hardly slows down any more. What should I change?", "bicycles.md"),
)
"""Each with the document that answers it; by its words alone another one comes first."""

SENTENCES = ("The cat sleeps on the warm windowsill.", "A kitten naps where sunlight comes in.")

_CALL_SECONDS = 240


class DemoFailed(EngineError):
    """A step did not do what it shows."""


@dataclass
class Stage:
    """Where the demo is told: numbered steps with the time each took."""

    console: Console
    number: int = field(default=0)

    @contextmanager
    def step(self, title: str) -> Generator[None]:
        """Announces a step and says how long it took."""
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}. {title}[/]")
        start = time.perf_counter()
        yield
        self.console.print(f"   [dim]{time.perf_counter() - start:.2f} s[/]")

    def say(self, text: str) -> None:
        """A line within a step."""
        self.console.print(f"   {text}", markup=False)


def demo(_: argparse.Namespace, settings: Settings) -> int:
    """Runs the demonstration."""
    console = results()
    stage = Stage(console)
    console.print(
        "[bold]npu-gateway demo[/]: everything below runs on this machine. The network is used "
        "once, to fetch the two default models."
    )
    with stage.step("Models"):
        _fetch_models(stage, settings)
    with tempfile.TemporaryDirectory(
        prefix="npu-gateway-demo-", ignore_cleanup_errors=True
    ) as folder:
        try:
            anyio.run(_drive, stage, _demo_settings(settings, Path(folder)))
        except ExceptionGroup as group:
            error = _first(group)
            if not isinstance(error, EngineError | MCPError | OSError):
                raise
            raise DemoFailed(f"The demo ended early: {error}") from group
    console.print("\n[bold green]Done.[/] To give an agent host these tools, paste this into it:")
    console.print_json(snippet(BY_NAME["claude-desktop"], launch(settings, launching.here())))
    console.print(
        "--root names a folder the agent may index; add more, or leave it out. For other hosts: "
        "npu-gateway config",
        style="dim",
    )
    return 0


def _fetch_models(stage: Stage, settings: Settings) -> None:
    wanted: tuple[tuple[Task, str], ...] = (
        ("embed", settings.embedder),
        ("generate", settings.decoder),
    )
    for task, name in wanted:
        try:
            choice = installed.choose(task, settings.models_folder, name or None)
        except ModelMissing:
            models.fetch(catalog.to_fetch(task, name or None), settings)
            choice = installed.choose(task, settings.models_folder, name or None)
        spec = choice.spec
        stage.say(f"{task}: {spec.model_id} ({spec.license}, from {spec.source})")


def _demo_settings(settings: Settings, folder: Path) -> Settings:
    """An index of its own, so that the user's stays as it is."""
    return replace(
        settings,
        data_dir=folder,
        models_dir=settings.models_folder,
        root=(DOCUMENTS,),
        read_only=False,
        tools=(),
        pull=False,
    )


async def _drive(stage: Stage, settings: Settings) -> None:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "mcp_server", "serve", *settings.arguments("serve")]
    )
    start = time.perf_counter()
    async with Client(parameters, read_timeout_seconds=_CALL_SECONDS) as client:
        await _show(stage, client, start)


def _first(error: Exception) -> Exception:
    """The error that a group of a client's tasks was ended by."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


async def _show(stage: Stage, client: Client, start: float) -> None:
    with stage.step("A server, started as an agent host starts it"):
        tools = (await client.list_tools()).tools
        stage.say(f"answered {time.perf_counter() - start:.2f} s after its start")
        stage.say("tools: " + ", ".join(tool.name for tool in tools))
    with stage.step("index_documents: a small folder of notes and code"):
        report = await _call(client, "index_documents", {"path": str(DOCUMENTS)})
        stage.say(_text(report).splitlines()[0])
    passages: list[str] = []
    for question, answer in QUESTIONS:
        with stage.step(f"semantic_search: {question}"):
            passages.append(await _search(stage, client, question, answer))
    with stage.step("embed: two sentences without a word in common"):
        await _embed(stage, client)
    with stage.step("generate: a short answer from the passage found first"):
        await _generate(stage, client, passages[0])


async def _call(client: Client, tool: str, arguments: dict[str, Any]) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise DemoFailed(f"{tool} failed: {_text(result)}")
    return result


def _text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


async def _search(stage: Stage, client: Client, question: str, answer: str) -> str:
    result = await _call(client, "semantic_search", {"query": question, "top_k": 3})
    found: dict[str, Any] = result.structured_content or {}
    for passage in found["passages"]:
        name, lines = Path(passage["path"]).name, f"{passage['line_start']}-{passage['line_end']}"
        stage.say(f"{passage['score']:.2f}  {name}:{lines}  {passage.get('heading', '')}")
    best = found["passages"][0]
    if Path(best["path"]).name != answer:
        raise DemoFailed(f"The answer stands in {answer}, but {best['path']} came first.")
    result = await _call(client, "semantic_search", {"query": question, "mode": "keyword"})
    by_words: dict[str, Any] = result.structured_content or {}
    first = Path(by_words["passages"][0]["path"]).name
    stage.say(f"by words and {found['model']} on {found['provider']}; by words alone {first} leads")
    stage.say("   " + " ".join(best["text"].split())[:200])
    return str(best["text"])


async def _embed(stage: Stage, client: Client) -> None:
    result = await _call(client, "embed", {"texts": list(SENTENCES)})
    found: dict[str, Any] = result.structured_content or {}
    vectors = np.array(found["embeddings"])
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise DemoFailed("embed gave vectors that are not of length 1.")
    for sentence in SENTENCES:
        stage.say(sentence)
    stage.say(
        f"cosine {float(vectors[0] @ vectors[1]):.2f}, {found['dimensions']} dimensions, "
        f"by {found['model']} on {found['provider']}"
    )


async def _generate(stage: Stage, client: Client, passage: str) -> None:
    prompt = f"{passage}\n\nWhat should I check first?"
    result = await _call(client, "generate", {"prompt": prompt, "max_tokens": 60})
    if not _text(result).strip():
        raise DemoFailed("generate gave no text.")
    stage.say(" ".join(_text(result).split()))
    facts: dict[str, Any] = result.meta or {}
    stage.say(
        f"{facts['completion_tokens']} tokens after {facts['prompt_tokens']}, "
        f"by {facts['model']} on {facts['provider']}; finish_reason {facts['finish_reason']}"
    )
