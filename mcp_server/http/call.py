"""Call: one request with its body, who asks, and the gateway that serves it.

Knows nothing of a wire's errors. What a call used is noted in `spent` by whoever serves it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from anyio import current_time

from mcp_server.http.rates import Rates, Reservation
from mcp_server.keys import Scope
from mcp_server.lifespan import Gateway, StillLoading
from mcp_server.loading import Tell

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


def _unlimited() -> Reservation:
    """For callers whose tokens nobody counts."""
    return Rates(0, 0).reserve("")


@dataclass(slots=True, kw_only=True)
class Visit:
    """What the guard knows of a request it has let in; handed on in the scope's state. To tools it
    is their `Asker`."""

    caller: Caller
    request_id: str
    spent: Spent = field(default_factory=Spent)
    reservation: Reservation = field(default_factory=_unlimited)
    operation: str = ""
    """What a model does for it, in OpenTelemetry's words: chat, embeddings…"""
    model: str = ""
    """The one that does it; known here once it is known to exist."""
    _work: int = 1
    """What has not ended yet: the request, and tasks that it began."""

    @property
    def name(self) -> str:
        """Whose turns it takes."""
        return self.caller.key_id

    @property
    def pause(self) -> float:
        """Seconds between two requests that leave the caller half of those of a minute."""
        return self.reservation.pause

    def spend(self, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Takes note of tokens that were used."""
        self.spent.prompt_tokens += prompt_tokens
        self.spent.completion_tokens += completion_tokens

    def reserve(self, tokens: int) -> None:
        """Takes tokens from what the caller may use in a minute: before work begins, all that it
        may need.

        Raises:
            RateLimited: They are not there.
        """
        self.reservation.take(tokens)

    def stay(self) -> None:
        """Work for it goes on after its answer, until `settle` was called once more."""
        self._work += 1

    def settle(self) -> None:
        """Work is done: gives back what was reserved and not spent, once all of it is."""
        self._work -= 1
        if not self._work:
            self.reservation.settle(self.spent.prompt_tokens + self.spent.completion_tokens)


class Patience:
    """How long a call waits for its model: it is told so each second, and gives up in the end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """To be used as `Tell`.

        Raises:
            StillLoading: It has waited long enough.
        """
        self._began = current_time() if self._began is None else self._began
        if current_time() - self._began >= self._seconds:
            raise StillLoading


_PATIENCE_SECONDS = 30.0


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
    tell: Tell = field(default_factory=lambda: Patience(_PATIENCE_SECONDS))
    """To be given to whatever waits for a model."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Seconds since 1970."""

    @property
    def usual_tokens(self) -> int | None:
        """Of an answer that the body sets no limit for; None: as many as fit."""
        return self.gateway.settings.answer_tokens or None

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.visit.caller
