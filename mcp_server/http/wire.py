"""Wire: uvicorn's HTTP/1.1 over h11, which refuses what is no HTTP in the words of all refusals.

Rule: whoever has begun a request ends it in a minute, head and body, and whoever connects begins
one; uvicorn 0.54 waits for either without end.
"""

import asyncio
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mcp_server.http import logs
from mcp_server.http.failures import Kind, Refused, error_result

ABORT = "abort"
"""In the state of a request's scope: breaks its connection off, whatever is still to be sent."""

REQUEST_SECONDS = 60.0
"""From the first byte of a request to its last: 4 MiB at 0.6 Mbit/s."""

_NO_HTTP = Refused("That is no HTTP/1.1 request, or its head is too large.", code="invalid_http")

_TOO_SLOW = Refused(
    "The request did not come whole in time; send all of it at once.",
    kind=Kind(408, "invalid_request_error", "request_timeout"),
)


class Wire(H11Protocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None
    """Of the request that is coming."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort}
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._forget_deadline()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Called once an answer is whole; the next request may have begun to come."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, and hangs up."""
        self._hang_up(_NO_HTTP)

    def _watch(self) -> None:
        """Sees to the deadline of a request of which a part has come."""
        if self.transport.is_closing() or not self._is_coming():
            self._forget_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._too_slow)

    def _is_coming(self) -> bool:
        if self.conn.their_state is h11.IDLE:
            return bool(self.conn.trailing_data[0])
        return self.conn.their_state is h11.SEND_BODY

    def _too_slow(self) -> None:
        """Hangs up; after an answer that has begun, which waits for nothing more of its request."""
        self._deadline = None
        if self.conn.our_state is h11.SEND_BODY:
            self.cycle.keep_alive = False
        else:
            self._hang_up(_TOO_SLOW)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self, refused: Refused) -> None:
        """Refuses, if nothing is answered yet; what is done for the caller is done for nobody."""
        if self.cycle:
            self.cycle.disconnected = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = error_result(refused).model_dump_json().encode()
            status = refused.kind.status
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("x-request-id", logs.request_id()),
                ("connection", "close"),
            ]
            head = h11.Response(
                status_code=status, headers=headers, reason=HTTPStatus(status).phrase
            )
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
