"""Call: one request with its body, who asks, and the gateway that serves it.

Knows nothing of a wire's errors. What a call used is noted in `spent` by whoever serves it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from mcp_server.lifespan import Gateway

Scope = Literal["infer", "search", "admin"]

BodyT = TypeVar("BodyT")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for what they may."""

    key_id: str
    """Empty where no key is asked for."""
    scopes: frozenset[Scope]


EVERYONE = Caller("", frozenset[Scope](("infer", "search", "admin")))
"""Whoever asks where no key is asked for."""


@dataclass(slots=True)
class Spent:
    """Tokens that a call has used so far."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


def _unlimited(tokens: int) -> None:
    """For callers whose tokens nobody counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the guard knows of a request it has let in; handed on in the scope's state."""

    caller: Caller
    request_id: str
    spent: Spent = field(default_factory=Spent)
    reserve: Callable[[int], None] = _unlimited
    """Takes so many tokens from what the caller may use in a minute; raises `Overloaded`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[BodyT]):
    """A request to one endpoint."""

    gateway: Gateway
    visit: Visit
    body: BodyT
    path: Mapping[str, Any]
    """Parameters in the path, by name."""
    query: Mapping[str, str]
    """Parameters behind the question mark; of several of a name the last."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Seconds since 1970."""

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.visit.caller
