"""By which names this server may be called: the Host header, against DNS rebinding.

A page may point a name of its own at this machine and call it from a browser, which takes the
answer for the page's own. It cannot choose the Host header: that is the page's name. An address in
digits is no name, so the one that a connection really came to is always fine.
"""

import ipaddress
import re
from collections.abc import Iterable

from starlette.types import Scope

from mcp_server.http.failures import Kind, Refused

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[0-9A-Za-z._-]{1,253})(?::[0-9]{1,5})?")
_MISDIRECTED = Kind(421, "invalid_request_error", "misdirected_request")


class Hosts:
    """The names under which this server answers."""

    def __init__(self, names: Iterable[str]) -> None:
        """
        Args:
            names: Those beside the loopback's; without ports, which are not looked at.
        """
        self._names = {_spelled(name) for name in (*LOOPBACK, *names)}

    def check(self, scope: Scope) -> str:
        """The one Host header of a request.

        Raises:
            Refused: It has none, several, or one that is not this server's.
        """
        given = values_of(scope, b"host")
        found = _HOST.fullmatch(given[0].decode("latin-1")) if len(given) == 1 else None
        if found is None or not self._is_own(_spelled(found[1]), scope):
            raise Refused(
                "This server does not answer to that host; call it as localhost, or let it know "
                "the name with --allowed-host.",
                kind=_MISDIRECTED,
            )
        return found[0]

    def _is_own(self, name: str, scope: Scope) -> bool:
        return name in self._names or (_is_address(name) and name == _server(scope))


def values_of(scope: Scope, name: bytes) -> list[bytes]:
    """What a request's headers of a name hold, in order."""
    return [value for key, value in scope["headers"] if key == name]


def _server(scope: Scope) -> str:
    """The address that the connection came to, as this machine knows it."""
    server = scope.get("server")
    return _spelled(str(server[0])) if server else ""


def _spelled(name: str) -> str:
    """One spelling of a name or address."""
    bare = name.strip().lower().removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
