"""The route /mcp: the MCP server over HTTP, for each key with the tools it is for.

Knows the SDK's transport. Rule: a body is read here, as for all other routes, so that one which is
too large is refused in the same words, and one that never came whole is nobody's failure.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from mcp_server import server
from mcp_server.http import parsing
from mcp_server.http.call import Visit
from mcp_server.http.failures import Refused, error_response
from mcp_server.http.hosts import values_of
from mcp_server.lifespan import Gateway


def is_endless(scope: Scope) -> bool:
    """Whether a request opens a stream that does not end by itself, in either era's way."""
    return scope["method"] == "GET" or values_of(scope, b"mcp-method") == [_LISTEN]


_LISTEN = b"subscriptions/listen"


class Mcp:
    """An ASGI application: with all tools for those who may change the index, and without."""

    def __init__(self, gateway: Gateway) -> None:
        everything = server.build_over(gateway, read_only=gateway.settings.read_only)
        reading = server.build_over(gateway, read_only=True)
        for one in (everything, reading):
            # The guard has looked at Host and Origin already, by the same rules for all routes.
            one.streamable_http_app(
                stateless_http=True,
                transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            )
        self._everything, self._reading = everything.session_manager, reading.session_manager

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serves within the block."""
        async with AsyncExitStack() as held:
            for manager in (self._everything, self._reading):
                await held.enter_async_context(manager.run())
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit: Visit = scope["state"]["visit"]
        manager = self._everything if "admin" in visit.caller.scopes else self._reading
        try:
            if scope["method"] == "POST":
                receive = _from(await parsing.whole(Headers(scope=scope), receive), receive)
            await manager.handle_request(scope, receive, send)
        except parsing.Disconnected:
            return
        except Refused as error:
            await error_response(error)(scope, receive, send)


def _from(content: bytes, receive: Receive) -> Receive:
    """Gives a body that has been read, and then whatever comes."""
    read: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def given() -> Message:
        return read.pop() if read else await receive()

    return given
