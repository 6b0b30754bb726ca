"""The HTTP application: MCP and OpenAI-compatible routes over one gateway.

Knows which routes there are, what each asks of whoever comes, and what keeps them alive; knows
nothing of sockets.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine import __version__
from engine.engine import Engine
from mcp_server import concurrency, server
from mcp_server.http import mcp_route, openapi, probes, scraping, status_page
from mcp_server.http.credentials import Callers
from mcp_server.http.dispatch import Dispatch
from mcp_server.http.doors import Door, Doors
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Kind, Refused, error_response
from mcp_server.http.guard import Guard, Rules
from mcp_server.http.hosts import Hosts
from mcp_server.http.mcp_route import Mcp
from mcp_server.http.metrics import Metrics
from mcp_server.http.openai import (
    chat_completions,
    completions,
    embeddings,
    models,
    tokenize,
    vector_stores,
)
from mcp_server.http.openai.responses import routes as responses
from mcp_server.http.origins import Origins
from mcp_server.http.rates import Rates
from mcp_server.http.telling import Telling
from mcp_server.http.tracing import NO_TRACING, Tracing
from mcp_server.keys import Keys, Scope
from mcp_server.lifespan import Gateway
from mcp_server.settings import Settings
from mcp_server.warming import warm_up

_DOCUMENTED: Endpoints = (
    *status_page.endpoints(),
    *scraping.endpoints(),
    *models.endpoints(),
    *chat_completions.endpoints(),
    *completions.endpoints(),
    *embeddings.endpoints(),
    *vector_stores.endpoints(),
    *tokenize.endpoints(),
    *probes.endpoints(),
    *responses.endpoints(),
)

ENDPOINTS: Endpoints = (*_DOCUMENTED, *openapi.endpoints(_DOCUMENTED, __version__))
"""The route table."""

_UNKNOWN = Kind(404, "invalid_request_error", "unknown_url")
_METHOD = Kind(405, "invalid_request_error", "method_not_allowed")

_NAMES = [*(one.name for one in ENDPOINTS), "mcp"]

_MCP = Door(
    name="mcp",
    path="/mcp",
    scopes=frozenset({"infer", "search"}),
    is_endless=mcp_route.is_endless,
)


def counted(engine: Engine, settings: Settings) -> Gateway:
    """A gateway whose work is counted for this application."""
    looks = (*status_page.endpoints(), *scraping.endpoints(), *probes.endpoints())
    unlisted = [one.name for one in looks]
    return Gateway(engine, settings, Metrics(_NAMES, __version__, unlisted))


def build(gateway: Gateway, tracing: Tracing = NO_TRACING) -> Guard:
    """The application behind its guard; its lifespan keeps the gateway running.

    Args:
        gateway: That does what is asked for.
        tracing: Makes the spans of requests; closed in the end.
    """
    mcp = Mcp(gateway)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.running(gateway, warm_up), mcp.running():
            yield
        await concurrency.run_abandonable(tracing.close)

    rows = [*_rows(gateway), (Route("/mcp", mcp, methods=["GET", "POST"]), _MCP)]
    doors = Doors(rows)
    application = Starlette(
        routes=[route for route, _ in rows],
        lifespan=lifespan,
        exception_handlers={HTTPException: partial(_no_route, doors), Exception: _bug},
    )
    application.router.redirect_slashes = False
    return Guard(application, _rules(gateway, doors, tracing))


def _rows(gateway: Gateway) -> list[tuple[Route, Door]]:
    return [
        (Route(prefix + one.path, Dispatch(one, gateway), methods=[one.method]), _door(one))
        for one in ENDPOINTS
        for prefix in (("", "/v1") if one.is_versioned else ("",))
    ]


def _door(endpoint: Endpoint[Any]) -> Door:
    return Door(
        name=endpoint.name,
        path=endpoint.path,
        scopes=_needed(endpoint.scope),
        is_page=endpoint.is_page,
        advice=endpoint.advice,
    )


def _needed(scope: Scope | Literal["any"] | None) -> frozenset[Scope] | None:
    if scope is None:
        return None
    return frozenset() if scope == "any" else frozenset({scope})


def _rules(gateway: Gateway, doors: Doors, tracing: Tracing) -> Rules:
    settings = gateway.settings
    return Rules(
        doors=doors,
        hosts=Hosts([settings.host, *settings.allowed_host]),
        origins=Origins(settings.cors_origin),
        callers=Callers(Keys(settings.keys_file)),
        rates=Rates(settings.requests_per_minute, settings.tokens_per_minute),
        is_draining=lambda: gateway.is_draining,
        telling=Telling(gateway.measures, tracing),
    )


async def _no_route(doors: Doors, request: Request, error: Exception) -> Response:
    """Tells of a path or method that is not served."""
    if allowed := ", ".join(doors.methods(request.scope)):
        advice = doors.find(request.scope).advice
        sentence = f"That method is not taken here; use {allowed}. {advice}".rstrip()
        return error_response(Refused(sentence, kind=_METHOD, headers={"allow": allowed}))
    return error_response(Refused("There is no such route; see /v1/models.", kind=_UNKNOWN))


async def _bug(_: Request, error: Exception) -> Response:
    """Tells that something failed; the guard logs what."""
    return error_response(error)
