"""Messages to and from the host, as the SDK's server takes them, over two descriptors.

In place of the SDK's own transport, which waits for ever for a host that does not read, and drops
what it does not understand. Rules: the end of stdin is noticed whatever stdout does; a host that no
longer reads, or writes, is gone; what cannot be written costs its own answer alone.
"""

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO

from anyio import (
    BrokenResourceError,
    CapacityLimiter,
    ClosedResourceError,
    Event,
    WouldBlock,
    create_memory_object_stream,
    create_task_group,
    move_on_after,
    to_thread,
)
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
)

from mcp_server.launcher import lines
from mcp_server.launcher.start import Start

logger = logging.getLogger(__name__)

_WAITING_MESSAGES = 64
"""To the host, until whoever has more of them waits for it to read."""

_LAST_ANSWERS_SECONDS = 0.3
"""After the end of stdin, for answers to what came right before it, as from a file of requests."""

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


class _Owed:
    """Requests without an answer."""

    def __init__(self) -> None:
        self._ids: set[int | str | None] = set()
        self.paid = Event()
        self.paid.set()

    def add(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._ids.add(message.id)
            self.paid = Event()

    def remove(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._ids.discard(message.id)
            if not self._ids:
                self.paid.set()


@asynccontextmanager
async def opened(
    start: Start, ended: Callable[[], None], gone: Callable[[], None]
) -> AsyncGenerator[tuple[Incoming, Outgoing]]:
    """The host's messages and the way to it.

    Args:
        start: The pipes, which stay open.
        ended: Called once nothing more will come.
        gone: Called once nothing can be written any more.
    """
    to_server, incoming = create_memory_object_stream[SessionMessage | Exception]()
    outgoing, from_server = create_memory_object_stream[SessionMessage](_WAITING_MESSAGES)
    owed, written = _Owed(), Event()
    stdin = os.fdopen(start.reading, "rb", closefd=False)

    async def write() -> None:
        await _write(start.writing, from_server, owed, gone)
        written.set()

    async with create_task_group() as tasks:
        tasks.start_soon(_read, stdin, to_server, outgoing.clone(), owed, ended)
        tasks.start_soon(write)
        async with incoming, outgoing:
            yield incoming, outgoing
        with move_on_after(_LAST_ANSWERS_SECONDS):
            await written.wait()
        tasks.cancel_scope.cancel()


async def _read(
    stdin: BinaryIO,
    to_server: MemoryObjectSendStream[SessionMessage | Exception],
    refusals: Outgoing,
    owed: _Owed,
    ended: Callable[[], None],
) -> None:
    thread = CapacityLimiter(1)
    async with to_server, refusals:
        while not isinstance(message := await _next(stdin, thread), _End):
            if isinstance(message, lines.Refused):
                _say(refusals, message.answer)
            elif message is not None:
                owed.add(message)
                await to_server.send(SessionMessage(message))
        ended()
        with move_on_after(_LAST_ANSWERS_SECONDS):
            await owed.paid.wait()


class _End:
    """Marks the end of stdin."""


async def _next(
    stdin: BinaryIO, thread: CapacityLimiter
) -> JSONRPCMessage | lines.Refused | _End | None:
    def read() -> JSONRPCMessage | lines.Refused | _End | None:
        try:
            line = lines.read_line(stdin)
        except OSError as error:
            logger.warning("stdin cannot be read (%s); ending.", error)
            return _End()
        return lines.understood(line) if line else _End()

    return await to_thread.run_sync(read, abandon_on_cancel=True, limiter=thread)


def _say(refusals: Outgoing, answer: JSONRPCError) -> None:
    """Says why a line was refused, to a host that reads: nobody waits for that."""
    logger.info("A line was refused: %s", answer.error.message)
    try:
        refusals.send_nowait(SessionMessage(answer))
    except (WouldBlock, BrokenResourceError, ClosedResourceError):
        logger.warning("The host does not read; it is not told that a line was refused.")


async def _write(
    descriptor: int,
    from_server: MemoryObjectReceiveStream[SessionMessage],
    owed: _Owed,
    gone: Callable[[], None],
) -> None:
    thread = CapacityLimiter(1)
    async with from_server:
        async for each in from_server:
            message = each.message
            try:
                await to_thread.run_sync(
                    _write_line, descriptor, message, abandon_on_cancel=True, limiter=thread
                )
            except OSError as error:
                logger.warning("stdout cannot be written (%s); ending.", error)
                gone()
                return
            owed.remove(message)


def _write_line(descriptor: int, message: JSONRPCMessage) -> None:
    rest = memoryview(_line(message))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _line(message: JSONRPCMessage) -> bytes:
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:
        logger.exception("An answer cannot be written as JSON")
    if not isinstance(message, JSONRPCResponse | JSONRPCError):
        return b""
    error = ErrorData(code=INTERNAL_ERROR, message="The answer holds what JSON cannot say.")
    refused = JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
    return refused.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
