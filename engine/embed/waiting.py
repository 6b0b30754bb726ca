"""Waiting: texts that wait for a run, by whose turn it is and by length.

Knows token counts and callers; knows nothing of providers, times or models.
Rules: callers take turns, however much each has waiting; texts of one length leave in the order in
which they came; finding and removing a text takes no longer where many wait.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.runtime.shapes import Bucket

# A tenth of a batch may be padding; and rows that differ by so few tokens always share a run, since
# a run of its own costs a short text more than that.
_MOST_PADDING, _ALIKE = 0.1, 8


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
    is_done: bool = False
    """A run of it has finished."""


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


class Batch:
    """Texts of like length, as far as they have been gathered."""

    def __init__(self, max_tokens: int, max_rows: int) -> None:
        """No text yet; the first may be of any length.

        Args:
            max_tokens: The most tokens of several texts, padding included.
            max_rows: The most texts.
        """
        self.works: list[Work] = []
        self._max_tokens, self._max_rows = max_tokens, max_rows
        self._tokens = 0
        self._longest = 0
        self._shortest = 0

    @property
    def bucket(self) -> Bucket:
        """Its padded shape."""
        return Bucket(len(self.works), self._longest)

    def bucket_with(self, work: Work) -> Bucket:
        """Its padded shape were that text added."""
        return Bucket(len(self.works) + 1, max(self._longest, work.tokens))

    def has_room(self, work: Work) -> bool:
        """Whether a text may join: within the limits, and without much padding."""
        if not self.works:
            return True
        rows, longest = len(self.works) + 1, max(self._longest, work.tokens)
        if rows > self._max_rows or rows * longest > self._max_tokens:
            return False
        if longest - min(self._shortest, work.tokens) <= _ALIKE:
            return True
        return self._tokens + work.tokens >= (1 - _MOST_PADDING) * rows * longest

    def add(self, work: Work) -> None:
        """Puts a text that there is room for beside the others."""
        self._shortest = min(self._shortest, work.tokens) if self.works else work.tokens
        self._longest = max(self._longest, work.tokens)
        self._tokens += work.tokens
        self.works.append(work)
