"""EventStream: server-sent events as OpenAI's clients read them.

Knows bytes and time, and no family's frames. Rules: the status is sent with the first frame, so
that whatever fails before it gets a status of its own; a silence is broken by a comment, which
every client passes over; whoever does not read is left after a while.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from anyio import create_task_group, sleep
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PING_SECONDS = 5.0
"""Of silence, after which a comment is sent."""

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

Frames = AsyncGenerator[bytes]
"""Those together that come together; while they cannot be sent, no more are asked for."""


def frame(data: BaseModel | Mapping[str, Any], event: str = "") -> bytes:
    """One event with a JSON object, as bytes."""
    content = data.model_dump_json().encode() if isinstance(data, BaseModel) else to_json(data)
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + content + b"\n\n"


class EventStream(Response):
    """An answer that comes frame by frame."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, frames: Frames, background: BackgroundTask | None = None) -> None:
        """A stream that has not begun.

        Args:
            frames: Closed in the end; an error before the first is the answer's.
            background: Run once it has ended.
        """
        self.status_code = 200
        self.background = background
        self._frames = frames
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            first = await anext(frames)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _Sending(send).all(first, frames)
        if self.background is not None:
            await self.background()


class _Sending:
    """Frames over one connection, and pings where none is on its way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._last = time.monotonic()
        self._is_putting = False

    async def all(self, first: bytes, frames: Frames) -> None:
        """Sends everything, then ends the body, and raises what the frames raised."""
        failures: list[Exception] = []
        async with create_task_group() as tasks:
            tasks.start_soon(self._ping)
            await self._put(first)
            try:
                async for some in frames:
                    await self._put(some)
            except Exception as error:  # noqa: BLE001 - raised below, out of the group.
                failures.append(error)
            tasks.cancel_scope.cancel()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        for error in failures:
            raise error

    async def _put(self, content: bytes) -> None:
        self._is_putting = True
        await self._send({"type": "http.response.body", "body": content, "more_body": True})
        self._is_putting = False
        self._last = time.monotonic()

    async def _ping(self) -> None:
        while True:
            silence = time.monotonic() - self._last
            if silence >= PING_SECONDS and not self._is_putting:
                await self._put(PING)
            await sleep(max(PING_SECONDS - silence, 0.1))
