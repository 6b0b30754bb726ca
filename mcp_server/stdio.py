"""Serves over stdin and stdout; keeps all else off them; ends when its host does.

The process ends at the end of stdin, when nobody reads stdout, at a signal, or when the host or a
program between has ended, whatever a worker thread is doing and whether the host reads or not.
"""

import logging
import os
import signal
import threading
from types import FrameType

import anyio
from anyio import create_task_group, sleep

from engine.engine import Engine
from mcp_server import ending, server
from mcp_server.launcher import ancestry, start, streams
from mcp_server.launcher.start import Start
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)

_PARENT_CHECK_SECONDS = 2

_END_SECONDS = 1.0
"""After the end of stdin, for everything but closing; then the process ends, whatever hangs."""


def serve(engine: Engine, settings: Settings) -> None:
    """Serves until the host leaves; does not return, the process ends here."""
    given = start.taken()
    _end_on_signals(engine)
    if os.isatty(given.reading):
        logger.warning("Speaking MCP with this terminal, as agent hosts do; Ctrl-C ends it.")
    try:
        anyio.run(_serve, engine, settings, given)
    except BaseException:
        logger.exception("The server stopped")
        ending.end(engine, 1)
    ending.end(engine, 0)


async def _serve(engine: Engine, settings: Settings, given: Start) -> None:
    # MCPServer itself takes no streams but the SDK's own; the official client does the same.
    built = server.build(engine, settings)._lowlevel_server  # pyright: ignore[reportPrivateUsage]
    late = threading.Timer(_END_SECONDS, ending.end, [engine, 0])
    late.daemon = True
    async with create_task_group() as tasks:
        tasks.start_soon(_end_with_host, engine, given)
        async with streams.opened(given, late.start, lambda: ending.end(engine, 0)) as (
            incoming,
            outgoing,
        ):
            await built.run(incoming, outgoing, built.create_initialization_options())
        tasks.cancel_scope.cancel()


async def _end_with_host(engine: Engine, given: Start) -> None:
    """Ends the process when one of those through whom it was started has ended."""
    are_there = ancestry.watch(given)
    while are_there():  # noqa: ASYNC110 - nothing tells a process of another's end.
        await sleep(_PARENT_CHECK_SECONDS)
    logger.warning("The process that started this server is gone; ending.")
    ending.end(engine, 0)


def _end_on_signals(engine: Engine) -> None:
    def ended(number: int, _: FrameType | None) -> None:
        ending.end(engine, ending.status_of(number))

    for number in ending.heeded():
        signal.signal(number, ended)
