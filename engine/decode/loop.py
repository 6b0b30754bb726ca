"""Loop: carries out what `slots` decides, one run of the graph at a time.

Blocking, and without a thread of its own: whoever needs a piece calls `step_for`, which brings all
sequences on. Knows token ids and logits; knows nothing of chat roles, HTTP or event loops.
Rules: an error ends the sequences that took part in the run, and every end frees the row. One
thread steps at a time; those who wait leave as soon as a step has served them; and whoever adds or
removes a sequence goes before the next step.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from engine.decode.forward import Forward
from engine.decode.kv_cache import Row
from engine.decode.prefix_cache import Ids, PrefixCache, shared_length
from engine.decode.sequence import Sequence
from engine.decode.slots import Grow, Read, Slots
from engine.errors import Unavailable, again
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
        self._turn = threading.Condition()
        """Held while sequences come and go; notified when somebody may go on."""
        self._is_stepping = False
        self._changes = 0
        """Callers who have to add or remove sequences."""
        self._closed: Unavailable | None = None

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the queue.

        Raises:
            Unavailable: The loop is closed.
        """
        with self._between_steps():
            if self._closed is not None:
                raise again(self._closed)
            self.slots.waiting.append(sequence)

    def step_for(self, sequence: Sequence) -> None:
        """One step for all, unless somebody else's step serves this sequence meanwhile."""
        with self._turn:
            self._turn.wait_for(lambda: _is_served(sequence) or self._is_free)
            if _is_served(sequence):
                return
            self._is_stepping = True
        try:
            self._step()
        finally:
            with self._turn:
                self._is_stepping = False
                self._turn.notify_all()

    def remove(self, sequence: Sequence) -> None:
        """Ends a sequence, after the running step at the latest, and frees its row."""
        sequence.stop.set()
        with self._between_steps():
            self._end([sequence])

    def close(self, reason: Unavailable) -> None:
        """Ends all sequences with that reason, keeps nothing, and refuses new ones."""
        self._closed = reason
        for sequence in self.slots.working:
            sequence.stop.set()
        with self._between_steps():
            self._end(self.slots.everyone)
            self.prefixes.clear()

    @property
    def _is_free(self) -> bool:
        """Whether the next step may begin."""
        return not (self._is_stepping or self._changes)

    @contextmanager
    def _between_steps(self) -> Generator[None]:
        """Waits for the running step's end, and holds the next one up."""
        with self._turn:
            self._changes += 1
            try:
                self._turn.wait_for(lambda: not self._is_stepping)
                yield
            finally:
                self._changes -= 1
                self._turn.notify_all()

    def _step(self) -> None:
        # 1. Whoever wants no more makes room for whoever waits.
        self._end([each for each in self.slots.everyone if each.stop.is_set])
        if (admitted := self.slots.admit(self._fits)) is not None:
            self._carry_out(lambda: self._admit(admitted), [admitted])
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
                sequence.fail(again(error))
        self._end([each for each in sequences if each.has_ended or each.stop.is_set])

    def _admit(self, sequence: Sequence) -> None:
        sequence.row = self.forward.cache.open_row(len(sequence.ids))
        sequence.cached_tokens = self._take_over(sequence.row, sequence)

    def _fits(self, sequence: Sequence) -> bool:
        """Whether there is room for it beside the others, however long they all become."""
        working = [*self.slots.working, sequence]
        return self.forward.cache.fits(len(working), max(each.limit for each in working))

    def _take_over(self, row: Row, sequence: Sequence) -> int:
        """Fills a row with what others computed for a beginning of this prompt; its length."""
        cache, most = self.forward.cache, len(sequence.prompt) - _LEFT_TO_READ
        kept, length = self.prefixes.longest(sequence.prompt)
        shared = {shared_length(o.prompt, sequence.prompt): o for o in self.slots.answering}
        longest = max(shared, default=0)
        if min(max(length, longest), most) < _WORTH_COPYING:
            return 0
        if kept is not None and length >= longest:
            arrays, taken = kept.arrays, min(length, most)
        else:
            taken = min(longest, most)
            arrays = cache.read(shared[longest].held_row, taken)
        cache.write(row, arrays, taken)
        return taken

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
        """Ends these, with an error where they had not ended and the loop has been closed."""
        for sequence in sequences:
            self.slots.remove(sequence)
            if not sequence.has_ended:
                sequence.fail(None if self._closed is None else again(self._closed))
            row, sequence.row = sequence.row, None
            if row is not None:
                self._free(row, sequence.prompt[: row.position])

    def _free(self, row: Row, read: Ids) -> None:
        """Gives a row back, and keeps what was computed for its prompt if that is worth it."""
        length = self._worth_keeping(read)
        try:
            arrays = self.forward.cache.close_row(row, length)
        except MemoryError:  # The row is free all the same.
            return
        if length:
            self.prefixes.put(read[:length], arrays, length * self.forward.layout.token_bytes)

    def _worth_keeping(self, read: Ids) -> int:
        """How many of these tokens there is room for; 0 if they are few or kept already."""
        length = min(len(read), self.prefixes.limit_bytes // self.forward.layout.token_bytes)
        if length < _WORTH_COPYING or self._closed is not None:
            return 0
        return length if self.prefixes.longest(read[:length])[1] < length else 0


def _is_served(sequence: Sequence) -> bool:
    return bool(sequence.pieces) or sequence.has_ended
