"""The route /metrics: what the server counts, for Prometheus."""

from starlette.responses import Response

from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.metrics import Metrics


def endpoints() -> Endpoints:
    """The route."""
    return (
        Endpoint(
            name="metrics",
            method="GET",
            path="/metrics",
            scope="admin",
            answer=_scrape,
            media_type="text/plain",
            is_versioned=False,
        ),
    )


async def _scrape(call: Call[None]) -> Response:
    """Counts and timings of the server, in Prometheus's text format."""
    gateway = call.gateway
    if not isinstance(gateway.measures, Metrics):
        raise Refused("This server counts nothing.", code="unsupported_parameter")
    content, media_type = gateway.measures.render(await gateway.read(gateway.status))
    return Response(content, headers={"content-type": media_type})
