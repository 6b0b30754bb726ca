"""The routes that tell whether this server lives, is ready, and is well.

    /livez            that it answers; no work at all
    /readyz           503 until the models have been loaded and used once, and from the moment on
                      that no new work is taken; 200 and why, where something does in another way
    /health           the same in the words of llama.cpp's server, for its clients

Rule: /livez and /readyz are open to everyone, so they tell codes of a closed list, and no names.
Neither counts as a use of a model.
"""

from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from engine.errors import Unavailable
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import error_response
from mcp_server.http.openai.bodies import reply
from mcp_server.lifespan import Gateway, StillLoading, Stopping

_LOST = frozenset(
    {
        "quarantined",
        "versions-do-not-match",
        "library-broken",
        "bad-option",
        "no-device",
        "emulated",
    }
)
"""What an NPU that was asked for, or is there, may have come to; the CPU does its work."""


class Alive(BaseModel):
    """That the server answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether requests are served."""

    status: Literal["ok", "degraded", "loading", "stopping"]
    reasons: list[str]
    """Why it is degraded: embed-failed, generate-failed, embed-missing, generate-missing or npu-
    and a code of the tool status."""


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="livez",
            method="GET",
            path="/livez",
            scope=None,
            answer=_live,
            result=Alive,
            is_versioned=False,
        ),
        Endpoint(
            name="readyz",
            method="GET",
            path="/readyz",
            scope=None,
            answer=_ready,
            result=Readiness,
            is_versioned=False,
        ),
        Endpoint(
            name="health",
            method="GET",
            path="/health",
            scope="any",
            answer=_health,
            result=Alive,
        ),
    )


async def _live(_: Call[None]) -> Response:
    """Tells that the server answers."""
    return reply(Alive())


async def _ready(call: Call[None]) -> Response:
    """Tells whether requests are served, and with what in its place that has failed."""
    if obstacle := _obstacle(call.gateway):
        return error_response(obstacle)
    reasons = await call.gateway.read(lambda: degradations(call.gateway))
    return reply(Readiness(status="degraded" if reasons else "ok", reasons=reasons))


async def _health(call: Call[None]) -> Response:
    """Tells whether requests are served, as llama.cpp's server does."""
    if obstacle := _obstacle(call.gateway):
        return error_response(obstacle)
    return reply(Alive())


def _obstacle(gateway: Gateway) -> Unavailable | None:
    """Why no requests are served now."""
    if gateway.is_draining:
        return Stopping()
    return None if gateway.warm.is_set() else StillLoading()


def degradations(gateway: Gateway) -> list[str]:
    """What is not as it should be, as codes; blocks a little."""
    info = gateway.models_info()
    models = [
        f"{model.task}-{'missing' if not model.model else 'failed'}"
        for model in info.models
        if not model.model or model.state == "failed"
    ]
    npu = info.placement.npu
    is_wanted = info.placement.policy == "npu"
    is_lost = npu.code == "quarantined" or (is_wanted and npu.code in _LOST)
    return [*models, *([f"npu-{npu.code}"] if is_lost else [])]
