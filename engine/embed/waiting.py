"""Waiting: texts that wait for a run, by whose turn it is and by length.

Knows token counts and callers; knows nothing of providers, times or models.
Rules: callers take turns, however much each has waiting; texts of one length leave in the order in
which they came; finding and removing a text takes no longer where many wait.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Work:
    """One text that waits to be embedded."""

    caller: object
    """Whose text it is; hashable."""
    tokens: int
    """Special tokens included."""
    is_query: bool
    """Somebody waits for it: it overtakes texts in bulk."""
    payload: object
    """What is run: a row of token ids, and whatever tells where the vector goes."""


class ByLength:
    """Texts in the order of their lengths."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        """All lengths there are, ascending."""
        self._works: dict[int, OrderedDict[Work, None]] = {}

    def __bool__(self) -> bool:
        return bool(self.lengths)

    def __iter__(self) -> Iterator[Work]:
        return self.upward(0)

    def add(self, work: Work) -> None:
        same = self._works.get(work.tokens)
        if same is None:
            same = self._works[work.tokens] = OrderedDict()
            insort(self.lengths, work.tokens)
        same[work] = None

    def remove(self, work: Work) -> None:
        same = self._works[work.tokens]
        del same[work]
        if not same:
            del self._works[work.tokens]
            del self.lengths[bisect_left(self.lengths, work.tokens)]

    def shortest(self, above: int) -> Work | None:
        """The shortest text of more tokens than that."""
        return next(self.upward(above + 1), None)

    def longest(self) -> Work:
        """The longest text; there is one."""
        return next(iter(self._works[self.lengths[-1]]))

    def longest_within(self, most: int) -> Work | None:
        """The longest text of at most so many tokens."""
        return next(self.downward(most), None)

    def upward(self, tokens: int) -> Iterator[Work]:
        """From texts of so many tokens to the longest."""
        for index in range(bisect_left(self.lengths, tokens), len(self.lengths)):
            yield from self._works[self.lengths[index]]

    def downward(self, tokens: int) -> Iterator[Work]:
        """From texts of so many tokens to the shortest."""
        for index in range(bisect_right(self.lengths, tokens) - 1, -1, -1):
            yield from self._works[self.lengths[index]]


class Lane:
    """Texts of one urgency."""

    def __init__(self) -> None:
        self.works = ByLength()
        self.callers: OrderedDict[object, ByLength] = OrderedDict()
        """Each caller's texts; whose turn it is comes first."""
        self._edges: tuple[int, ...] = ()
        self.counts: list[int] = [0]
        """How many texts wait between two edges; the last: above them all."""
        self.tokens: list[int] = [0]
        """How many tokens these have together."""

    def __len__(self) -> int:
        return sum(self.counts)

    def set_edges(self, edges: Sequence[int]) -> None:
        """Counts anew: up to and including the first edge, up to the second, and above the last."""
        self._edges = tuple(edges)
        self.counts, self.tokens = [0] * (len(edges) + 1), [0] * (len(edges) + 1)
        for work in self.works:
            self._count(work, 1)

    def add(self, work: Work) -> None:
        """Puts a text behind those of its length; a new caller's turn comes last."""
        if work.caller not in self.callers:
            self.callers[work.caller] = ByLength()
        self.callers[work.caller].add(work)
        self.works.add(work)
        self._count(work, 1)

    def remove(self, work: Work) -> None:
        own = self.callers[work.caller]
        own.remove(work)
        if not own:
            del self.callers[work.caller]
        self.works.remove(work)
        self._count(work, -1)

    def drop(self, caller: object) -> None:
        """Forgets all texts of a caller."""
        for work in list(self.callers.get(caller, ())):
            self.remove(work)

    def end_turn(self, caller: object) -> None:
        """Lets the others go first, if the caller still has texts here."""
        if caller in self.callers:
            self.callers.move_to_end(caller)

    def _count(self, work: Work, change: int) -> None:
        index = bisect_left(self._edges, work.tokens)
        self.counts[index] += change
        self.tokens[index] += change * work.tokens
