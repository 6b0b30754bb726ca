"""Lasting: the tools whose calls may go on as tasks, and how such a call tells how far it is.

Rule: a call is answered at once if it is over soon, and only then told of as a task. A task costs
its client a second round trip and, on average, half of what it waits between two questions, which
is a tenth of the task's age (`Task.poll_seconds`): so no answer comes later by more than a tenth,
unless a limit of requests wants longer pauses.
"""

from collections.abc import Callable
from dataclasses import dataclass

Words = Callable[[float, float | None, str | None], str]
"""How far a call is, for people: from its progress, its total if known, and its own words."""

_PATIENCE_SECONDS = 5.0
"""An answer of 256 tokens (at 102 a second), or bringing an indexed folder of 400 notes up to date
(0.4 s), takes less (measured: Linux x86-64, 2 cores); hosts give up after 60 s and more."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """How calls of one tool last."""

    words: Words
    patience: float = _PATIENCE_SECONDS
    """Seconds after which a call becomes a task."""


def as_told(progress: float, total: float | None, message: str | None) -> str:
    """The call's own words, or its figures where it has none."""
    return message or (f"{progress:g}" if total is None else f"{progress:g} of {total:g}")


def _tokens(progress: float, total: float | None, message: str | None) -> str:
    """Its own words are the answer's text, token by token, once the answer has begun."""
    return (
        f"{progress:g} of at most {total:g} tokens" if total else as_told(progress, None, message)
    )


LASTING: dict[str, Lasting] = {
    "index_documents": Lasting(as_told),
    "generate": Lasting(_tokens),
}
"""By the tool's name."""
