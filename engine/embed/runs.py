"""Runs: what a provider was given, and how late it is.

All times are in milliseconds. Knows nothing of what waits.
"""

from dataclasses import dataclass, field

from engine.embed.waiting import Work
from engine.runtime.shapes import Bucket


@dataclass(frozen=True, slots=True)
class Run:
    """Texts that a provider runs together."""

    provider: str
    bucket: Bucket
    """The padded shape; may have more rows than there are works."""
    works: tuple[Work, ...]
    predicted_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A run that has not ended."""

    run: Run
    at: float
    tail_ms: float
    """What 19 of 20 such runs do not exceed."""
    dropped: set[object] = field(default_factory=set[object])
    """Callers who want no more."""

    @property
    def wanted(self) -> tuple[Work, ...]:
        """Its texts that somebody still waits for."""
        works = self.run.works
        return tuple(w for w in works if not w.is_done and w.caller not in self.dropped)

    def remaining_ms(self, now: float) -> float:
        """How long it will take yet: up to its tail, and then as long again as it is overdue."""
        elapsed = now - self.at
        if elapsed < self.run.predicted_ms:
            return self.run.predicted_ms - elapsed
        return max(self.tail_ms - elapsed, elapsed - self.run.predicted_ms)

    def doubtful_at(self, now: float) -> float:
        """When it will be overdue, or overdue for twice as long as it is."""
        due = self.at + self.tail_ms
        return due if now < due else now + max(now - due, self.run.predicted_ms)

    def hopeless_at(self, other_ms: float) -> float:
        """When somebody else who takes so long should run its texts, too."""
        return self.at + max(self.tail_ms, self.run.predicted_ms + other_ms)
