"""The bridge between the event loop and blocking steps: turns, lines, cancelling."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
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
            assert hurried.wait(60), "nobody hurried it"
            return super().__next__()

    slow = Slow(3)
    async with anyio.create_task_group() as tasks:

        async def take() -> None:
            async with Queue(hurried.set).steps(slow) as steps:
                await anext(steps)

        tasks.start_soon(take)
        with anyio.fail_after(60):
            await started.wait()
        assert not hurried.is_set()
        tasks.cancel_scope.cancel()
    assert hurried.is_set()
    assert slow.closed == 1


async def test_a_call_that_was_cancelled_before_a_thread_had_it_is_never_made():
    queue, made = Queue(), list[int]()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await queue.run(lambda: made.append(1))
    await queue.run(lambda: made.append(2))
    assert made == [2]


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


async def serve_all(slots: Admission, callers: str) -> tuple[str, str]:
    """Who was served, in order, and who was refused, of calls that all come, in this order, while
    the first ones are being served."""
    served, refused = "", ""
    all_are_here = anyio.Event()

    async def call(caller: str) -> None:
        nonlocal served, refused
        try:
            async with slots.slot(caller):
                served += caller
                await all_are_here.wait()
        except Overloaded:
            refused += caller

    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(call, caller)
        with anyio.fail_after(60):
            while slots.working + slots.waiting + len(refused) < len(callers):
                await anyio.lowlevel.checkpoint()
        all_are_here.set()
    assert (slots.waiting, slots.working) == (0, 0)
    return served, refused


async def test_callers_have_turns_and_each_ones_calls_keep_their_order():
    assert await serve_all(Admission(1, 32, "full"), "aaaaaabbc") == ("abcabaaaa", "")


async def test_each_call_too_many_costs_one_and_a_line_filled_by_one_caller_is_open_to_others():
    for callers, served, refused in [
        ("a" * 9 + "aaa", "a" * 9, "aaa"),
        ("a" * 9 + "bcb", "abcabaaaa", "aaa"),
        ("a" * 9 + "abab", "ababaaaaa", "aaaa"),
        ("abcdefghi" + "jkl", "abcdefghi", "jkl"),
    ]:
        assert await serve_all(Admission(1, 8, "full"), callers) == (served, refused), callers


async def test_a_caller_with_one_call_is_served_while_another_calls_without_pause():
    slots = Admission(1, 1, "full")
    served = anyio.Event()
    greedy_calls = 0

    async def greedy() -> None:
        nonlocal greedy_calls
        while not served.is_set():
            with contextlib.suppress(Overloaded):
                async with slots.slot("greedy"):
                    greedy_calls += 1
                    await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(greedy)
        with anyio.fail_after(60):
            while greedy_calls < 10:
                await anyio.lowlevel.checkpoint()
            async with slots.slot("modest"):
                served.set()


async def test_waiting_has_an_end():
    slots = Admission(1, 4, "full", patience=0.01)
    async with slots.slot("a"):
        with anyio.fail_after(60), pytest.raises(Overloaded, match="not this call's turn") as late:
            async with slots.slot("b"):
                pytest.fail("the slot was taken")
        assert late.value.retry_after == 1
        assert slots.waiting == 0
    async with slots.slot("b"):
        assert slots.working == 1


async def test_no_slot_is_lost_to_calls_that_are_cancelled_as_their_turn_comes():
    slots = Admission(1, 4, "full")
    served = anyio.Event()

    async def cancelled() -> None:
        async with slots.slot("b"):
            await anyio.sleep_forever()

    async def next_one() -> None:
        async with slots.slot("c"):
            served.set()

    for tells_first in (True, False):
        for cancel in (native_cancel, scope_cancel):
            served = anyio.Event()
            async with anyio.create_task_group() as tasks, contextlib.AsyncExitStack() as first:
                await first.enter_async_context(slots.slot("a"))
                stop = cancel(tasks, cancelled)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(next_one)
                await anyio.wait_all_tasks_blocked()
                if tells_first:
                    stop()
                await first.aclose()
                if not tells_first:
                    stop()
                with anyio.fail_after(60):
                    await served.wait()
            assert (slots.waiting, slots.working) == (0, 0)


def scope_cancel(
    tasks: anyio.abc.TaskGroup, call: Callable[[], Awaitable[None]]
) -> Callable[[], None]:
    """Starts a call; what is returned cancels it at its next checkpoint."""
    scope = anyio.CancelScope()

    async def scoped() -> None:
        with scope:
            await call()

    tasks.start_soon(scoped)
    return scope.cancel


def native_cancel(
    tasks: anyio.abc.TaskGroup, call: Callable[[], Coroutine[Any, Any, None]]
) -> Callable[[], object]:
    """Starts a call; what is returned cancels it where it is, though its wait may be over."""
    return asyncio.get_running_loop().create_task(call()).cancel


async def test_who_is_refused_is_told_when_half_the_line_may_be_gone():
    for seconds, retry_after in [(10.0, 10), (0.001, 1), (10_000.0, 30)]:
        times = iter([0.0, seconds])
        slots = Admission(2, 3, "full", clock=lambda times=times: next(times, 0.0))
        async with slots.slot():
            pass
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(hold, slots)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Overloaded) as refused:
                async with slots.slot():
                    pytest.fail("there is no slot")
            tasks.cancel_scope.cancel()
        assert refused.value.retry_after == retry_after


async def hold(slots: Admission) -> None:
    async with slots.slot():
        await anyio.sleep_forever()


async def test_a_caller_who_leaves_frees_the_slot_only_once_the_thread_has_ended():
    admission, goes_on = Admission(2, 10, "Too many."), threading.Event()
    at_work, ended = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        at_work.release()
        assert goes_on.wait(60)
        ended.release()

    async def leave() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(admission.run, work)
                await anyio.to_thread.run_sync(at_work.acquire)
                scope.cancel()

    await leave()
    await leave()
    assert admission.working == 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(admission.run, work)
        await anyio.wait_all_tasks_blocked()
        assert (admission.working, admission.waiting) == (2, 1)
        goes_on.set()
    for _ in range(3):
        await anyio.to_thread.run_sync(ended.acquire)
    with anyio.fail_after(60):
        while admission.working:
            await anyio.lowlevel.checkpoint()


async def test_a_call_whose_caller_has_left_before_it_began_takes_no_slot():
    admission = Admission(1, 10, "Too many.")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await admission.run(lambda: None)
    assert (admission.working, admission.waiting) == (0, 0)
    assert await admission.run(lambda: 7) == 7
    assert admission.working == 0
