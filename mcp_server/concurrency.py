"""The one file where the event loop meets the blocking engine.

Every engine call runs in a worker thread. What must not run twice at once goes through a `Queue`,
what may run a few times at once through an `Admission`, both served in order of arrival. A stream
is advanced step by step, so a cancelled caller stops it between two steps and others get their turn
in between.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

from anyio import (
    CancelScope,
    CapacityLimiter,
    Event,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
    sleep_forever,
    to_thread,
)

from engine.errors import Overloaded

T = TypeVar("T")
StepT = TypeVar("StepT", covariant=True)


class Steps(Protocol[StepT]):
    """What is advanced step by step: a generator, or whatever else is closed as one is."""

    def __next__(self) -> StepT:
        """The next step; StopIteration after the last."""
        ...

    def close(self) -> None:
        """Ends it where it is, and frees what it holds."""
        ...


class _End:
    """Marks the end of a generator across the thread boundary, where StopIteration cannot go."""


_END = _End()


_HURRY_SECONDS = 0.05


def _nothing() -> None:
    """For queues whose calls are short."""


class Queue:
    """Blocking calls, one at a time.

    A thread cannot be cancelled: a cancelled caller waits for its running call, so that the next
    one never meets it. `hurry` is called again and again meanwhile and makes a call give up that
    waits for somebody else.
    """

    def __init__(self, hurry: Callable[[], None] = _nothing) -> None:
        self._hurry = hurry
        self._limiter = CapacityLimiter(1)
        # Its own, so that many answers that wait for a step leave the shared threads to others.
        self._thread = CapacityLimiter(1)

    async def run(self, call: Callable[[], T]) -> T:
        """Runs one call in a worker thread when it is its turn."""
        async with self._limiter, self._hurried_if_cancelled():
            return await to_thread.run_sync(call, limiter=self._thread)

    def steps(self, steps: Steps[T]) -> AbstractAsyncContextManager[AsyncGenerator[T]]:
        """Blocking steps, each one call; closed however the block is left."""
        return aclosing(self._iterate(steps))

    async def _iterate(self, steps: Steps[T]) -> AsyncGenerator[T]:
        try:
            while not isinstance(step := await self.run(lambda: _next(steps)), _End):
                yield step
        finally:
            with CancelScope(shield=True):
                await self.run(steps.close)

    @asynccontextmanager
    async def _hurried_if_cancelled(self) -> AsyncGenerator[None]:
        ended = Event()

        async def watch() -> None:
            try:
                await sleep_forever()
            except get_cancelled_exc_class():
                with CancelScope(shield=True):
                    while not ended.is_set():
                        self._hurry()
                        with move_on_after(_HURRY_SECONDS):
                            await ended.wait()
                raise

        with _without_group():
            async with create_task_group() as tasks:
                tasks.start_soon(watch)
                try:
                    yield
                finally:
                    ended.set()
                    tasks.cancel_scope.cancel()


class Admission:
    """So many callers at once, so many more in line; the next one is refused."""

    def __init__(self, slots: int, waiting: int, refusal: str) -> None:
        """
        Args:
            slots: Callers at once.
            waiting: Callers in line, at most.
            refusal: What the next one is told.
        """
        self._limiter = CapacityLimiter(slots)
        self._most_waiting = waiting
        self._refusal = refusal

    @property
    def waiting(self) -> int:
        """Callers in line now."""
        return self._limiter.statistics().tasks_waiting

    @asynccontextmanager
    async def slot(self, caller: str = "") -> AsyncGenerator[None]:
        """Holds a slot within the block, waited for in order of arrival.

        Raises:
            Overloaded: The line is full.
        """
        if self._limiter.available_tokens < 1 and self.waiting >= self._most_waiting:
            raise Overloaded(self._refusal)
        async with self._limiter:
            yield


async def run_abandonable(call: Callable[[], T]) -> T:
    """Runs a call whose caller may leave: its thread, which is its own, then ends by itself."""
    return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=CapacityLimiter(1))


def _next(steps: Steps[T]) -> T | _End:
    try:
        return steps.__next__()
    except StopIteration:
        return _END


@contextmanager
def _without_group() -> Generator[None]:
    """Lets the one error of a task group through as it is."""
    try:
        yield
    except ExceptionGroup as group:
        error = group.exceptions[0]
        raise error from error.__cause__
