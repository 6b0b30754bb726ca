"""Lane: what a provider other than the CPU is at, one thing at a time, and whether it hangs.

Knows that something runs and since when; what to run next is decided by `scheduling`, and the
thread that works it off belongs to `pool`. Times are in milliseconds.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.embed.calls import Row, Runner, Vectors
from engine.embed.runs import Run
from engine.runtime.shapes import Bucket

# A run that takes so long does not come back: of a shape that was measured so many times its tail,
# and never less than the first; of one that was not, the second.
_HUNG_MS, _HUNG_TAILS, _HUNG_TRIAL_MS = 10_000.0, 20, 120_000.0


@dataclass(slots=True, eq=False)
class Trial:
    """A run for nobody's text, to prove or measure a shape that need not be in service."""

    runner: Runner
    rows: Sequence[Row]
    bucket: Bucket
    vectors: Vectors | None = None
    ms: float = 0.0
    error: BaseException | None = None
    """Why there are no vectors."""

    @property
    def has_ended(self) -> bool:
        """Whether it is over, one way or the other."""
        return self.vectors is not None or self.error is not None


@dataclass(slots=True, eq=False)
class Lane:
    """One provider and its work."""

    runner: Runner
    lost: Callable[[str], None]
    """Told, with a reason, that the provider does not come back."""
    trials: deque[Trial] = field(default_factory=deque[Trial])
    """Waiting ones; they go before texts."""
    run: Run | None = None
    """What it runs for callers."""
    trial: Trial | None = None
    since: float | None = None
    """When that began; None while nothing runs."""
    patience_ms: float = 0.0
    is_lost: bool = False

    def begin(self, work: Run | Trial, now: float, tail_ms: float = 0.0) -> None:
        """Notes what runs from now on."""
        self.since = now
        if isinstance(work, Trial):
            self.trial, self.patience_ms = work, _HUNG_TRIAL_MS
        else:
            self.run, self.patience_ms = work, max(_HUNG_MS, _HUNG_TAILS * tail_ms)

    def end(self) -> None:
        """Notes that nothing runs."""
        self.run = self.trial = self.since = None

    def hangs_at(self) -> float:
        """When what runs will count as hanging; never, while nothing does."""
        return float("inf") if self.since is None or self.is_lost else self.since + self.patience_ms
