"""The one file where the event loop meets the blocking engine.

Every engine call runs in a worker thread. What must not run twice at once goes through a `Queue`,
served in order of arrival. A stream is a generator advanced step by step, so a cancelled caller
stops it between two steps and others get their turn in between.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import TypeVar

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

T = TypeVar("T")


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

    async def run(self, call: Callable[[], T]) -> T:
        """Runs one call in a worker thread when it is its turn."""
        async with self._limiter, self._hurried_if_cancelled():
            return await to_thread.run_sync(call)

    def steps(self, generator: Generator[T]) -> AbstractAsyncContextManager[AsyncGenerator[T]]:
        """A blocking generator's steps, each one call; closed however the block is left."""
        return aclosing(self._iterate(generator))

    async def _iterate(self, generator: Generator[T]) -> AsyncGenerator[T]:
        try:
            while not isinstance(step := await self.run(lambda: next(generator, _END)), _End):
                yield step
        finally:
            with CancelScope(shield=True):
                await self.run(generator.close)

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


async def run_abandonable(call: Callable[[], T]) -> T:
    """Runs a long call whose caller may leave: its thread then ends on its own."""
    return await to_thread.run_sync(call, abandon_on_cancel=True)


@contextmanager
def _without_group() -> Generator[None]:
    """Lets the one error of a task group through as it is."""
    try:
        yield
    except ExceptionGroup as group:
        error = group.exceptions[0]
        raise error from error.__cause__
