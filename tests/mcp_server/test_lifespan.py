"""Models load beside the conversation, and all who wait for one share its load and its outcome."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from mcp import Client

from engine.engine import Engine
from engine.errors import ModelBroken
from engine.residency import Resident
from mcp_server.commands.opening import options
from mcp_server.server import build

pytestmark = pytest.mark.anyio


class Gate:
    """A load that waits to be let through, and counts how often it was begun."""

    def __init__(self, outcome: Callable[[], Any]) -> None:
        self.opened = threading.Event()
        self.loads = 0
        self._outcome = outcome

    def load(self, report: Callable[[str], None]) -> Any:
        self.loads += 1
        assert self.opened.wait(30)
        return self._outcome()


def broken() -> Any:
    raise ModelBroken("The model is broken; fetch it again.")


def bug() -> Any:
    raise ZeroDivisionError("a secret of the house")


async def calls_that_wait(home, era, gate: Gate, count: int) -> list[Any]:
    engine = Engine(options(home.settings))
    engine.embedder = Resident("embedding model", gate.load)
    results: list[Any] = []
    told: set[int] = set()
    all_told = anyio.Event()

    async with Client(build(engine, home.settings), mode=era) as client:
        async with anyio.create_task_group() as tasks:

            async def call(number: int) -> None:
                async def progress(done: float, total: float | None, message: str | None) -> None:
                    told.add(number)
                    if len(told) == count:
                        all_told.set()

                results.append(
                    await client.call_tool("embed", {"texts": ["x"]}, progress_callback=progress)
                )

            for number in range(count):
                tasks.start_soon(call, number)
            with anyio.fail_after(30):
                await all_told.wait()
            threads = threading.active_count()
            gate.opened.set()
        assert threads < 12, "a thread a caller"
    engine.close()
    return results


async def test_many_calls_share_one_load(home, era):
    gate = Gate(home.engine().embedder.get)
    results = await calls_that_wait(home, era, gate, 30)
    assert not any(result.is_error for result in results)
    assert gate.loads == 1


async def test_many_calls_share_one_failure_and_the_next_call_tries_again(home, era):
    gate = Gate(broken)
    results = await calls_that_wait(home, era, gate, 30)
    assert {result.content[0].text for result in results} == {
        "The model is broken; fetch it again."
    }
    assert gate.loads == 1


async def test_a_bug_in_loading_is_a_sentence_without_its_secret(home, era):
    gate = Gate(bug)
    (result,) = await calls_that_wait(home, era, gate, 1)
    assert result.is_error
    assert "the traceback is in its log" in result.content[0].text
    assert "secret" not in result.content[0].text
