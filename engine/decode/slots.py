"""Slots: decides who waits, whose prompt is read next, and whose answers grow together.

Decides and does nothing: `loop` carries it out. Rules: sequences are served in the order in which
they came; one prompt is read at a time, in parts; and between two parts every answer that has begun
gets a token, so that a long prompt starves nobody.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.decode.sequence import Sequence

# While answers grow beside it a prompt is read in parts of this share, so that they wait for a part
# about as long as for a few tokens.
_SHARED_PART = 4


@dataclass(frozen=True, slots=True)
class Read:
    """Read the next so many tokens of a prompt."""

    sequence: Sequence
    tokens: int


@dataclass(frozen=True, slots=True)
class Grow:
    """Give each of these answers its next token."""

    sequences: tuple[Sequence, ...]


class Slots:
    """The sequences of one model."""

    def __init__(self, count: int, part: int) -> None:
        """No sequences yet.

        Args:
            count: How many may be in work at once.
            part: Tokens of a prompt that are read in one run.
        """
        self.count = count
        self.waiting: deque[Sequence] = deque()
        """In the order in which they came."""
        self.reading: Sequence | None = None
        self.answering: list[Sequence] = []
        self._part = part
        self._read_last = False

    @property
    def working(self) -> list[Sequence]:
        """All that have begun and not ended."""
        return self.answering + ([self.reading] if self.reading is not None else [])

    @property
    def everyone(self) -> list[Sequence]:
        """All that have not ended."""
        return [*self.working, *self.waiting]

    def admit(self, fits: Callable[[Sequence], bool]) -> Sequence | None:
        """The one whose prompt is now to be begun, if there is one and there is room for it."""
        free = self.reading is None and len(self.answering) < self.count
        if not free or not self.waiting or not fits(self.waiting[0]):
            return None
        self.reading = self.waiting.popleft()
        return self.reading

    def next(self) -> Read | Grow | None:
        """What to do next."""
        reading = self.reading
        if reading is not None and not (self._read_last and self.answering):
            self._read_last = True
            size = max(2, self._part // _SHARED_PART) if self.answering else self._part
            return Read(reading, part_size(reading.unread, size))
        self._read_last = False
        return Grow(tuple(self.answering)) if self.answering else None

    def begin_answer(self) -> None:
        """Tells that the prompt has been read."""
        assert self.reading is not None
        self.answering.append(self.reading)
        self.reading = None

    def remove(self, sequence: Sequence) -> None:
        """Forgets one, wherever it stands."""
        if sequence is self.reading:
            self.reading = None
        elif sequence in self.answering:
            self.answering.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)


def part_size(unread: int, size: int) -> int:
    """Tokens of a prompt to read now, so that none is ever left to be read alone.

    One token alone takes another kernel, whose last bits differ; see `forward`.
    """
    if unread - size == 1:
        return size - 1 if size > 2 else unread
    return min(unread, size)
