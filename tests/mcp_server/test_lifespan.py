"""Models load beside the conversation, and all who wait for one share its load and its outcome."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from eras import in_one_era
from mcp import Client

from engine.engine import Engine
from engine.errors import ModelBroken
from mcp_server.commands.engine_options import options
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
        assert self.opened.wait(120)
        return self._outcome()


def broken() -> Any:
    raise ModelBroken("The model is broken; fetch it again.")


def bug() -> Any:
    raise ZeroDivisionError("a secret of the house")


async def calls_that_wait(home, era, gate: Gate, count: int) -> list[Any]:
    engine = Engine(options(home.settings))
    home.use_embedder(engine, gate.load)
    results: list[Any] = []
    told: set[int] = set()
    all_told = anyio.Event()
    threads_before = threading.active_count()

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
            with anyio.fail_after(60):
                await all_told.wait()
            threads = threading.active_count()
            gate.opened.set()
        assert threads - threads_before < 12, "a thread a caller"
    engine.close()
    return results


@in_one_era
async def test_many_calls_share_one_load(home, era):
    gate = Gate(lambda: Noticed(home.embedder))
    results = await calls_that_wait(home, era, gate, 30)
    assert not any(result.is_error for result in results)
    assert gate.loads == 1


@in_one_era
async def test_many_calls_share_one_failure_and_the_next_call_tries_again(home, era):
    gate = Gate(broken)
    results = await calls_that_wait(home, era, gate, 30)
    assert {result.content[0].text for result in results} == {
        "The model is broken; fetch it again."
    }
    assert gate.loads == 1


@in_one_era
async def test_a_bug_in_loading_is_a_sentence_without_its_secret(home, era):
    gate = Gate(bug)
    (result,) = await calls_that_wait(home, era, gate, 1)
    assert result.is_error
    assert "the traceback is in its log" in result.content[0].text
    assert "secret" not in result.content[0].text


class Noticed:
    """A model of a place that tells when it is freed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.freed = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def close(self) -> None:
        self.freed.set()


@in_one_era
async def test_a_model_that_nobody_uses_is_unloaded_and_the_next_call_loads_it_again(home, era):
    settings = replace(home.settings, idle_seconds=1)
    engine = home.engine()
    made: list[Noticed] = []

    def load(report: Callable[[str], None]) -> Noticed:
        made.append(Noticed(home.embedder))
        return made[-1]

    home.use_embedder(engine, load)
    async with Client(build(engine, settings), mode=era) as client:
        first = await client.call_tool("embed", {"texts": ["x"]})
        with anyio.fail_after(60):
            assert await anyio.to_thread.run_sync(made[0].freed.wait, 60)
            status = await client.call_tool("status", {})
            again = await client.call_tool("embed", {"texts": ["x"]})
    assert status.structured_content["models"][0]["state"] == "idle"
    assert "idle, unloaded until its next use" in status.content[0].text
    assert again.structured_content == first.structured_content
    assert len(made) >= 2
    engine.close()


@in_one_era
async def test_calls_that_wait_have_the_model_before_another_makes_it_leave(home, era):
    gate = Gate(lambda: Noticed(home.embedder))
    engine = home.engine()
    home.use_embedder(engine, gate.load)
    over = threading.Event()

    def free() -> None:
        while not over.is_set():
            engine.embedder.free()

    freeing = threading.Thread(target=free)
    async with Client(build(engine, home.settings), mode=era) as client:
        freeing.start()
        async with anyio.create_task_group() as tasks:
            results: list[Any] = []

            async def call() -> None:
                results.append(await client.call_tool("embed", {"texts": ["x"]}))

            for _ in range(10):
                tasks.start_soon(call)
            gate.opened.set()
    over.set()
    freeing.join(60)
    assert len(results) == 10
    assert not any(result.is_error for result in results)
    assert engine.embedder.free() or engine.embedder.state == "idle"
    engine.close()
