"""Loads models beside the conversation; all who wait for one share its load and the outcome.

Rule: whoever waits is told so each second, and a load that failed is begun again by the next call.
"""

import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from anyio import Event, move_on_after
from anyio.abc import TaskGroup

from engine.errors import EngineError, again
from engine.residency import Closable, Lease, Resident
from mcp_server import concurrency

logger = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=Closable)

Tell = Callable[[float, float | None, str | None], Awaitable[None]]
"""Tells a caller how far its call is: progress, its total if known, and words for people."""

_TELL_SECONDS = 1
"""How often a caller who waits for a model is told so."""


class Load(Generic[ModelT]):
    """One load under way, and the lease by which its model stays until all who wait have it."""

    def __init__(self) -> None:
        self.ended = Event()
        self.waiting = 0
        self.lease: Lease[ModelT] | None = None
        self.failure: EngineError | None = None

    def release(self) -> None:
        """To be called whenever it may have become true that it ended and nobody waits."""
        if self.lease is not None and self.ended.is_set() and not self.waiting:
            self.lease.release()


class Loading:
    """The loads under way."""

    def __init__(self) -> None:
        self.tasks: TaskGroup | None = None
        """Where loads run; set before the first of them."""
        self._loads: dict[str, Load[Any]] = {}

    @asynccontextmanager
    async def model(self, place: Resident[ModelT], tell: Tell) -> AsyncGenerator[ModelT]:
        """The model of a place, to be used within the block; a caller who waits is told so each
        second.

        Raises:
            EngineError: It cannot be loaded; the sentence says what mends it.
        """
        lease = place.lease_loaded()
        while lease is None:
            lease = await self._waited_for(place, tell)
        with lease as model:
            yield model

    def begin(self, place: Resident[Any]) -> Load[Any]:
        """Begins a load unless one is under way."""
        assert self.tasks is not None
        if place.name not in self._loads:
            self._loads[place.name] = Load()
            self.tasks.start_soon(self._lease, place, self._loads[place.name])
        return self._loads[place.name]

    async def _lease(self, place: Resident[Any], load: Load[Any]) -> None:
        try:
            load.lease = await concurrency.run_abandonable(place.lease)
        except EngineError as error:
            load.failure = error
            logger.warning("The %s is not available: %s", place.name, error)
        except Exception:
            load.failure = place.failure
            logger.exception("Loading the %s failed", place.name)
        finally:
            del self._loads[place.name]
            load.ended.set()
            load.release()

    async def _waited_for(self, place: Resident[ModelT], tell: Tell) -> Lease[ModelT] | None:
        load: Load[ModelT] = self.begin(place)
        load.waiting += 1
        try:
            for seconds in itertools.count():
                message = f"Waiting for the {place.name}: {place.activity}"
                await tell(_waiting_progress(seconds), None, message)
                with move_on_after(_TELL_SECONDS):
                    await load.ended.wait()
                    break
            if load.failure is not None:
                raise again(load.failure)
            return place.lease_loaded()
        finally:
            load.waiting -= 1
            load.release()


async def untold(progress: float, total: float | None, message: str | None) -> None:
    """For callers who are told nothing before their answer."""


def _waiting_progress(seconds: int) -> float:
    """Rises for ever and stays below any progress of the work that is waited for."""
    return 0.001 * (1 - 1 / (seconds + 2))
