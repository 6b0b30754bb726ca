"""Answer: the way back to one caller; the head of every answer is completed here.

Rule: whoever takes nothing of what is sent for half a minute has left: the work for them ends, and
their connection with it.
"""

import asyncio
import math
import time
from collections.abc import Callable

from anyio import CancelScope, move_on_after
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from mcp_server.http import logs

STALLED_SECONDS = 30.0
"""For which a caller may take nothing of what is sent."""


class Answer:
    """Sends what a caller is answered; to be called as ASGI's `send`."""

    def __init__(self, send: Send, stalled_seconds: float = STALLED_SECONDS) -> None:
        """
        Args:
            send: To whom.
            stalled_seconds: After which one who takes nothing has left.
        """
        self.request_id = logs.request_id()
        self.headers: list[tuple[str, str]] = []
        """For its head, beside its own."""
        self.latest: Callable[[], dict[str, str]] = dict
        """Further headers, as they are when it begins."""
        self.work = CancelScope()
        """What is done for it; cancelled when its taker has left, or when the server ends."""
        self.status = 0
        """0: it has not begun."""
        self.is_stream = False
        """Its length was not said at the beginning."""
        self.is_whole = False
        self.has_stalled = False
        """Whoever was to take it did not."""
        self._send = send
        self._stalled_seconds = stalled_seconds
        self._sending_since = math.inf
        """Of a message of many; infinite between them."""
        self._is_watched = False

    async def __call__(self, message: Message) -> None:
        if message.get("more_body"):
            await self._one_of_many(message)
            return
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body":
            self.is_whole = True
        with move_on_after(self._stalled_seconds) as waiting:
            await self._send(message)
        if waiting.cancelled_caught:
            self.has_stalled = True
            self.work.cancel()

    async def break_off(self) -> None:
        """Ends an answer in the middle, as far as its head allows."""
        if self.is_stream and not self.is_whole:
            await self({"type": "http.response.body", "body": b"", "more_body": False})

    async def _one_of_many(self, message: Message) -> None:
        """Sends a part of a stream, which costs less with a look now and then than with a limit
        for each."""
        self._sending_since = min(time.monotonic(), self._sending_since)
        if not self._is_watched:
            self._look_in(self._stalled_seconds)
        try:
            await self._send(message)
        finally:
            self._sending_since = math.inf

    def _look_in(self, seconds: float) -> None:
        self._is_watched = True
        asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Leaves one who has taken nothing for long; looks again while something is sent."""
        self._is_watched = False
        left = self._sending_since + self._stalled_seconds - time.monotonic()
        if left <= 0:
            self.has_stalled = True
            self.work.cancel()
        elif self._sending_since < math.inf:
            self._look_in(left)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        head = MutableHeaders(raw=list(message.get("headers", [])))
        for name, value in (*self.headers, *self.latest().items()):
            head[name] = value
        head["x-request-id"] = self.request_id
        head["x-content-type-options"] = "nosniff"
        head["cross-origin-resource-policy"] = "same-origin"
        self.is_stream = "content-length" not in head
        message["headers"] = head.raw
