"""Wire: uvicorn's HTTP/1.1 over h11, which refuses what is no HTTP in the words of all refusals."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mcp_server.http import logs
from mcp_server.http.failures import Refused, error_result

ABORT = "abort"
"""In the state of a request's scope: breaks its connection off, whatever is still to be sent."""

_NO_HTTP = Refused("That is no HTTP/1.1 request, or its head is too large.", code="invalid_http")


class Wire(H11Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort}

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, and hangs up: what is done for it is done for nobody."""
        if self.cycle:
            self.cycle.disconnected = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = error_result(_NO_HTTP).model_dump_json().encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("x-request-id", logs.request_id()),
                ("connection", "close"),
            ]
            head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
