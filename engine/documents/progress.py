"""How far indexing is, what it has done, and how long it will take.

Values, and one clock that never jumps.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from engine.corpus import SkippedFile

Seconds = Callable[[], float]
"""Seconds since some moment; never goes back."""

Phase = Literal["looking", "reading", "embedding"]
"""The walk; files become chunks, which keyword search finds; their texts get vectors."""

# What a rate is measured by at least, before it is believed.
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What a run has done so far, or what one step adds to that."""

    indexed: int = 0
    """Files that were new or changed."""
    unchanged: int = 0
    removed: int = 0
    """Documents whose files are gone or no longer to be indexed."""
    skipped: tuple[SkippedFile, ...] = ()
    failed: int = 0
    """Skipped files that could not be looked at now, so that they are tried again."""
    guessed_encodings: tuple[str, ...] = ()
    """Paths of files that are no valid Unicode, so that letters beyond ASCII may be wrong."""
    unavailable: tuple[SkippedFile, ...] = ()
    """Roots that could not be looked into, and why; what is indexed of them stays."""
    chunks_added: int = 0
    embedded_texts: int = 0
    lacking_texts: int = 0
    """Stored texts without a vector at the end, which only keyword search finds."""

    def __add__(self, other: "IndexReport") -> "IndexReport":
        names = [one.name for one in fields(self)]
        return IndexReport(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far a run is."""

    phase: Phase
    files_done: int = 0
    files_total: int = 0
    """Documents whose files are gone among them."""
    texts_done: int = 0
    """Embedded in this run."""
    texts_total: int = 0
    """0 before the phase "embedding"."""
    seconds_left: float | None = None
    """Until the end of the phase at the pace so far; None if that is not known yet."""
    path: str = ""
    """The file of this step, if it is one file's."""
    is_last: bool = False
    report: IndexReport

    @property
    def done(self) -> int:
        """Files and texts dealt with; never falls."""
        return self.files_done + self.texts_done

    @property
    def total(self) -> int:
        """Files and texts to deal with, as far as they are counted yet."""
        return self.files_total + self.texts_total


class Pace:
    """How fast work goes on, whatever it is counted in."""

    def __init__(self, total: float, clock: Seconds = time.monotonic) -> None:
        """Starts the clock.

        Args:
            total: All the work.
            clock: Told apart from the time of day, which may jump.
        """
        self._total = total
        self._clock = clock
        self._began = clock()
        self._done = 0.0

    def add(self, work: float) -> None:
        """Counts work as done."""
        self._done += work

    def seconds_left(self) -> float | None:
        """At the pace so far; None if hardly any time has passed."""
        elapsed = self._clock() - self._began
        if elapsed < _LEAST_SECONDS or not self._done:
            return None
        return max(0.0, self._total - self._done) * elapsed / self._done
