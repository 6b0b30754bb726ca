"""Items with commas between them, some of them optional, as rules of a grammar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from engine.errors import InvalidInput

_MOST_OPTIONAL = 6
_MOST_STATES = 2_500


@dataclass(frozen=True, slots=True)
class Item:
    """What stands between two commas, as part of a rule."""

    text: str
    size: int
    """Characters of about its shortest text."""
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items there are."""

    least: int = 0
    most: int | None = None

    def without(self, taken: int) -> "Counts":
        """What is left of these when so many are there."""
        return Counts(
            max(0, self.least - taken), None if self.most is None else max(0, self.most - taken)
        )


Written = tuple[str, int]
"""A part of a rule, empty for nothing, and the characters of about its shortest text."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Writes sequences with a given comma."""

    define: Callable[[str], str]
    """Names the rule that stands for a text."""
    comma: str

    def in_order(self, items: Sequence[Item], tail: Item | None, counts: Counts) -> Written:
        """Items each of which may be left out unless it is needed, then repeats of the tail."""
        first, after = self._tail(tail, counts)
        for item in reversed(items):
            alone, behind = f"{item.text} {after}", f"{self.comma} {item.text}"
            if item.needed:
                first, after = self.define(alone), self.define(f"{behind} {after}")
            else:
                first = self.define(f"{alone} | {first}" if first else f"({alone})?")
                after = self.define(f"({behind})? {after}")
        return first, _size(items, tail, counts)

    def from_the_left(self, items: Sequence[Item], tail: Item | None, counts: Counts) -> Written:
        """Items of which one may be left out only with all behind it."""
        first, after = self._tail(tail, counts)
        for item in reversed(items):
            mark = "" if item.needed else "?"
            first, after = (
                self.define(f"({item.text} {after}){mark}"),
                self.define(f"({self.comma} {item.text} {after}){mark}"),
            )
        return first, _size(items, tail, counts)

    def counted(self, items: Sequence[Item], tail: Item | None, counts: Counts) -> list[Written]:
        """The ways to have as many items, repeats of the tail included, as the counts say.

        Raises:
            InvalidInput: There are too many ways.
        """
        needed = sum(item.needed for item in items)
        optional = len(items) - needed
        bounded = counts.most is not None and (tail or counts.most < len(items))
        if not bounded and counts.least <= needed:
            return [self.in_order(items, tail, Counts())]
        if not optional:
            fits = counts.most is None or counts.most >= needed
            enough = tail or counts.least <= needed
            return [self.in_order(items, tail, counts.without(needed))] if fits and enough else []
        if not bounded and not tail and counts.least == needed + 1:
            return [self.in_order(_starting(items, i), None, Counts()) for i in _optional(items)]
        if optional > _MOST_OPTIONAL:
            raise InvalidInput(
                "The schema's minProperties and maxProperties are not supported for objects with "
                f"more than {_MOST_OPTIONAL} properties that are not required; leave them out."
            )
        kept = (
            [item for i, item in enumerate(items) if item.needed or i in chosen]
            for size in range(optional + 1)
            for chosen in combinations(_optional(items), size)
        )
        subsets = [[replace(item, needed=True) for item in subset] for subset in kept]
        return [way for subset in subsets for way in self.counted(subset, tail, counts)]

    def some_of(self, items: Sequence[Item], counts: Counts) -> Written | None:
        """Each item at most once, in their order."""
        most = len(items) if counts.most is None else min(counts.most, len(items))
        most = max(counts.least, min(most, _MOST_STATES // max(1, len(items))))
        if counts.least > len(items):
            return None
        # What may follow when so many were taken; None where too few would remain.
        rest: list[str | None] = [
            "" if taken >= counts.least else None for taken in range(most + 1)
        ]
        for item in reversed(items):
            rest = [self._taken_or_not(item, taken, rest) for taken in range(most)] + rest[most:]
        size = sum(sorted(item.size + 1 for item in items)[: counts.least])
        return (rest[0], size) if rest[0] is not None else None

    def _taken_or_not(self, item: Item, taken: int, rest: list[str | None]) -> str | None:
        skipped, behind = rest[taken], rest[taken + 1]
        if behind is None:
            return skipped
        text = f"{self.comma if taken else ''} {item.text} {behind}"
        if skipped is None:
            return self.define(text)
        return self.define(f"{text} | {skipped}" if skipped else f"({text})?")

    def _tail(self, tail: Item | None, counts: Counts) -> tuple[str, str]:
        """Repeats with nothing before them, and with something."""
        if tail is None or counts.most == 0:
            return "", ""
        another = f"({self.comma} {tail.text})"
        after = self.define(f"{another}{_times(counts)}")
        first = f"{tail.text} {another}{_times(counts.without(1))}"
        return self.define(first if counts.least else f"({first})?"), after


def _times(counts: Counts) -> str:
    if counts == Counts():
        return "*"
    return f"{{{counts.least},{'' if counts.most is None else counts.most}}}"


def _size(items: Sequence[Item], tail: Item | None, counts: Counts) -> int:
    repeats = counts.least * (tail.size + 1) if tail else 0
    return repeats + sum(item.size + 1 for item in items if item.needed)


def _optional(items: Sequence[Item]) -> list[int]:
    return [index for index, item in enumerate(items) if not item.needed]


def _starting(items: Sequence[Item], start: int) -> list[Item]:
    """The items with one more needed and the optional ones before it left out."""
    return [
        replace(item, needed=item.needed or index == start)
        for index, item in enumerate(items)
        if item.needed or index >= start
    ]
