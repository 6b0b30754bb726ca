"""Pool: the texts of all callers that wait for vectors, and the runs that serve them.

Decides nothing: `scheduling` says what runs where. Knows rows of token ids and vectors, no texts.
Rules: runs on the CPU are made by the threads of those who wait, one run at a time, whoever's texts
it holds, but who asked a query makes no runs in bulk; every other provider has one thread of its
own, and the engine no threads beside those and the one that prepares a provider. What fails
elsewhere is done again; what fails on the CPU is told to the callers whose texts were in it, and to
no others. Whoever waits also looks whether a provider hangs.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress

from engine.embed.calls import (
    Call,
    Part,
    Row,
    Runner,
    Vectors,
    by_call,
    index_of,
    row_of,
    rows_of,
)
from engine.embed.lanes import Lane, Trial
from engine.embed.latencies import Latencies
from engine.embed.runs import Run
from engine.embed.scheduling import Scheduler
from engine.embed.waiting import Work
from engine.errors import NpuFailed, Unavailable, again
from engine.runtime.providers import CPU
from engine.runtime.shapes import Bucket

# A lane whose run has not come back for so long after the end is left to the process's own end.
_LEFT_SECONDS = 10.0

# How often whoever waits looks whether a provider hangs.
_LOOK_MS = 1000.0

_NEVER = float("inf")

_Outcome = tuple[Sequence[Work], Vectors | Exception]
"""Texts of a run, and their vectors or why there are none."""


class Pool:
    """All that waits for one model. Thread-safe."""

    def __init__(self, scheduler: Scheduler, latencies: Latencies, cpu: Runner) -> None:
        """A pool that nobody waits in.

        Args:
            scheduler: Says what runs where; used by nobody else from now on.
            latencies: What it goes by.
            cpu: Runs what no other provider takes.
        """
        self.latencies = latencies
        self.turn = threading.Condition()
        """Held while calls come and go and runs begin and end; notified at each of these."""
        self._scheduler = scheduler
        self._cpus = [cpu]
        self._cpu_is_running = False
        self._closed: Unavailable | None = None
        self._lanes: dict[str, Lane] = {}
        self._threads: list[threading.Thread] = []
        self._abandoned: deque[Call] = deque()
        self._changes = 0
        self._refused: dict[bool, tuple[int, float]] = {}
        """After how many changes the CPU last got nothing, for queries alone or for all, and when
        to ask again all the same."""

    def add(self, call: Call) -> None:
        """Lets the rows of a call wait for their turn.

        Raises:
            Unavailable: The pool is closed.
        """
        with self.turn:
            if self._closed is not None:
                raise again(self._closed)
            self._scheduler.add(call.works)
            self._changed()

    def next_part(self, call: Call) -> Part | None:
        """What is done next of a call, waited for; None once there is no more.

        Meanwhile the thread makes the runs on the CPU, if nobody else does.

        Raises:
            EngineError: A run failed, or the pool was closed.
        """
        while True:
            with self.turn:
                run = self._run_to_lead(call)
                if run is None:
                    return self._served(call)
            self._lead(run)

    def drop(self, call: Call) -> None:
        """Forgets a call; what runs of it ends with its run. Whoever waits for it is let go."""
        with self.turn:
            call.has_ended = True
            call.parts.clear()
            self._scheduler.drop(call)
            self._changed()

    def drop_later(self, call: Call) -> None:
        """Forgets a call when somebody next looks; for finalisers, which must not take locks."""
        self._abandoned.append(call)

    def serve(self, provider: str, buckets: Collection[Bucket]) -> None:
        """From now on a provider takes runs of these shapes; none puts it out of service."""
        with self.turn:
            self._scheduler.set_shapes(provider, buckets)
            self._changed()

    @property
    def waiting(self) -> int:
        """Texts that wait for their run."""
        with self.turn:
            self._clear_up()
            return self._scheduler.waiting

    @contextmanager
    def cpu_runs(self, runner: Runner) -> Generator[None]:
        """Has another runner make the runs on the CPU meanwhile, one that gives equal vectors."""
        self._cpus.append(runner)
        try:
            yield
        finally:
            self._cpus.remove(runner)

    def open_lane(self, runner: Runner, lost: Callable[[str], None]) -> None:
        """Starts the thread that makes the runs of a provider other than the CPU.

        Args:
            runner: Its failed runs are made again, here or elsewhere; it takes out of service
                itself what does not work.
            lost: Told, with a reason, that a run does not come back; the provider then gets no
                more until the pool is opened anew.
        """
        lane = Lane(runner, lost)
        self._lanes[runner.provider] = lane
        thread = threading.Thread(
            target=self._work, args=[lane], name=f"embed-{runner.provider}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def try_run(
        self, provider: str, runner: Runner, rows: Sequence[Row], bucket: Bucket
    ) -> tuple[Vectors, float]:
        """Runs rows on a provider between the texts of callers, and tells the milliseconds.

        Raises:
            EngineError: The run failed, the provider hangs, or the pool was closed.
        """
        lane, trial = self._lanes[provider], Trial(runner, rows, bucket)
        with self.turn:
            lane.trials.append(trial)
            self._changed()
            while not trial.has_ended:
                self._look_for_hung()
                if lane.is_lost or (self._closed is not None and trial is not lane.trial):
                    raise NpuFailed("device-lost", "The provider takes no more runs.")
                self._wait(_NEVER)
        if trial.error is not None:
            raise trial.error
        assert trial.vectors is not None
        return trial.vectors, trial.ms

    def close(self, reason: Unavailable) -> None:
        """Ends all calls with that reason, refuses new ones, and waits for the lanes' runs."""
        with self.turn:
            self._closed = reason
            self._changed()
        for thread in self._threads:
            thread.join(_LEFT_SECONDS)

    # Callers

    def _run_to_lead(self, call: Call) -> Run | None:
        """A run on the CPU for a caller's thread to make; None once the caller is served."""
        while not self._is_served(call):
            self._clear_up()
            again_at = _NEVER
            if not self._cpu_is_running:
                run, again_at = self._asked(call.is_query)
                if run is not None:
                    self._cpu_is_running = True
                    return run
            self._wait(again_at)
        return None

    def _asked(self, queries_only: bool) -> tuple[Run | None, float]:
        """What the CPU is to run; or nothing, and when to ask again if nothing changes before."""
        now = _now()
        changes, again_at = self._refused.get(queries_only, (-1, 0.0))
        if changes == self._changes and now < again_at:
            return None, again_at
        run = self._scheduler.next_run(CPU, now, bulk=not queries_only)
        if run is None:
            at = self._scheduler.ask_again_at(CPU, now)
            again_at = _NEVER if at is None else max(at, now + 1)
            self._refused[queries_only] = self._changes, again_at
        return run, again_at

    def _is_served(self, call: Call) -> bool:
        ended = call.has_ended or call.error is not None or not call.left
        return bool(call.parts) or ended or self._closed is not None

    def _served(self, call: Call) -> Part | None:
        if call.parts:
            return call.parts.popleft()
        if call.error is not None or (call.left and not call.has_ended and self._closed):
            self._scheduler.drop(call)
            call.has_ended = True
            error, call.error = call.error or self._closed, None
            assert error is not None
            raise again(error)
        return None

    def _lead(self, run: Run) -> None:
        """One run on the CPU, or one a caller where the common one failed."""
        outcomes: list[_Outcome] = []
        try:
            outcomes = [(run.works, self._cpus[-1].run(*rows_of(run.works)))]
        except Exception as error:  # noqa: BLE001 - each caller gets it.
            calls = [[run.works[n] for n in numbers] for numbers in by_call(run.works).values()]
            alone = len(calls) == 1
            outcomes = [(run.works, error)] if alone else list(map(self._run_alone, calls))
        finally:
            with self.turn:
                self._cpu_is_running = False
                if outcomes:
                    is_whole = len(outcomes) == 1 and not isinstance(outcomes[0][1], Exception)
                    self._end(run, outcomes, learns=is_whole)
                else:  # The thread was interrupted.
                    self._scheduler.failed(run)
                    self._changed()

    def _run_alone(self, works: Sequence[Work]) -> _Outcome:
        try:
            return works, self._cpus[-1].run(*rows_of(works))
        except Exception as error:  # noqa: BLE001 - its caller gets it.
            return works, error

    # Lanes

    def _work(self, lane: Lane) -> None:
        """What a lane's thread does until the pool is closed or the provider is given up."""
        while (work := self._next_work(lane)) is not None:
            if isinstance(work, Trial):
                self._try(lane, work)
            else:
                self._run(lane, work)

    def _next_work(self, lane: Lane) -> Run | Trial | None:
        provider = lane.runner.provider
        with self.turn:
            while self._closed is None and not lane.is_lost:
                self._clear_up()
                now = _now()
                if lane.trials:
                    trial = lane.trials.popleft()
                    lane.begin(trial, now)
                    return trial
                if (run := self._scheduler.next_run(provider, now)) is not None:
                    lane.begin(run, now, self.latencies.tail(provider, run.bucket))
                    return run
                again_at = self._scheduler.ask_again_at(provider, now)
                self._wait(_NEVER if again_at is None else max(again_at, now + 1))
        return None

    def _try(self, lane: Lane, trial: Trial) -> None:
        started = _now()
        try:
            vectors = trial.runner.run(trial.rows, trial.bucket)
        except BaseException as error:  # noqa: BLE001 - whoever wanted the run gets it.
            trial.error = error
        else:
            trial.ms, trial.vectors = _now() - started, vectors
        with self.turn:
            lane.end()
            self._changed()

    def _run(self, lane: Lane, run: Run) -> None:
        vectors: Vectors | None = None
        with suppress(Exception):  # The runner takes note, and the work is done again.
            vectors = lane.runner.run([row_of(work) for work in run.works], run.bucket)
        with self.turn:
            was_given_up = lane.run is not run
            lane.end()
            if was_given_up:
                return
            if vectors is None:
                self._scheduler.failed(run)
                self._changed()
            else:
                self._end(run, [(run.works, vectors)], learns=True)

    def _clear_up(self) -> None:
        """Forgets calls that nobody iterates any more, and gives up what hangs."""
        while self._abandoned:
            self.drop(self._abandoned.popleft())
        self._look_for_hung()

    def _look_for_hung(self) -> None:
        """Puts providers out of service that do not come back; their texts wait again."""
        now = _now()
        for provider, lane in self._lanes.items():
            if now < lane.hangs_at():
                continue
            lane.is_lost = True
            self._scheduler.set_shapes(provider, ())
            if lane.run is not None:
                self._scheduler.failed(lane.run)
            lane.run = None
            self._changed()
            lane.lost(f"a run did not end in {lane.patience_ms / 1000:.0f} s")

    # Both

    def _end(self, run: Run, outcomes: Sequence[_Outcome], *, learns: bool) -> None:
        """Gives each caller what came of those of its texts that it still waits for."""
        wanted = set(self._scheduler.finished(run, _now(), learns=learns))
        for works, outcome in outcomes:
            for call, numbers in by_call(works).items():
                numbers = [number for number in numbers if works[number] in wanted]
                if not numbers:
                    continue
                if isinstance(outcome, Exception):
                    call.error = outcome
                    self._scheduler.drop(call)
                else:
                    indices = tuple(index_of(works[number]) for number in numbers)
                    call.parts.append(Part(indices, outcome[numbers], run.provider))
                    call.left -= len(numbers)
        self._changed()

    def _changed(self) -> None:
        """Everybody who waits looks again."""
        self._changes += 1
        self.turn.notify_all()

    def _wait(self, until: float) -> None:
        """Until something changes or that time has come, or to look whether a provider hangs."""
        now = _now()
        if self._lanes:
            until = min(until, now + _LOOK_MS)
        self.turn.wait(None if until == _NEVER else max(0.0, until - now) / 1000)


def _now() -> float:
    return time.perf_counter() * 1000
