"""Asker: who calls a tool, as far as the transport knows: for turns, and for what they may use.

Knows no wire. Over stdio there is one asker, whose tokens nobody counts.
"""

from typing import Any, Protocol

from mcp.server.mcpserver.context import Context


class Asker(Protocol):
    """Who asks."""

    @property
    def name(self) -> str:
        """Calls of one name take turns with those of others; empty where nobody is told apart."""
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


class _Host:
    """Whoever has started a server over stdio."""

    name = ""

    def reserve(self, tokens: int) -> None:
        """Not limited."""

    def spend(self, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Not counted."""


_HOST: Asker = _Host()


def asker(context: Context[Any, Any]) -> Asker:
    """Who sent the call that a tool was given as a context: over HTTP, the visit of the guard."""
    request = context.request_context.request
    return _HOST if request is None else request.scope["state"]["visit"]
