"""Gateway: what the tools share while the server runs; and its start and stop.

Models load in the background, so that a host's handshake never waits for one. A call that needs
a model waits for it here, telling its caller so; all who wait share one load and its outcome.
"""

import itertools
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter, Event, create_task_group, move_on_after
from anyio.abc import TaskGroup
from mcp.server.mcpserver.context import Context

from engine.engine import Engine
from engine.errors import EngineError
from engine.residency import Closable, Resident
from mcp_server import concurrency
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=Closable)

_TELL_SECONDS = 1
"""How often a caller who waits for a model is told so."""


class Gateway:
    """The engine and its queues, each served in order of arrival."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.index_queue = concurrency.Queue(engine.interrupt)
        """For one step of the embedder or the index: others get their turn between two steps."""
        self.index_runs = CapacityLimiter(1)
        """For a whole run of indexing: two at once would embed the same files."""
        self.answers = CapacityLimiter(1)
        """For a whole answer: a decoder writes one at a time."""
        self._loads: dict[str, Event] = {}
        self._tasks: TaskGroup | None = None

    async def loaded(self, place: Resident[ModelT], context: Context[Any, Any]) -> ModelT:
        """The model of a place, waited for with a progress message a second.

        Raises:
            EngineError: It cannot be loaded; the sentence says what mends it.
        """
        model = place.loaded()
        if model is not None:
            return model
        ended = self._load(place)
        for seconds in itertools.count():
            await context.report_progress(
                _waiting_progress(seconds), None, f"Waiting for the {place.name}: {place.activity}"
            )
            with move_on_after(_TELL_SECONDS):
                await ended.wait()
                break
        return place.result()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Gateway"]:
        """Loads models while the server answers; stops loading when it ends."""
        async with create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._load_all)
            yield self
            tasks.cancel_scope.cancel()

    async def _load_all(self) -> None:
        for place in (self.engine.embedder, self.engine.decoder):
            await self._load(place).wait()

    def _load(self, place: Resident[Any]) -> Event:
        """Begins a load unless one is under way; the event is set when it has ended."""
        assert self._tasks is not None
        if place.name not in self._loads:
            self._loads[place.name] = Event()
            self._tasks.start_soon(self._get, place)
        return self._loads[place.name]

    async def _get(self, place: Resident[Any]) -> None:
        try:
            await concurrency.run_abandonable(place.get)
        except EngineError as error:
            logger.warning("The %s is not available: %s", place.name, error)
        except Exception:
            logger.exception("Loading the %s failed", place.name)
        finally:
            self._loads.pop(place.name).set()


def _waiting_progress(seconds: int) -> float:
    """Rises for ever and stays below any progress of the work that is waited for."""
    return 0.001 * (1 - 1 / (seconds + 2))
