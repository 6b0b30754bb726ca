"""The status page: one static file in the browser, and what it shows as JSON.

Knows nothing of how the page looks. Rule: the page may load nothing and ask nobody but this server;
its policy names its own script and style by their hashes, so that no other runs, whatever the index
holds.
"""

import base64
import hashlib
import re
import time
from pathlib import Path

from pydantic import BaseModel
from starlette.responses import Response

from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.metrics import Metrics, Recent
from mcp_server.http.openai.bodies import reply
from mcp_server.results import StatusResult

_PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
_STARTED = time.time()
_NOTHING = Recent((), ())


class StatusPage(BaseModel):
    """What the page shows."""

    status: StatusResult
    recent: Recent
    time: float
    """Now, in seconds since 1970."""
    started: float
    """When the server started, in seconds since 1970."""


def endpoints() -> Endpoints:
    """The page, and what it asks for every few seconds."""
    return (
        Endpoint(
            name="status_page",
            method="GET",
            path="/",
            scope="admin",
            is_page=True,
            answer=_page,
            media_type="text/html",
            is_versioned=False,
        ),
        Endpoint(
            name="status",
            method="GET",
            path="/status.json",
            scope="admin",
            is_page=True,
            answer=_status,
            result=StatusPage,
            is_versioned=False,
        ),
    )


def _hashes(tag: str) -> str:
    """The page's own elements of a tag, as sources of a content security policy."""
    found = re.findall(f"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    digests = (hashlib.sha256(one.encode()).digest() for one in found)
    return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests)


_HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes('script')}",
            f"style-src {_hashes('style')}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def _page(_: Call[None]) -> Response:
    """Shows in a browser what the server does."""
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


async def _status(call: Call[None]) -> Response:
    """Tells what the status page shows."""
    gateway = call.gateway
    measures = gateway.measures
    told = StatusPage(
        status=await gateway.read(gateway.status),
        recent=measures.recent() if isinstance(measures, Metrics) else _NOTHING,
        time=time.time(),
        started=_STARTED,
    )
    return reply(told)
