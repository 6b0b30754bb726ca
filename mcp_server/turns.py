"""Turns: who is served next, round robin by caller, and who goes when the line is too long.

A plan only: it starts nothing, waits for nothing and knows no event loop.
Rule: a caller who sends thirty calls at once puts them behind each other, not in front of others.
Next is whose last turn is longest ago, so one who sends each call once the one before is answered
has as many turns as others. The calls of one caller are served in order of arrival. When the line
is too long, the call that came last goes, of the caller who has most calls here: so each call too
many costs exactly one, and nobody is kept out by a line that somebody else has filled.
"""

from collections import Counter, deque
from typing import Generic, TypeVar

CallT = TypeVar("CallT")


class Turns(Generic[CallT]):
    """Calls in work and calls in line, by caller."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[CallT]] = {}
        """Never empty ones."""
        self._latest: dict[str, int] = {}
        """The number of the turn that a caller had last."""
        self._turns = 0
        self._working: Counter[str] = Counter()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Calls in line; may be read from any thread."""
        return self._waiting

    def join(self, caller: str, call: CallT) -> None:
        """Puts a call at the end of its caller's line."""
        self._lines.setdefault(caller, deque()).append(call)
        self._waiting += 1

    def leave(self, caller: str, call: CallT) -> None:
        """Takes a call, which no longer wants to be served, out of the line."""
        self._lines[caller].remove(call)
        self._taken_from(caller)

    def next(self) -> CallT:
        """Takes the call whose turn it is out of the line (there must be one) and into work."""
        caller = min(self._lines, key=lambda one: self._latest.get(one, 0))
        call = self._lines[caller].popleft()
        self._taken_from(caller)
        self._working[caller] += 1
        self._turns += 1
        self._latest[caller] = self._turns
        return call

    def done(self, caller: str) -> None:
        """A call of this caller is no longer in work."""
        self._working[caller] -= 1
        if not self._working[caller]:
            del self._working[caller]

    def shorten(self, joined: str) -> CallT:
        """Takes the call out of the line that came last, of the caller who has most calls here.

        Args:
            joined: The caller who has just joined, and who goes first of those who have as many.
        """

        def calls(caller: str) -> tuple[int, bool]:
            return len(self._lines[caller]) + self._working[caller], caller == joined

        greediest = max(self._lines, key=calls)
        call = self._lines[greediest].pop()
        self._taken_from(greediest)
        return call

    def _taken_from(self, caller: str) -> None:
        self._waiting -= 1
        if not self._lines[caller]:
            del self._lines[caller]
