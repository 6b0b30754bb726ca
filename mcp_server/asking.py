"""Asker: who calls a tool, as far as the transport knows: for turns, and for what they may use.

Knows no wire. Over stdio there is one asker, whose tokens nobody counts.
"""

from typing import Any, Protocol

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.context import Context


class Asker(Protocol):
    """Who asks."""

    @property
    def name(self) -> str:
        """Calls of one name take turns with those of others; empty where nobody is told apart."""
        ...

    @property
    def pause(self) -> float:
        """Seconds between two of their requests that leave them room for others; 0 where none are
        counted."""
        ...

    def reserve(self, tokens: int) -> None:
        """Takes tokens from what they may use in a minute: before work begins, all it may need.

        Raises:
            EngineError: They are not there.
        """
        ...

    def spend(self, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Takes note of tokens that were used."""
        ...

    def stay(self) -> None:
        """Work for them goes on after their request was answered, until `settle`."""
        ...

    def settle(self) -> None:
        """Work is done: gives back what was reserved and not spent, once all of it is."""
        ...


class _Host:
    """Whoever has started a server over stdio."""

    name = ""
    pause = 0.0

    def reserve(self, tokens: int) -> None:
        """Not limited."""

    def spend(self, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Not counted."""

    def stay(self) -> None:
        """Nothing is reserved."""

    def settle(self) -> None:
        """Nothing is given back."""


_HOST: Asker = _Host()


def asker(context: Context[Any, Any]) -> Asker:
    """Who sent the call that a tool was given as a context."""
    return sender(context.request_context)


def sender(ctx: ServerRequestContext[Any, Any]) -> Asker:
    """Who sent a request: over HTTP, the visit of the guard; where nobody guards, anybody is one
    and the same."""
    return _HOST if ctx.request is None else ctx.request.scope.get("state", {}).get("visit", _HOST)
