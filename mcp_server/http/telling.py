"""Telling: what is counted, logged and traced of each request, once it is over.

Knows when a request came and what became of it; nothing of what it was about.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from mcp_server.http import logs
from mcp_server.http.answer import Answer
from mcp_server.http.call import Visit
from mcp_server.http.doors import Door
from mcp_server.http.tracing import NO_TRACING, Tracing
from mcp_server.measures import METHODS, NOBODY, Answered, Arrived, Cancelled, Measures

LEFT = 499
"""The status, in logs and metrics, of what nobody waited for."""

_OTHER = "other"


@dataclass(slots=True)
class Account:
    """What is known of a request while it is served."""

    door: Door
    answer: Answer
    visit: Visit | None = None
    """None: it was not let in."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Whoever is told."""

    measures: Measures = NOBODY
    tracing: Tracing = field(default=NO_TRACING)

    @contextmanager
    def of(self, scope: Scope, account: Account) -> Generator[Account]:
        """Tells of the request that is served within the block."""
        headers, began = Headers(scope=scope), time.perf_counter()
        self.measures.record(Arrived())
        with self.tracing.span(scope["method"], account.door.path, headers) as span:
            try:
                yield account
            finally:
                seconds = time.perf_counter() - began
                line = _line(scope, account, headers, seconds)
                span.answered(line.status, line.prompt_tokens, line.completion_tokens)
                if account.visit is not None and account.visit.operation:
                    span.asked(account.visit.operation, account.visit.model)
                self.measures.record(Answered(line.route, line.method, line.status, seconds))
                self._tell_end(account.answer)
                logs.log(line)

    def _tell_end(self, answer: Answer) -> None:
        """Counts a stream that ended too early."""
        if answer.is_stream and not answer.is_whole:
            ended = "draining" if answer.work.cancel_called else "disconnected"
            self.measures.record(Cancelled("slow_reader" if answer.has_stalled else ended))


def _line(scope: Scope, account: Account, headers: Headers, seconds: float) -> logs.RequestLine:
    visit = account.visit
    return logs.RequestLine(
        request_id=account.answer.request_id,
        method=scope["method"] if scope["method"] in METHODS else _OTHER,
        route=account.door.name,
        status=account.answer.status or LEFT,
        milliseconds=1000 * seconds,
        key=visit.caller.key_id if visit else "",
        client_request_id=logs.client_request_id(headers.get("x-client-request-id")),
        prompt_tokens=visit.spent.prompt_tokens if visit else 0,
        completion_tokens=visit.spent.completion_tokens if visit else 0,
    )
