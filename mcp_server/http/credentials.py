"""Who asks: the key that a request shows, and what it allows.

Rules: where no key was ever made, whatever is shown is ignored; from the first key on, one is
needed. What is shown is bytes and stays bytes, and is told to nobody.
"""

import base64
import binascii

from starlette.types import Scope as AsgiScope

from engine.errors import StoreError
from mcp_server.http.call import EVERYONE, Caller
from mcp_server.http.failures import Kind, Refused
from mcp_server.http.hosts import values_of
from mcp_server.keys import Keys, Scope

_LONGEST = 512
"""Bytes that a key may have; ours have 47."""

_NO_KEY = Kind(401, "authentication_error", "invalid_api_key")
_NOT_ALLOWED = Kind(403, "permission_error", "insufficient_permissions")
_NO_KEYS = Kind(
    500,
    "server_error",
    "keys_unusable",
    "The keys of this server cannot be read: nobody is let in until its operator has mended that; "
    "its log says how.",
    is_lasting=True,
)

_BEARER = {"www-authenticate": "Bearer"}
_BASIC = {"www-authenticate": 'Basic realm="npu-gateway", charset="UTF-8"'}


class Callers:
    """Who may call, by the keys there are now."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def find(self, scope: AsgiScope, *, by_browser: bool = False) -> Caller:
        """Who sends a request.

        Args:
            scope: Of the request.
            by_browser: It is for a page that people open: a browser then asks them for a name and
                a password, which is the key.

        Raises:
            Refused: A key is needed, and none or a wrong one is shown; or the keys are lost.
        """
        try:
            if not self._keys.any():
                return EVERYONE
            shown = _shown(scope, by_browser=by_browser)
            entry = self._keys.find(shown) if 0 < len(shown) <= _LONGEST else None
        except StoreError as error:
            raise Refused(str(error), kind=_NO_KEYS) from error
        if entry is None:
            raise Refused(
                "A key of this server is needed: send it as Authorization: Bearer KEY.",
                kind=_NO_KEY,
                headers=_BASIC if by_browser else _BEARER,
            )
        return Caller(entry.id, entry.scopes)


def check(caller: Caller, needed: frozenset[Scope]) -> None:
    """Sees to it that a caller may do what is asked for.

    Raises:
        Refused: The key is not for that.
    """
    if missing := sorted(needed - caller.scopes):
        raise Refused(
            f"This key is not for that: it lacks the scope {missing[0]}.", kind=_NOT_ALLOWED
        )


def _shown(scope: AsgiScope, *, by_browser: bool) -> bytes:
    """The key that a request shows; empty where it shows none, or several."""
    given = values_of(scope, b"authorization")
    if len(given) > 1:
        return b""
    kind, _, rest = given[0].strip().partition(b" ") if given else (b"", b"", b"")
    if kind.lower() == b"bearer":
        return rest.strip()
    if kind.lower() == b"basic" and by_browser:
        return _password(rest.strip())
    keys = values_of(scope, b"x-api-key")
    return keys[0].strip() if len(keys) == 1 else b""


def _password(encoded: bytes) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
