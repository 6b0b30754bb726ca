"""How an answer of a form is ended in time: about the shortest end, and which tokens leave one.

Knows token ids and what may follow; knows no grammar. Rule: as long as the tokens that remain are
enough for the shortest end found, every token let through keeps them enough.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Flags = NDArray[np.bool_]

# Tokens, and seconds, after which looking for an end is given up.
_LONGEST, _PATIENCE = 6_000, 1.0

# Where no sign leads on, the least used of so many tokens is taken, so that no loop of a pattern is
# followed for ever.
_CANDIDATES = 8

# Near the end so many of the likeliest tokens are tried before the shortest end is taken.
_TRIED = 2

# A token may open one large part, and moves the end away by at most about so many tokens besides.
_STRAY = 7

# Signs that JSON has within strings alone.
_ONLY_IN_STRINGS = b"xyzQ!#%&()=@_;?"

# What marks a point where the answer can be closed, and how much oftener it is gone to than others.
_CLOSED, _BONUS = b"closed", 3

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

    def __init__(self, texts: Mapping[int, bytes], stops: Collection[int]) -> None:
        """Sorts tokens.

        Args:
            texts: Bytes of each token that is text, by id.
            stops: Ids of the tokens that end an answer.
        """
        self.stops = np.array(sorted(stops), np.intp)
        by_kind: list[list[int]] = [[], [], [], []]
        for token in sorted(texts, key=lambda token: -len(texts[token])):
            by_kind[_kind(texts[token])].append(token)
        brackets, quotes, text, others = by_kind
        self._kinds = [np.array(tokens, np.intp) for tokens in by_kind]
        signs = [
            token
            for token in [*text, *others, *brackets, *quotes]
            if len(texts[token]) == 1 and texts[token].isascii() and texts[token] != b"\\"
        ]
        parting = [token for token in signs if texts[token] in b".-_/:@"]
        self.signs = list(dict.fromkeys([*signs[:2], *parting, *signs]))
        """Tokens of one character but a backslash; those that only open something come last."""
        self._parting = np.array(parting, np.intp)
        within = [token for token in signs if texts[token] in _ONLY_IN_STRINGS]
        self._only_in_strings = np.array(within, np.intp)

    def closing(self, allowed: Flags) -> list[int]:
        """The longest of the allowed tokens that only close what is open, if there is one."""
        is_in_string = bool(allowed[self._only_in_strings].any())
        brackets, quotes, *_ = self._kinds
        for kind in (quotes,) if is_in_string else (brackets, quotes):
            if len(found := kind[allowed[kind]]):
                return found[:1].tolist()
        return []

    def others(self, allowed: Flags) -> list[int]:
        """A few of the allowed tokens: signs that part texts, and long ones of plain text."""
        brackets, _, text, others = self._kinds
        parting = self._parting[allowed[self._parting]].tolist()
        # A long token of letters begins nothing; of other signs it might.
        for kind in (text, others[::-1], brackets[::-1]):
            if len(found := kind[allowed[kind]]):
                return [*parting, *found[:_CANDIDATES].tolist()]
        return []


class Ending:
    """Keeps an end of one answer within reach."""

    def __init__(
        self,
        preferences: Preferences,
        hints: Collection[Sequence[int]] | None,
        point: Point,
        largest: int,
        patience: float = _PATIENCE,
    ) -> None:
        """Looks for the shortest answer.

        Args:
            preferences: Of the vocabulary.
            hints: Runs of tokens that a text in JSON may have to hold somewhere; None: no JSON.
            point: The beginning.
            largest: Tokens by which about one token may move the end away.
            patience: Seconds that looking for an end may take.
        """
        self._preferences = preferences
        self._hints = hints or ()
        self._is_json = hints is not None
        self._largest = largest
        self._patience = patience
        self._known: dict[bytes, list[tuple[int, bytes]]] = {}
        self.end = self._shortest(point, _LONGEST)
        """About the shortest end, as tokens, when it was last looked for; None: there is none."""
        self._ends: dict[int, list[int]] = {}
        self._safe_until: int | None = None
        """While more tokens remain, no end need be looked for."""

    def accept(self, token_id: int) -> None:
        """Tells which token followed."""
        self.end = self._ends.get(token_id)
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
        if self.end is None:
            self.end = self._shortest(point, _LONGEST)
        if self.end is None:
            return allowed
        slack = remaining - len(self.end) - self._largest
        if slack > _STRAY:
            self._safe_until = remaining - slack // _STRAY
            return allowed
        return self._only_in_time(point, allowed, logits, remaining, self.end)

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
        visits = Counter[bytes]()
        hints, give_up = list(self._hints), time.monotonic() + self._patience
        while not ahead.is_complete:
            allowed = ahead.allowed()
            if step := self._closing(allowed):
                hints = list(self._hints)
            elif hint := next(filter(ahead.takes, hints), None):
                hints.remove(hint)
                step = hint
            else:
                step = self._leading_on(ahead, allowed, visits, used)
                step = step or sorted(self._preferences.others(allowed), key=used.__getitem__)[:1]
                used.update(step)
            if not step or len(end) + len(step) > most or time.monotonic() > give_up:
                return None
            end += step
            for token in step:
                ahead.accept(token)
        return end

    def _closing(self, allowed: Flags) -> list[int]:
        return self._preferences.closing(allowed) if self._is_json else []

    def _leading_on(
        self, point: Point, allowed: Flags, visits: Counter[bytes], used: Counter[int]
    ) -> list[int]:
        """A sign after which the answer can be closed, or goes on as it seldom did; or nothing.

        Points at which the same may follow are taken for the same.
        """
        here = allowed.tobytes()
        if here not in self._known:
            signs = [sign for sign in self._preferences.signs if allowed[sign]]
            after = [(sign, self._after(point, sign)) for sign in signs]
            self._known[here] = after
        if not self._known[here]:
            return []

        def staleness(step: tuple[int, bytes]) -> tuple[int, int]:
            sign, there = step
            return visits[there] - _BONUS * there.startswith(_CLOSED), used[sign]

        sign, there = min(self._known[here], key=staleness)
        visits[there] += 1
        return [] if there == here else [sign]

    def _after(self, point: Point, token_id: int) -> bytes:
        """What may follow a token, as bytes; marked if the answer can be closed then."""
        ahead = point.copy()
        ahead.accept(token_id)
        allowed = ahead.allowed()
        can_close = ahead.is_complete or self._closing(allowed)
        return (_CLOSED if can_close else b"") + allowed.tobytes()


def _kind(text: bytes) -> int:
    if not text.strip(b"]}"):
        return _BRACKETS
    if text.startswith(b'"') and not text.strip(b'"]}'):
        return _QUOTES
    return _TEXT if text.isalnum() and text.isascii() else _OTHERS
