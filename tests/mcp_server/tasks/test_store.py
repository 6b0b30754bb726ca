"""Tasks are bounded in number and in time, and belong to whoever began them."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest
from mcp.server.context import HandlerResult

from mcp_server.asking import _Host
from mcp_server.http.rates import Rates
from mcp_server.tasks.store import Tasks
from mcp_server.tasks.task import KEPT_SECONDS, KEPT_TOLD_SECONDS, Task

pytestmark = pytest.mark.anyio


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Key(_Host):
    """Somebody with a name, who counts what goes on for them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work = 0

    def stay(self) -> None:
        self.work += 1

    def settle(self) -> None:
        self.work -= 1


async def endless(_: Task) -> HandlerResult:
    await anyio.sleep_forever()


async def at_once(_: Task) -> HandlerResult:
    return {"content": []}


async def with_tasks(use: Callable, **options) -> None:
    async with anyio.create_task_group() as group:
        tasks = Tasks(**options)
        tasks.group = group
        await use(tasks)
        group.cancel_scope.cancel()


async def test_a_task_is_found_by_nobody_but_its_caller():
    async def use(tasks: Tasks) -> None:
        first, second = tasks.begin(Key("a"), at_once), tasks.begin(Key("b"), at_once)
        assert first.id != second.id
        assert len(first.id) == 32, "128 bits"
        assert tasks.find(first.id, "a") is first
        assert tasks.find(first.id, "b") is tasks.find(first.id, "") is None

    await with_tasks(use)


async def test_there_is_no_task_without_room_or_a_place_to_run():
    async def use(tasks: Tasks) -> None:
        held = tasks.begin(Key("a"), at_once)
        await held.ended.wait()
        assert tasks.begin(Key("b"), at_once) is None, "an ended task is kept, too"
        tasks.drop(held)
        assert tasks.begin(Key("b"), at_once) is not None

    await with_tasks(use, most=1)
    assert Tasks().begin(Key("a"), at_once) is None


async def test_a_task_lives_an_hour_from_the_last_time_it_was_asked_for():
    clock, key = Clock(), Key("a")

    async def use(tasks: Tasks) -> None:
        task = tasks.begin(key, endless)
        told = [task.summary()["ttlMs"]]
        for _ in range(3):
            clock.now += KEPT_SECONDS - 1
            assert tasks.find(task.id, "a") is task
            told.append(task.summary()["ttlMs"])
        assert told == [3_600_000 + n * 3_599_000 for n in range(4)]
        assert key.work == 1
        clock.now += KEPT_SECONDS
        assert tasks.find(task.id, "a") is None
        await task.ended.wait()
        assert task.details()["status"] == "cancelled"
        assert key.work == 0

    await with_tasks(use, clock=clock)


async def test_a_task_whose_end_was_told_is_kept_for_ten_minutes_more():
    clock = Clock()

    async def use(tasks: Tasks) -> None:
        task = tasks.begin(Key("a"), at_once)
        await task.ended.wait()
        assert task.details()["ttlMs"] == 600_000
        clock.now += KEPT_TOLD_SECONDS - 1
        assert tasks.find(task.id, "a").details()["ttlMs"] == 1_199_000
        clock.now += KEPT_TOLD_SECONDS
        assert tasks.find(task.id, "a") is None

    await with_tasks(use, clock=clock)


async def test_the_older_a_task_is_the_less_often_it_is_to_be_asked_for():
    clock = Clock()

    async def use(tasks: Tasks) -> None:
        task = tasks.begin(Key("a"), endless)
        told = []
        for clock.now in (0, 5, 20, 60, 600):
            told.append(task.summary()["pollIntervalMs"])
        assert told == [500, 500, 2_000, 6_000, 10_000]
        limited = Key("b")
        limited.pause = Rates(6, 0).reserve("b").pause
        assert tasks.begin(limited, endless).summary()["pollIntervalMs"] == 20_000

    await with_tasks(use, clock=clock)


async def test_a_bug_is_logged_once_and_hidden(caplog):
    async def broken(_: Task) -> HandlerResult:
        raise RuntimeError("/secret/path")

    async def use(tasks: Tasks) -> None:
        task = tasks.begin(Key("a"), broken)
        await task.ended.wait()
        told = task.details()
        assert told["status"] == "failed"
        assert told["error"] == {"code": -32603, "message": "Internal server error"}
        assert "result" not in told

    await with_tasks(use)
    assert caplog.text.count("RuntimeError: /secret/path") == 1
