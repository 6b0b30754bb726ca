"""Serves over stdin and stdout; keeps all else off them; ends when its host does.

stdout belongs to JSON-RPC from the first line to the last: the SDK moves file descriptor 1 to
stderr while it serves, and nothing is printed before. The process ends at the end of stdin, at a
signal, or when its parent is gone, whatever a worker thread is doing: a running native call cannot
be interrupted, and the index survives any end.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import anyio
from anyio import create_task_group, sleep

from engine.engine import Engine
from mcp_server import server
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)

_CLOSING_SECONDS = 1.0
"""How long models and index together may take to close before the process ends anyway."""

_PARENT_CHECK_SECONDS = 2


def serve(engine: Engine, settings: Settings) -> None:
    """Serves until the host leaves; does not return, the process ends here."""
    _end_on_signals(lambda code: _end(engine, code))
    try:
        anyio.run(_serve, engine, settings)
    except BaseException:
        logger.exception("The server stopped")
        _end(engine, 1)
    _end(engine, 0)


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
    _end(engine, 0)


def _end_on_signals(end: Callable[[int], None]) -> None:
    def ended(number: int, _: FrameType | None) -> None:
        end(0 if number == signal.SIGTERM else 128 + number)

    for name in ("SIGTERM", "SIGINT", "SIGBREAK", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ended)


def _end(engine: Engine, code: int) -> None:
    """Closes what closes quickly, then ends the process without waiting for worker threads.

    A signal may come while the very thread that serves it holds what closing waits for.
    """
    closing = threading.Thread(target=engine.close, args=[_CLOSING_SECONDS], daemon=True)
    closing.start()
    closing.join(_CLOSING_SECONDS)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
