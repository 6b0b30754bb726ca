"""Ahead: blocking steps in a thread of their own, which goes on while those made are passed on.

For steps of which each is long and nobody else waits for a turn in between: between two of them
neither thread waits for the other. Rules: the thread is a few steps ahead at most, so that a caller
who takes none has none made; whoever takes gives the event loop a turn each time; whoever leaves
waits for the thread's end.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from anyio import CancelScope

from mcp_server.concurrency import Steps

T = TypeVar("T")

_MOST_AHEAD = 4
"""Steps that are made and not yet done with."""


def ahead(
    steps: Steps[T], interrupt: Callable[[], None]
) -> AbstractAsyncContextManager[AsyncGenerator[list[T]]]:
    """Steps as they are made, those together that are there; closed, in their thread, however the
    block is left.

    Args:
        steps: Taken from the first on that is asked for.
        interrupt: Makes a step that is under way end soon; only `close` follows.
    """
    return aclosing(_Ahead(steps, interrupt).taken())


class _Ahead(Generic[T]):
    def __init__(self, steps: Steps[T], interrupt: Callable[[], None]) -> None:
        self._steps = steps
        self._interrupt = interrupt
        self._made: deque[T] = deque()
        self._failure: BaseException | None = None
        self._room = SimpleQueue[None]()
        """One for each step that may be made; this queue is of C, which a semaphore is not."""
        for _ in range(_MOST_AHEAD):
            self._room.put(None)
        self._is_left = self._has_ended = False
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def taken(self) -> AsyncGenerator[list[T]]:
        """The steps, until the last one or an error, which is raised."""
        threading.Thread(target=self._make, name="steps", daemon=True).start()
        try:
            while not self._has_ended or self._made:
                await self._told()
                if steps := [self._made.popleft() for _ in range(len(self._made))]:
                    yield steps
                    for _ in steps:
                        self._room.put(None)
        finally:
            await self._left()
        if self._failure is not None:
            raise self._failure

    async def _left(self) -> None:
        """Ends the thread, and waits for its end."""
        self._is_left = True
        self._room.put(None)
        if not self._has_ended:
            self._interrupt()
        with CancelScope(shield=True):
            while not self._has_ended:
                await self._told()

    async def _told(self) -> None:
        await self._news.wait()
        self._news.clear()

    def _make(self) -> None:
        try:
            try:
                self._make_all()
            finally:
                self._steps.close()
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the steps are taken.
            self._failure = error
        self._has_ended = True
        self._tell()

    def _make_all(self) -> None:
        self._room.get()
        while not self._is_left:
            self._made.append(self._steps.__next__())
            self._tell()
            self._room.get()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # The loop has been closed: nobody waits.
            self._loop.call_soon_threadsafe(self._news.set)
