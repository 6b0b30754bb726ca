"""Serves over stdin and stdout; keeps all else off them; ends when its host does.

stdout belongs to JSON-RPC from the first line to the last: the SDK moves file descriptor 1 to
stderr while it serves, and nothing is printed before. The process ends at the end of stdin, at a
signal, or when its parent is gone, whatever a worker thread is doing.
"""

import logging
import os
import signal
from types import FrameType

import anyio
from anyio import create_task_group, sleep

from engine.engine import Engine
from mcp_server import ending, server
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)

_PARENT_CHECK_SECONDS = 2


def serve(engine: Engine, settings: Settings) -> None:
    """Serves until the host leaves; does not return, the process ends here."""
    _end_on_signals(engine)
    try:
        anyio.run(_serve, engine, settings)
    except BaseException:
        logger.exception("The server stopped")
        ending.end(engine, 1)
    ending.end(engine, 0)


async def _serve(engine: Engine, settings: Settings) -> None:
    built = server.build(engine, settings)
    async with create_task_group() as tasks:
        if os.name == "posix":
            tasks.start_soon(_end_with_parent, engine)
        await built.run_stdio_async()
        tasks.cancel_scope.cancel()


async def _end_with_parent(engine: Engine) -> None:
    """Ends the process when the one that started it has ended (POSIX)."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells a process of its parent's end.
        await sleep(_PARENT_CHECK_SECONDS)
    logger.warning("The process that started this server is gone; ending.")
    ending.end(engine, 0)


def _end_on_signals(engine: Engine) -> None:
    def ended(number: int, _: FrameType | None) -> None:
        ending.end(engine, ending.status_of(number))

    for number in ending.SIGNALS:
        signal.signal(number, ended)
