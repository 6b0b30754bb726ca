"""Task: one call that may go on after its request was answered, and what is told of it.

Knows the shapes of the protocol; knows neither transports nor other tasks.
Rule: a task lives for an hour from the last time it was asked for, working or not, and for ten
minutes once its end was told. What is left is in `ttlMs`, which counts from its creation; a task
that nobody asks for is cancelled in the end.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal

from anyio import CancelScope, Event
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, ErrorData
from pydantic import BaseModel

from mcp_server.asking import Asker

logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Seconds, never going back."""

Status = Literal["working", "completed", "cancelled", "failed"]

KEPT_SECONDS, KEPT_TOLD_SECONDS = 3_600.0, 600.0
"""From the last time it was asked for: until its end was told, and then."""

_ID_BYTES = 16
"""128 random bits: over HTTP without keys, whoever knows the id may ask for the task."""

_POLL_SHARE, _POLL_SHORTEST, _POLL_LONGEST = 0.1, 0.5, 10.0
"""Between two questions: this share of the task's age, within so many seconds."""


class Task:
    """One call."""

    def __init__(self, asker: Asker, clock: Clock = time.monotonic) -> None:
        self.id = secrets.token_hex(_ID_BYTES)
        self.caller = asker.name
        self.is_told = False
        """Whether its client knows that it is a task."""
        self.ended = Event()
        self._asker = asker
        asker.stay()
        self._scope = CancelScope()
        self._status: Status = "working"
        self._message = ""
        self._result: HandlerResult = None
        self._error: ErrorData | None = None
        self._kept_seconds = KEPT_SECONDS
        self._clock = clock
        self._began = self._seen = clock()
        self._created = self._updated = datetime.now(UTC)

    async def run(self, call: Callable[["Task"], Awaitable[HandlerResult]]) -> None:
        """Makes the call, and takes note of how it ended."""
        try:
            with self._scope:
                self._result = await call(self)
                self._end("completed")
        except MCPError as error:
            self._fail(error.error)
        except Exception:
            logger.exception("A call that may become a task failed")
            self._fail(ErrorData(code=INTERNAL_ERROR, message="Internal server error"))
        finally:
            if self._status == "working":
                self._end("cancelled", "Cancelled before it was done.")
            self._asker.settle()
            self.ended.set()

    def tell(self, message: str) -> None:
        """Takes note of how far it is."""
        self._message = message
        self._updated = datetime.now(UTC)

    def cancel(self) -> None:
        """Ends it after its running step; does nothing to one that has ended."""
        self._scope.cancel()

    def outcome(self) -> HandlerResult:
        """What the call returned, once it has ended.

        Raises:
            MCPError: It failed, or was cancelled.
        """
        if self._error is not None:
            raise MCPError.from_error_data(self._error)
        if self._status == "cancelled":
            raise MCPError(INTERNAL_ERROR, self._message)
        return self._result

    @property
    def is_forgotten(self) -> bool:
        """Whether nobody has asked for it for so long that nobody may any more."""
        return self._clock() - self._seen >= self._kept_seconds

    @property
    def poll_seconds(self) -> float:
        """After which to ask again; to ask is a request like any other, where those are limited."""
        share = _POLL_SHARE * (self._clock() - self._began)
        return max(min(max(share, _POLL_SHORTEST), _POLL_LONGEST), self._asker.pause)

    def summary(self) -> dict[str, Any]:
        """The protocol's `Task`; to be called when its client asks."""
        self._seen = self._clock()
        told: dict[str, Any] = {
            "taskId": self.id,
            "status": self._status,
            "createdAt": _written(self._created),
            "lastUpdatedAt": _written(self._updated),
            "ttlMs": round((self._seen - self._began + self._kept_seconds) * 1000),
        }
        if self._message:
            told["statusMessage"] = self._message
        if self._status == "working":
            told["pollIntervalMs"] = round(self.poll_seconds * 1000)
        return told

    def details(self) -> dict[str, Any]:
        """The protocol's `DetailedTask`: with the result, or the error, once there is one."""
        if self._status != "working":
            self._kept_seconds = KEPT_TOLD_SECONDS
        told = self.summary()
        if self._status == "completed":
            told["result"] = _dumped(self._result)
        elif self._error is not None:
            told["error"] = _dumped(self._error)
        return told

    def _fail(self, error: ErrorData) -> None:
        self._error = error
        self._end("failed", error.message)

    def _end(self, status: Status, message: str = "") -> None:
        self._status = status
        self.tell(message)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dumped(result: HandlerResult) -> dict[str, Any]:
    if isinstance(result, BaseModel):
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return result or {}
