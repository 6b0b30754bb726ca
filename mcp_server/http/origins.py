"""From which web pages a browser may call: the Origin header, and the answers of CORS.

Rules: a page of another origin is refused before anything is done for it, whatever the method; only
origins that were named are told that they may read an answer, each by its own name. Cookies and
private networks are never opened to anybody.
"""

import re
from collections.abc import Collection

from starlette.responses import Response
from starlette.types import Scope

from mcp_server.http.failures import Kind, Refused
from mcp_server.http.hosts import values_of

_FOREIGN = Kind(403, "permission_error", "origin_not_allowed")
_METHODS = "GET, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = "600"

_HEADER = re.compile(
    r"accept|authorization|content-type|last-event-id|x-api-key|x-client-request-id"
    r"|(?:openai|mcp|x-stainless)-[a-z0-9-]{1,64}"
)
"""What pages may send beside what browsers let every page send."""

_EXPOSED = ", ".join(
    (
        *("x-request-id", "retry-after", "retry-after-ms", "x-should-retry"),
        *("mcp-session-id", "mcp-protocol-version"),
        *(
            f"x-ratelimit-{what}-{of}"
            for what in ("limit", "remaining", "reset")
            for of in ("requests", "tokens")
        ),
    )
)
"""What pages may read of an answer's head."""


class Origins:
    """The web origins whose pages may call."""

    def __init__(self, named: Collection[str]) -> None:
        """
        Args:
            named: As browsers write them: scheme://host or scheme://host:port in small letters.
        """
        self._named = frozenset(named)

    def check(self, scope: Scope, host: str) -> str:
        """The named origin that a request comes from; empty: from no page, or a page of this
        server's own.

        Args:
            scope: Of the request.
            host: Its Host header, which has been checked.

        Raises:
            Refused: It comes from a page of another origin.
        """
        given = [value.decode("latin-1") for value in values_of(scope, b"origin")]
        if not given:
            return ""
        if len(given) == 1 and given[0] in self._named:
            return given[0]
        if len(given) == 1 and given[0] == f"{scope['scheme']}://{host}".lower():
            return ""
        raise Refused(
            "Pages of that origin may not call this server; name it with --cors-origin.",
            kind=_FOREIGN,
        )


def headers(origin: str) -> list[tuple[str, str]]:
    """What lets a page of a named origin read an answer."""
    if not origin:
        return []
    return [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", _EXPOSED),
        ("vary", "origin"),
    ]


def preflight(scope: Scope, origin: str) -> Response | None:
    """The answer to a browser that asks whether a page may send a request; None: it does not."""
    if scope["method"] != "OPTIONS" or not origin:
        return None
    if not values_of(scope, b"access-control-request-method"):
        return None
    asked = b",".join(values_of(scope, b"access-control-request-headers")).decode("latin-1")
    names = [name.strip().lower() for name in asked.split(",")]
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": ", ".join(filter(_HEADER.fullmatch, names)),
            "access-control-max-age": _PREFLIGHT_SECONDS,
        },
    )
