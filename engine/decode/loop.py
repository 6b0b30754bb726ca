"""Loop: carries out what `slots` decides, one run of the graph at a time.

Blocking, and without a thread of its own: whoever needs a piece calls `step_for`, which brings all
sequences on. Knows token ids and logits; knows nothing of chat roles, HTTP or event loops.
Rule: an error ends the sequences that took part in the run, and every end frees the row.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from engine.decode.forward import Forward
from engine.decode.kv_cache import Row
from engine.decode.prefix_cache import PrefixCache, shared_length
from engine.decode.sequence import Sequence
from engine.decode.slots import Grow, Read, Slots
from engine.errors import Unavailable
from engine.runtime.session import Array, Interrupted

# A prefix shorter than this is read again rather than copied; and so many tokens of a prompt are
# always left to read, since a run of one token takes another kernel.
_WORTH_COPYING, _LEFT_TO_READ = 16, 2

# Tokens that are drafted for one run at most.
_MOST_DRAFTED = 15


@dataclass(slots=True)
class Figures:
    """What has been done so far, in tokens and in seconds of runs."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    answer_tokens: int = 0
    answer_seconds: float = 0.0


class Loop:
    """All sequences of one model. Thread-safe."""

    def __init__(self, forward: Forward, slots: Slots, prefixes: PrefixCache[list[Array]]) -> None:
        self.forward = forward
        self.slots = slots
        self.prefixes = prefixes
        self.figures = Figures()
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
            case Grow(sequences):
                self._grow(sequences)
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
            row = self.forward.cache.open_row(len(sequence.ids))
            sequence.begin(row, self._take_over(row, sequence))

    def _fits(self, sequence: Sequence) -> bool:
        """Whether there is room for it beside the others, however long they all become."""
        working = [*self.slots.working, sequence]
        return self.forward.cache.fits(len(working), max(each.limit for each in working))

    def _take_over(self, row: Row, sequence: Sequence) -> int:
        """Fills a row with what others computed for a beginning of this prompt; its length."""
        kept, length = self.prefixes.longest(sequence.prompt)
        arrays = kept.arrays if kept is not None else []
        for other in self.slots.answering:
            if (shared := shared_length(other.prompt, sequence.prompt)) > length:
                length, arrays = shared, self.forward.cache.read(other.held_row, shared)
        length = min(length, len(sequence.prompt) - _LEFT_TO_READ)
        if length < _WORTH_COPYING:
            return 0
        self.forward.cache.write(row, arrays, length)
        return length

    def _keep(self, sequence: Sequence) -> None:
        """Keeps what was computed for its prompt, as much of it as there is room for."""
        token_bytes = self.forward.layout.token_bytes
        read = min(sequence.position, len(sequence.prompt))
        length = min(read, self.prefixes.limit_bytes // token_bytes)
        prefix = sequence.prompt[:length]
        if length >= _WORTH_COPYING and self.prefixes.longest(prefix)[1] < length:
            arrays = self.forward.cache.read(sequence.held_row, length)
            self.prefixes.put(prefix, arrays, length * token_bytes)

    def _read(self, sequence: Sequence, tokens: int) -> None:
        part = sequence.pending[:tokens]
        started = time.perf_counter()
        logits = self.forward.extend(sequence.held_row, part, stop=sequence.stop)
        self.figures.prompt_seconds += time.perf_counter() - started
        self.figures.prompt_tokens += len(part)
        if not sequence.unread:
            self.slots.begin_answer()
        sequence.read(logits)

    def _grow(self, sequences: Iterable[Sequence]) -> None:
        """Gives each its next token, or those of its drafts that are right and one more.

        What is drafted depends on the sequence alone, so that its neighbours change nothing.
        """
        together: list[Sequence] = []
        for sequence in sequences:
            if draft := sequence.draft(_MOST_DRAFTED):
                self._carry_out(partial(self._check, sequence, draft), [sequence])
            else:
                together.append(sequence)
        match together:
            case []:
                pass
            case [sequence]:
                self._carry_out(lambda: self._check(sequence, []), [sequence])
            case _:
                self._carry_out(lambda: self._grow_together(together), together)

    def _check(self, sequence: Sequence, draft: list[int]) -> None:
        before, started = len(sequence.ids), time.perf_counter()
        tokens = [*sequence.pending, *draft]
        row, stop = sequence.held_row, sequence.stop
        logits = self.forward.extend(row, tokens, wanted=len(tokens), stop=stop)
        sequence.check(draft, logits)
        self._count_grown(len(sequence.ids) - before, started)

    def _grow_together(self, sequences: list[Sequence]) -> None:
        started = time.perf_counter()
        logits = self.forward.step(
            [sequence.held_row for sequence in sequences],
            [sequence.ids[-1] for sequence in sequences],
        )
        for sequence, row in zip(sequences, logits, strict=True):
            try:
                sequence.check([], row[None])
            except Exception as error:  # noqa: BLE001 - its caller gets it; the others go on.
                sequence.fail(error)
        self._count_grown(len(sequences), started)

    def _count_grown(self, tokens: int, started: float) -> None:
        self.figures.answer_seconds += time.perf_counter() - started
        self.figures.answer_tokens += tokens

    def _end(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            self.slots.remove(sequence)
            sequence.has_ended = True
            if sequence.row is not None:
                self._keep(sequence)
                self.forward.cache.close_row(sequence.row)
                sequence.row = None
