"""Gateway: what the tools share while the server runs; and its start and stop.

Models load in the background, so that a host's handshake never waits for one. A call that needs
a model waits for it here, telling its caller so.
"""

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anyio import CapacityLimiter, create_task_group, sleep
from mcp.server.mcpserver.context import Context

from engine.engine import Engine
from engine.errors import EngineError
from engine.residency import Closable, Resident
from mcp_server import concurrency
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=Closable)

_PARENT_CHECK_SECONDS = 2


@dataclass(frozen=True)
class Gateway:
    """The engine and its queues, each served in order of arrival."""

    engine: Engine
    settings: Settings
    index_queue: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    """For one step of the embedder or the index: others get their turn between two steps."""
    answer_queue: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    """For a whole answer: a decoder writes one at a time."""
    decode_queue: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    """For one step of an answer."""

    async def loaded(self, place: Resident[ModelT], context: Context[Any, Any]) -> ModelT:
        """The model of a place, waited for with a progress message a second.

        Raises:
            EngineError: It cannot be loaded; the sentence says what mends it.
        """
        model = place.loaded()
        if model is not None:
            return model

        async def tell(seconds: int) -> None:
            await context.report_progress(
                _waiting_progress(seconds), None, f"Waiting for the {place.name}: {place.activity}"
            )

        return await concurrency.run_with_beats(place.get, tell)


def _waiting_progress(seconds: int) -> float:
    """Rises for ever and stays below any progress of the work that is waited for."""
    return 0.001 * (1 - 1 / (seconds + 2))


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncGenerator[Gateway]:
    """Loads models while the server answers; stops loading when it ends."""
    async with create_task_group() as tasks:
        tasks.start_soon(_load, gateway)
        yield gateway
        tasks.cancel_scope.cancel()


async def _load(gateway: Gateway) -> None:
    for place in (gateway.engine.embedder, gateway.engine.decoder):
        try:
            await concurrency.run_abandonable(place.get)
        except EngineError as error:
            logger.warning("The %s is not available: %s", place.name, error)
        except Exception:
            logger.exception("Loading the %s failed", place.name)


async def parent_gone() -> None:
    """Returns when the process that started this one has ended (POSIX)."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells a process of its parent.s end.
        await sleep(_PARENT_CHECK_SECONDS)
