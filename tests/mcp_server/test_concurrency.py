"""The bridge between the event loop and blocking steps: turns, lines, cancelling."""

import threading

import anyio
import pytest

from engine.errors import Overloaded
from mcp_server.concurrency import Admission, Queue

pytestmark = pytest.mark.anyio


class Counting:
    """Steps that are no generator."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.closed = 0

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left

    def close(self) -> None:
        self.closed += 1


async def test_whatever_steps_and_closes_is_a_stream():
    counting = Counting(3)
    async with Queue().steps(counting) as steps:
        assert [step async for step in steps] == [2, 1, 0]
    assert counting.closed == 1


async def test_a_stream_that_is_left_is_closed():
    counting = Counting(3)
    async with Queue().steps(counting) as steps:
        assert await anext(steps) == 2
    assert (counting.left, counting.closed) == (2, 1)


async def test_a_cancelled_step_is_hurried_until_it_has_ended_and_then_closed():
    hurried, started = threading.Event(), anyio.Event()

    class Slow(Counting):
        def __next__(self) -> int:
            anyio.from_thread.run_sync(started.set)
            assert hurried.wait(30), "nobody hurried it"
            return super().__next__()

    slow = Slow(3)
    async with anyio.create_task_group() as tasks:

        async def take() -> None:
            async with Queue(hurried.set).steps(slow) as steps:
                await anext(steps)

        tasks.start_soon(take)
        with anyio.fail_after(30):
            await started.wait()
        assert not hurried.is_set()
        tasks.cancel_scope.cancel()
    assert hurried.is_set()
    assert slow.closed == 1


async def test_slots_are_given_in_order_of_arrival_and_the_line_has_an_end():
    slots = Admission(2, 3, "full: call again")
    taken: list[int] = []
    leave = [anyio.Event() for _ in range(5)]

    async def caller(number: int) -> None:
        async with slots.slot():
            taken.append(number)
            await leave[number].wait()

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(caller, number)
            await anyio.wait_all_tasks_blocked()
        assert taken == [0, 1]
        assert slots.waiting == 3
        with pytest.raises(Overloaded, match="full: call again"):
            async with slots.slot():
                pytest.fail("there is no slot")
        leave[1].set()
        await anyio.wait_all_tasks_blocked()
        assert taken == [0, 1, 2]
        assert slots.waiting == 2
        for event in leave:
            event.set()
    assert taken == [0, 1, 2, 3, 4]
    assert slots.waiting == 0


async def test_without_a_line_only_what_has_a_slot_is_served():
    slots = Admission(1, 0, "full")
    async with slots.slot():
        with pytest.raises(Overloaded):
            async with slots.slot():
                pytest.fail("there is no slot")
    async with slots.slot():
        pass


async def test_whoever_leaves_the_line_makes_room_in_it():
    slots = Admission(1, 1, "full")
    async with slots.slot(), anyio.create_task_group() as tasks:

        async def wait() -> None:
            async with slots.slot():
                pytest.fail("it was cancelled before its turn")

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert slots.waiting == 1
        tasks.cancel_scope.cancel()
    assert slots.waiting == 0
