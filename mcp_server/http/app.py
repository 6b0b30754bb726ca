"""The HTTP application: MCP and OpenAI-compatible routes over one gateway.

Knows which routes there are and what keeps them alive; knows nothing of sockets, and lets in
whoever comes: the guard stands before it.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from engine import __version__
from mcp_server import server
from mcp_server.http import openapi
from mcp_server.http.call import EVERYONE, Visit
from mcp_server.http.dispatch import Dispatch
from mcp_server.http.endpoint import Endpoints
from mcp_server.http.failures import Kind, Refused, error_response
from mcp_server.http.openai import embeddings, models
from mcp_server.lifespan import Gateway

_DOCUMENTED: Endpoints = (
    *models.endpoints(),
    *embeddings.endpoints(),
)

ENDPOINTS: Endpoints = (*_DOCUMENTED, *openapi.endpoints(_DOCUMENTED, __version__))
"""The route table."""

_UNKNOWN = Kind(404, "invalid_request_error", "unknown_url")
_METHOD = Kind(405, "invalid_request_error", "method_not_allowed")


def build(gateway: Gateway) -> Starlette:
    """The application; its lifespan keeps the gateway running."""
    mcp = _Mcp(gateway)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.running(gateway), mcp.running():
            yield

    routes = [
        Route(prefix + one.path, Dispatch(one, gateway), methods=[one.method])
        for one in ENDPOINTS
        for prefix in (("", "/v1") if one.is_versioned else ("",))
    ]
    routes.append(Route("/mcp", mcp, methods=["GET", "POST", "DELETE"]))
    application = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _no_route}
    )
    application.router.redirect_slashes = False
    return application


class _Mcp:
    """The MCP server over HTTP: with all tools for those who may change the index, and without."""

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
        visit: Visit | None = scope.get("state", {}).get("visit")
        caller = visit.caller if visit else EVERYONE
        manager = self._everything if "admin" in caller.scopes else self._reading
        await manager.handle_request(scope, receive, send)


async def _no_route(request: Request, error: Exception) -> Response:
    """Tells of a path or method that is not served."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        sentence = f"{request.method} is not taken here; use {allowed}."
        return error_response(Refused(sentence, kind=_METHOD, headers={"allow": allowed}))
    return error_response(Refused("There is no such route; see /v1/models.", kind=_UNKNOWN))
