"""Steps made ahead of whoever takes them: their order, their end, and those who leave."""

import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from mcp_server.ahead import ahead

pytestmark = pytest.mark.anyio


class Counting:
    """Steps that count, in whatever thread takes them."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.count = count
        self.made = 0
        self.failure = failure
        self.closed = threading.Event()
        self.threads = set[int]()
        self.interrupted = threading.Event()

    def __next__(self) -> int:
        self.threads.add(threading.get_ident())
        if self.made == self.count:
            raise self.failure or StopIteration
        self.made += 1
        return self.made

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


def nothing() -> None:
    """For steps that need no interrupting."""


async def test_all_steps_come_in_order_from_one_other_thread_and_are_closed():
    counting = Counting(100)
    async with ahead(counting, nothing) as steps:
        assert [step async for some in steps for step in some] == list(range(1, 101))
    assert counting.closed.is_set()
    assert len(counting.threads) == 1
    assert threading.get_ident() not in counting.threads


async def test_an_error_comes_behind_the_steps_before_it():
    taken = list[int]()
    counting = Counting(7, ValueError("the eighth"))

    async def take() -> None:
        async with ahead(counting, nothing) as steps:
            async for some in steps:
                taken.extend(some)

    with pytest.raises(ValueError, match="the eighth"):
        await take()
    assert taken == list(range(1, 8))
    assert counting.closed.is_set()


async def test_for_a_caller_who_takes_none_only_a_few_are_made():
    enough = threading.Event()

    class Told(Counting):
        def __next__(self) -> int:
            step = super().__next__()
            if step == 4:
                enough.set()
            return step

    counting = Told(1_000)
    async with ahead(counting, nothing) as steps:
        assert (await anext(steps))[0] == 1
        await _until(enough.is_set)
    assert counting.closed.is_set()
    assert counting.made == 4


async def test_who_leaves_interrupts_the_step_and_waits_for_its_end():
    class Stuck(Counting):
        def __next__(self) -> int:
            if self.made == 2:
                assert self.interrupted.wait(60), "nobody interrupted it"
            return super().__next__()

    stuck = Stuck(1_000)
    with anyio.CancelScope() as scope:
        async with ahead(stuck, stuck.interrupted.set) as steps:
            async for some in steps:
                if some[-1] == 2:
                    scope.cancel()
    assert stuck.closed.is_set()
    assert stuck.made <= 3


async def test_what_is_over_is_not_interrupted():
    counting = Counting(2)
    async with ahead(counting, counting.interrupted.set) as steps:
        assert [step async for some in steps for step in some] == [1, 2]
    assert not counting.interrupted.is_set()


async def _until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not is_so():
            await anyio.lowlevel.checkpoint()
