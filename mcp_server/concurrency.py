"""The one file where the event loop meets the blocking engine.

Every engine call runs in a worker thread under a limiter of 1: the limiter is the queue, served
in order of arrival. A stream is a generator advanced step by step, so a cancelled caller stops it
between two steps and others get their turn in between.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter, create_task_group, sleep, to_thread

T = TypeVar("T")


class _End:
    """Marks the end of a generator across the thread boundary, where StopIteration cannot go."""


_END = _End()


async def run(limiter: CapacityLimiter, call: Callable[[], T]) -> T:
    """Runs one blocking call in a worker thread when the limiter lets it."""
    return await to_thread.run_sync(call, limiter=limiter)


async def run_abandonable(call: Callable[[], T]) -> T:
    """Runs a long blocking call whose caller may leave: its thread then ends on its own."""
    return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=CapacityLimiter(1))


async def iterate(limiter: CapacityLimiter, steps: Generator[T]) -> AsyncGenerator[T]:
    """Yields a blocking generator's steps, each taken in a worker thread.

    Consume it through `closing`, so that leaving early closes the generator at once. A cancelled
    caller leaves after the running step; the generator is closed in a worker thread too.
    """
    try:
        while True:
            step = await to_thread.run_sync(_next, steps, limiter=limiter)
            if isinstance(step, _End):
                return
            yield step
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(steps.close, limiter=limiter)


def closing(limiter: CapacityLimiter, steps: Generator[T]) -> "aclosing[AsyncGenerator[T]]":
    """`iterate` as a context manager that closes the generator however the block is left."""
    return aclosing(iterate(limiter, steps))


def _next(steps: Generator[T]) -> T | _End:
    return next(steps, _END)


async def run_with_beats(call: Callable[[], T], beat: Callable[[int], Awaitable[None]]) -> T:
    """Runs a long call whose caller may leave, awaiting `beat(seconds)` now and each second."""

    async def beats() -> None:
        for seconds in itertools.count():
            await beat(seconds)
            await sleep(1)

    outcome: list[T] = []
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(beats)
            outcome.append(await run_abandonable(call))
            tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return outcome[0]
