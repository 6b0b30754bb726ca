"""Measures: what the server did, told once to whoever counts it; by default to nobody.

Values only: it counts nothing itself, and imports nothing that a server over stdio does without.
Rule: an event is told once a request, answer or run, never once a token. Its words are of closed
sets, made up by this program: no text, path, model name or caller is in them.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from engine.models.spec import Task

METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
"""Of HTTP, that are told by name; whatever else a caller makes up is not."""


@dataclass(frozen=True)
class Arrived:
    """A request over HTTP has come; an `Answered` follows, whatever becomes of it."""


@dataclass(frozen=True)
class Answered:
    """A request over HTTP is over."""

    route: str
    """Its name in the table of routes; empty: there is no such route."""
    method: str
    status: int
    seconds: float
    """From its arrival to the last byte of the answer."""


@dataclass(frozen=True)
class Rejected:
    """A request was refused, or failed, before its answer began."""

    reason: str
    """The code of the failure, such as queue_full: one of a table."""


@dataclass(frozen=True)
class Generated:
    """An answer was written, to its end or until it was cancelled."""

    prompt_tokens: int
    completion_tokens: int
    first_token_seconds: float
    """From the request to its first token, the wait in line included; 0: there is none."""
    decode_seconds: float
    """From the first token to the last."""


@dataclass(frozen=True)
class Embedded:
    """The texts of a call have their vectors."""

    prompt_tokens: int
    seconds: float


@dataclass(frozen=True)
class Placed:
    """A provider did a piece of work."""

    workload: Task
    provider: str
    """cpu, npu or htp-simulator."""
    reason: str
    """A code of `NpuEntry`, such as in-use or policy."""
    fell_back: bool = False
    """Another provider should have done it, and could not."""


@dataclass(frozen=True)
class Searched:
    """The index was searched, the embedding of the query included."""

    seconds: float


@dataclass(frozen=True)
class Cancelled:
    """A stream ended before its answer did."""

    why: Literal["disconnected", "slow_reader", "draining", "failed"]


Event = Arrived | Answered | Rejected | Generated | Embedded | Placed | Searched | Cancelled


class Measures(Protocol):
    """Whoever counts."""

    def record(self, event: Event) -> None:
        """Counts an event; called from any thread, and takes a few microseconds."""
        ...


class _Nobody:
    def record(self, event: Event) -> None:
        """Not counted."""


NOBODY: Measures = _Nobody()
"""Counts nothing."""
