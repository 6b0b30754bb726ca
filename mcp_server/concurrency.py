"""The one file where the event loop meets the blocking engine.

Every engine call runs in a worker thread. What must not run twice at once goes through a `Queue`,
what may run a few times at once through an `Admission`, which serves callers in turns. A stream is
advanced step by step, so a cancelled caller stops it between two steps and others get their turn
in between.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from anyio import (
    CancelScope,
    CapacityLimiter,
    Event,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    to_thread,
)

from engine.errors import Overloaded
from mcp_server.turns import Turns

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


_HURRY_SECONDS = 0.01

_SHORTEST_RETRY, _LONGEST_RETRY = 1.0, 30.0
"""Seconds after which a refused call is told to come back: far below the two minutes from which on
the official Python client of OpenAI gives up instead."""


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
        async with self._limiter:
            work = _Work(call)
            try:
                return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._thread)
            except get_cancelled_exc_class():
                with CancelScope(shield=True):
                    await self._hurried(work)
                raise

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

    async def _hurried(self, work: "_Work[Any]") -> None:
        """Waits until a call is over whose caller is cancelled."""
        while work.is_under_way():
            self._hurry()
            await sleep(_HURRY_SECONDS)


class _Work(Generic[T]):
    """A call that a thread may have begun, or may never begin."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call: Callable[[], T] | None = call
        self._lock = Lock()
        self._is_under_way = False

    def __call__(self) -> T:
        with self._lock:
            call, self._is_under_way = self._call, True
        try:
            if call is None:
                raise RuntimeError("Nobody waits for this call any more.")
            return call()
        finally:
            self._is_under_way = False

    def is_under_way(self) -> bool:
        """Whether a thread is at it; if none has begun it, none will."""
        with self._lock:
            self._call = None
            return self._is_under_way


class _Ticket:
    """One call on its way to a slot."""

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.has_slot = self.is_refused = False
        self.called = Event()


class Admission:
    """So many calls at once, so many more in line; what is too much is refused.

    Callers in line are served in turns, see `Turns`, and wait no longer than they are told to.
    """

    def __init__(
        self,
        slots: int,
        waiting: int,
        refusal: str,
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            slots: Calls at once.
            waiting: Calls in line, at most.
            refusal: What a call is told that is too much.
            patience: Seconds that a call is in line, at most.
            clock: Seconds, never going back.
        """
        self._free = self._slots = slots
        self._most_waiting = waiting
        self._refusal = refusal
        self._patience = patience
        self._clock = clock
        self._turns: Turns[_Ticket] = Turns()
        self._held_seconds = 0.0

    @property
    def waiting(self) -> int:
        """Calls in line now; may be read from any thread."""
        return self._turns.waiting

    @property
    def working(self) -> int:
        """Calls that hold a slot now; may be read from any thread."""
        return self._slots - self._free

    @asynccontextmanager
    async def slot(self, caller: str = "") -> AsyncGenerator[None]:
        """Holds a slot within the block.

        Args:
            caller: Whose call it is; each caller has turns of its own.

        Raises:
            Overloaded: The line is full and no other caller has more calls here, one who has
                fewer came while it was full, or it was not this call's turn in time.
        """
        ticket = _Ticket(caller)
        try:
            await self._wait(ticket)
            began = self._clock()
            yield
            self._held(self._clock() - began)
        finally:
            self._give_back(ticket)

    async def run(self, call: Callable[[], T], caller: str = "") -> T:
        """Runs a call in a thread of its own, which holds a slot until it ends.

        A cancelled caller leaves at once, and the slot is free when the thread has ended by itself.

        Args:
            call: Blocks, and changes nothing.
            caller: As for `slot`.

        Raises:
            Overloaded: As for `slot`.
        """
        ticket, loop = _Ticket(caller), asyncio.get_running_loop()

        def held() -> T:
            try:
                return call()
            finally:
                with suppress(RuntimeError):  # The loop has been closed: nobody is in line.
                    loop.call_soon_threadsafe(self._give_back, ticket)

        work = _Work(held)
        try:
            await self._wait(ticket)
            began = self._clock()
            found = await run_abandonable(work)
            self._held(self._clock() - began)
            return found
        finally:
            if not work.is_under_way():
                self._give_back(ticket)

    def _give_back(self, ticket: _Ticket) -> None:
        if ticket.has_slot:
            ticket.has_slot = False
            self._free += 1
            self._turns.done(ticket.caller)
            self._serve()

    async def _wait(self, ticket: _Ticket) -> None:
        self._turns.join(ticket.caller, ticket)
        self._serve()
        if self.waiting > self._most_waiting:
            too_much = self._turns.shorten(ticket.caller)
            too_much.is_refused = True
            too_much.called.set()
        try:
            with move_on_after(self._patience):
                await ticket.called.wait()
        finally:
            if not ticket.called.is_set():
                self._turns.leave(ticket.caller, ticket)
        if ticket.is_refused:
            raise Overloaded(self._refusal, self._retry_after())
        if not ticket.has_slot:
            raise Overloaded(
                f"It was not this call's turn within {self._patience:.0f} s, so many others are "
                "being served: call again later.",
                self._retry_after(),
            )

    def _serve(self) -> None:
        while self._free and self.waiting:
            self._free -= 1
            ticket = self._turns.next()
            ticket.has_slot = True
            ticket.called.set()

    def _held(self, seconds: float) -> None:
        """Learns how long a slot is held: a mean in which the latest call weighs a fifth."""
        weight = 0.2 if self._held_seconds else 1.0
        self._held_seconds += weight * (seconds - self._held_seconds)

    def _retry_after(self) -> float:
        """Seconds until about half of those in line will have been served."""
        ahead = (self.waiting + 1) / 2 / self._slots * self._held_seconds
        return min(max(ahead, _SHORTEST_RETRY), _LONGEST_RETRY)


async def run_abandonable(call: Callable[[], T]) -> T:
    """Runs a call whose caller may leave: its thread, which is its own, then ends by itself."""
    return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=CapacityLimiter(1))


def _next(steps: Steps[T]) -> T | _End:
    try:
        return steps.__next__()
    except StopIteration:
        return _END
