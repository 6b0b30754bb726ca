"""Loop: carries out what `slots` decides, one run of the graph at a time.

Blocking, and without a thread of its own: whoever needs a piece calls `step_for`, which brings all
sequences on. Knows token ids and logits; knows nothing of chat roles, HTTP or event loops.
Rule: an error ends the sequences that took part in the run, and every end frees the row.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.decode.forward import Forward, Logits
from engine.decode.sequence import Sequence
from engine.decode.slots import Grow, Read, Slots
from engine.errors import Unavailable
from engine.runtime.session import Interrupted


@dataclass(slots=True)
class Figures:
    """What has been done so far, in tokens and in seconds of runs."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    answer_tokens: int = 0
    answer_seconds: float = 0.0


class Loop:
    """All sequences of one model. Thread-safe."""

    def __init__(self, forward: Forward, slots: Slots) -> None:
        self.slots = slots
        self.figures = Figures()
        self.forward = forward
        self._lock = threading.Lock()
        self._closed: Unavailable | None = None

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the queue.

        Raises:
            Unavailable: The loop is closed.
        """
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self.slots.waiting.append(sequence)

    def step_for(self, sequence: Sequence) -> None:
        """One step for all, unless somebody else's step has served this sequence meanwhile."""
        with self._lock:
            if not sequence.pieces and not sequence.has_ended:
                self._step()

    def remove(self, sequence: Sequence) -> None:
        """Ends a sequence, after the running step at the latest, and frees its row."""
        sequence.stop.set()
        with self._lock:
            self._end([sequence])

    def close(self, reason: Unavailable) -> None:
        """Ends all sequences with that reason, and refuses new ones."""
        for sequence in self.slots.working:
            sequence.stop.set()
        with self._lock:
            self._closed = reason
            ended = [*self.slots.working, *self.slots.waiting]
            for sequence in ended:
                sequence.fail(reason)
            self._end(ended)

    def _step(self) -> None:
        # 1. Whoever wants no more makes room for whoever waits.
        self._end([each for each in self.slots.working if each.stop.is_set])
        self._admit()
        # 2. One run.
        match self.slots.next():
            case Read(sequence, tokens):
                self._carry_out(lambda: self._read(sequence, tokens), [sequence])
            case Grow([sequence]):
                self._carry_out(lambda: self._grow_alone(sequence), [sequence])
            case Grow(sequences):
                self._carry_out(lambda: self._grow(sequences), sequences)
            case None:
                pass

    def _carry_out(self, run: Callable[[], None], sequences: Iterable[Sequence]) -> None:
        try:
            run()
        except Interrupted:
            pass  # Its caller has gone.
        except Exception as error:  # noqa: BLE001 - each sequence's caller gets it.
            for sequence in sequences:
                sequence.fail(error)
        self._end([each for each in sequences if each.has_ended or each.stop.is_set])

    def _admit(self) -> None:
        sequence = self.slots.admit(self._fits)
        if sequence is not None:
            sequence.row = self.forward.cache.open_row(len(sequence.ids))

    def _fits(self, sequence: Sequence) -> bool:
        """Whether there is room for it beside the others, however long they all become."""
        working = [*self.slots.working, sequence]
        return self.forward.cache.fits(len(working), max(each.limit for each in working))

    def _read(self, sequence: Sequence, tokens: int) -> None:
        part = sequence.pending[:tokens]
        started = time.perf_counter()
        logits = self.forward.extend(sequence.held_row, part, stop=sequence.stop)
        self.figures.prompt_seconds += time.perf_counter() - started
        self.figures.prompt_tokens += len(part)
        sequence.read()
        if not sequence.unread:
            self.slots.begin_answer()
            sequence.choose(logits[0])

    def _grow_alone(self, sequence: Sequence) -> None:
        started = time.perf_counter()
        logits = self.forward.extend(sequence.held_row, sequence.pending[:1], stop=sequence.stop)
        self._count_grown(1, started)
        self._choose(sequence, logits[0])

    def _grow(self, sequences: tuple[Sequence, ...]) -> None:
        started = time.perf_counter()
        logits = self.forward.step(
            [sequence.held_row for sequence in sequences],
            [sequence.pending[0] for sequence in sequences],
        )
        self._count_grown(len(sequences), started)
        for sequence, row in zip(sequences, logits, strict=True):
            self._choose(sequence, row)

    def _choose(self, sequence: Sequence, logits: Logits) -> None:
        try:
            sequence.choose(logits)
        except Exception as error:  # noqa: BLE001 - its caller gets it; the others go on.
            sequence.fail(error)

    def _count_grown(self, tokens: int, started: float) -> None:
        self.figures.answer_seconds += time.perf_counter() - started
        self.figures.answer_tokens += tokens

    def _end(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            self.slots.remove(sequence)
            sequence.has_ended = True
            if sequence.row is not None:
                self.forward.cache.close_row(sequence.row)
                sequence.row = None
