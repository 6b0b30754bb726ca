"""How an answer of a form is ended in time: the shortest end, and which tokens still allow one.

Knows token ids and what may follow; knows no grammar. Rule: as long as the tokens that remain are
enough for the shortest end found, every token let through keeps them enough.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Flags = NDArray[np.bool_]

_LONGEST = 6_000
"""Tokens after which looking for an end is given up."""

# Of the allowed tokens that close nothing, so many are candidates for a step to the end. The first
# is taken until it was taken often, then the next: so no loop of a pattern is followed for ever.
_CANDIDATES, _OFTEN = 8, 8
_FIRST = 1_000

# Near the end so many of the likeliest tokens are tried before the shortest end is taken.
_TRIED = 4

# A token may open one part, and moves the end away by at most about so many tokens besides.
_STRAY = 7

# Signs that JSON has within strings alone.
_ONLY_IN_STRINGS = b"xyzQ!#%&()=@_;?"

_BRACKETS, _QUOTES, _TEXT, _OTHERS = range(4)


class Point(Protocol):
    """A point in an answer."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        ...

    def allowed(self) -> Flags:
        """For each token whether it may follow, [vocabulary]."""
        ...

    def accept(self, token_id: int) -> None:
        """Goes on by an allowed token of text."""
        ...

    def takes(self, token_ids: Sequence[int]) -> bool:
        """Whether all these may follow, one after the other."""
        ...

    def copy(self) -> Self:
        """The same point, to go on from apart."""
        ...


class Preferences:
    """The tokens of a vocabulary, those first that lead to an end."""

    def __init__(self, size: int, texts: Mapping[int, bytes], stops: Collection[int]) -> None:
        """Sorts tokens.

        Args:
            size: Of the vocabulary.
            texts: Bytes of each token that is text, by id.
            stops: Ids of the tokens that end an answer.
        """
        self.stops = np.array(sorted(stops), np.intp)
        by_kind: list[list[int]] = [[], [], [], []]
        for token in sorted(texts, key=lambda token: len(texts[token])):
            by_kind[_kind(texts[token])].append(token)
        brackets, quotes, text, others = by_kind
        self._brackets = np.array(brackets[::-1], np.intp)
        self._quotes = np.array(quotes[::-1], np.intp)
        # A long token of letters ends nothing and begins nothing; of other signs it might.
        self._rest = np.array([*text[::-1], *others, *quotes, *brackets], np.intp)
        self._rank = np.full(size, len(self._rest), np.intp)
        self._rank[self._rest] = np.arange(len(self._rest))
        within = [i for i, text in texts.items() if len(text) == 1 and text in _ONLY_IN_STRINGS]
        self._only_in_strings = np.array(within, np.intp)

    def closing(self, allowed: Flags) -> list[int]:
        """The longest of the allowed tokens that only close what is open, if there is one."""
        is_in_string = bool(allowed[self._only_in_strings].any())
        for kind in (self._quotes,) if is_in_string else (self._brackets, self._quotes):
            found = kind[allowed[kind]]
            if len(found):
                return found[:1].tolist()
        return []

    def others(self, allowed: Flags) -> list[int]:
        """A few of the allowed tokens, long ones of plain text first."""
        first = self._rest[:_FIRST]
        found = first[allowed[first]]
        if len(found) < _CANDIDATES:
            found = np.flatnonzero(allowed)
            found = found[np.argsort(self._rank[found], kind="stable")]
        return found[:_CANDIDATES].tolist()


class Ending:
    """Watches over the end of one answer."""

    def __init__(
        self, preferences: Preferences, hints: Sequence[Sequence[int]], point: Point, largest: int
    ) -> None:
        """Finds the shortest end of an answer that has not begun.

        Args:
            preferences: Of the vocabulary.
            hints: Runs of tokens that may complete a part of the answer.
            point: Where the answer begins.
            largest: Tokens that one token may make necessary, about.
        """
        self._preferences = preferences
        self._hints = hints
        self._largest = largest
        self._end = self._shortest(point, _LONGEST)
        """The shortest end from the last point that was looked at; None if none was found."""
        self._ends: dict[int, list[int]] = {}
        """The shortest ends after tokens that were tried at this point."""
        self._safe_until: int | None = None
        """While more tokens remain, no end need be looked for."""

    @property
    def needs(self) -> int | None:
        """Tokens of text that the shortest end took when it was last looked for; None: no end."""
        return None if self._end is None else len(self._end)

    def accept(self, token_id: int) -> None:
        """Tells which token followed."""
        self._end = self._ends.get(token_id)
        self._ends.clear()

    def narrow(self, point: Point, allowed: Flags, logits: Logits, remaining: int) -> Flags:
        """The tokens after which the answer can be ended in the tokens that remain.

        Args:
            point: Where the answer stands.
            allowed: The tokens that may follow, [vocabulary].
            logits: How likely they are, [vocabulary].
            remaining: Tokens that may follow, a stop token not counted.
        """
        if self._safe_until is not None and remaining > self._safe_until:
            return allowed
        if self._end is None:
            self._end = self._shortest(point, _LONGEST)
        if self._end is None:
            return allowed
        slack = remaining - len(self._end) - self._largest
        if slack > _STRAY:
            self._safe_until = remaining - slack // _STRAY
            return allowed
        return self._only_in_time(point, allowed, logits, remaining, self._end)

    def _only_in_time(
        self, point: Point, allowed: Flags, logits: Logits, remaining: int, end: Sequence[int]
    ) -> Flags:
        """The stop tokens, the shortest end's next token, and a likely one that leaves time."""
        narrowed = np.zeros_like(allowed)
        stops = self._preferences.stops
        narrowed[stops] = allowed[stops]
        if end:
            narrowed[end[0]] = True
            self._ends[end[0]] = list(end[1:])
        likely = np.where(allowed[: len(logits)], logits, -np.inf)
        for _ in range(_TRIED):
            token = int(np.argmax(likely))
            if narrowed[token] or np.isneginf(likely[token]):
                break
            if self._leaves_time(point, token, remaining - 1):
                narrowed[token] = True
                break
            likely[token] = -np.inf
        return narrowed

    def _leaves_time(self, point: Point, token_id: int, remaining: int) -> bool:
        ahead = point.copy()
        ahead.accept(token_id)
        end = self._shortest(ahead, remaining)
        if end is not None:
            self._ends[token_id] = end
        return end is not None

    def _shortest(self, point: Point, most: int) -> list[int] | None:
        """The tokens of an end, about the shortest; None if none of so many was found."""
        ahead, end, used = point.copy(), list[int](), Counter[int]()
        while not ahead.is_complete:
            allowed = ahead.allowed()
            step = self._preferences.closing(allowed) or self._hinted(ahead)
            if not step:
                others = self._preferences.others(allowed)
                step = sorted(others, key=lambda token: used[token] // _OFTEN)[:1]
            if not step or len(end) + len(step) > most:
                return None
            used.update(step)
            end += step
            for token in step:
                ahead.accept(token)
        return end

    def _hinted(self, point: Point) -> list[int]:
        return next((list(run) for run in self._hints if point.takes(run)), list[int]())


def _kind(text: bytes) -> int:
    if not text.strip(b"]}"):
        return _BRACKETS
    if text.startswith(b'"') and not text.strip(b'"]}'):
        return _QUOTES
    return _TEXT if text.isalnum() and text.isascii() else _OTHERS
