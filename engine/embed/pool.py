"""Pool: the texts of all callers that wait for vectors, and the runs that serve them.

Decides nothing: `scheduling` says what runs where. Knows rows of token ids and vectors, no texts.
Rules: runs on the CPU are made by the threads of those who wait, one run at a time, whoever's texts
it holds; every other provider has one thread of its own, and the engine no threads beside those and
the one that prepares a provider. What fails elsewhere is done again; what fails on the CPU is told
to the callers whose texts were in it, and to no others.
"""

import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from engine.embed.calls import Call, Part, Runner, Vectors, by_call, index_of, row_of, rows_of
from engine.embed.latencies import Latencies, Latency
from engine.embed.scheduling import Run, Scheduler
from engine.embed.waiting import Work
from engine.errors import Unavailable, again
from engine.runtime.providers import CPU
from engine.runtime.shapes import Bucket

# A lane whose run has not come back for so long after the end is left to the process's own end.
_HUNG_SECONDS = 10.0


_Outcome = tuple[Sequence[Work], Vectors | Exception]
"""Texts of a run, and their vectors or why there are none."""


class Pool:
    """All that waits for one model. Thread-safe."""

    def __init__(self, scheduler: Scheduler, latencies: Latencies, cpu: Runner) -> None:
        """A pool that nobody waits in.

        Args:
            scheduler: Says what runs where; used by nobody else from now on.
            latencies: What it goes by; likewise.
            cpu: Runs what no other provider takes.
        """
        self._scheduler = scheduler
        self._latencies = latencies
        self._cpu = cpu
        self._turn = threading.Condition()
        """Held while calls come and go and runs begin and end; notified at each of these."""
        self._cpu_is_running = False
        self._closed: Unavailable | None = None
        self._lanes: list[threading.Thread] = []
        self._running: dict[str, Run] = {}
        """What the lanes are at, by provider."""

    def add(self, call: Call) -> None:
        """Lets the rows of a call wait for their turn.

        Raises:
            Unavailable: The pool is closed.
        """
        with self._turn:
            if self._closed is not None:
                raise again(self._closed)
            self._scheduler.add(call.works)
            self._turn.notify_all()

    def next_part(self, call: Call) -> Part | None:
        """What is done next of a call, waited for; None once there is no more.

        Meanwhile the thread makes the runs on the CPU, if nobody else does.

        Raises:
            EngineError: A run failed, or the pool was closed.
        """
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._is_served(call) or not self._cpu_is_running)
                if self._is_served(call):
                    return self._served(call)
                run = self._scheduler.next_run(CPU, _now())
                if run is None:
                    self._wait(CPU)
                    continue
                self._cpu_is_running = True
            try:
                self._run_on_cpu(run)
            finally:
                with self._turn:
                    self._cpu_is_running = False
                    self._turn.notify_all()

    def drop(self, call: Call) -> None:
        """Forgets a call; what runs of it ends with its run. Whoever waits for it is let go."""
        with self._turn:
            call.has_ended = True
            call.parts.clear()
            self._scheduler.drop(call)
            self._turn.notify_all()

    def serve(self, provider: str, buckets: Collection[Bucket]) -> None:
        """From now on a provider takes runs of these shapes; none puts it out of service."""
        with self._turn:
            self._scheduler.set_shapes(provider, buckets)
            self._turn.notify_all()

    def give_up(self, provider: str) -> None:
        """Puts a provider out of service that does not come back from its run.

        Its texts wait again; should the run end after all, nobody looks at what it gave.
        """
        with self._turn:
            self._scheduler.set_shapes(provider, ())
            if (run := self._running.pop(provider, None)) is not None:
                self._scheduler.failed(run, _now())
            self._turn.notify_all()

    def calibrate(self, provider: str, bucket: Bucket, samples_ms: Sequence[float]) -> None:
        """Notes how long runs of a shape took."""
        with self._turn:
            self._latencies.calibrate(provider, bucket, samples_ms)

    def latencies(self) -> tuple[Latency, ...]:
        """How long runs take, as far as that is known."""
        with self._turn:
            return self._latencies.rows()

    def latencies_json(self) -> dict[str, Any]:
        """The same, to be kept for `Latencies.from_json`."""
        with self._turn:
            return self._latencies.to_json()

    def is_drifting(self, provider: str, bucket: Bucket) -> bool:
        """Whether a shape should be calibrated anew."""
        with self._turn:
            return self._latencies.is_drifting(provider, bucket)

    @property
    def waiting(self) -> int:
        """Texts that wait for their run."""
        with self._turn:
            return self._scheduler.waiting

    def add_lane(self, runner: Runner) -> None:
        """Starts the thread that makes the runs of a provider other than the CPU.

        Its failed runs are made again, here or elsewhere: the runner itself takes out of service
        what does not work.
        """
        lane = threading.Thread(
            target=self._work, args=[runner], name=f"embed-{runner.provider}", daemon=True
        )
        self._lanes.append(lane)
        lane.start()

    def close(self, reason: Unavailable) -> None:
        """Ends all calls with that reason, refuses new ones, and waits for the lanes' runs."""
        with self._turn:
            self._closed = reason
            self._turn.notify_all()
        for lane in self._lanes:
            lane.join(_HUNG_SECONDS)

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

    def _run_on_cpu(self, run: Run) -> None:
        """One run, or one a caller where the common one failed."""
        try:
            self._end(run, [(run.works, self._cpu.run(*rows_of(run.works)))])
        except Exception as error:  # noqa: BLE001 - each caller gets it.
            calls = [[run.works[n] for n in numbers] for numbers in by_call(run.works).values()]
            alone = [(run.works, error)] if len(calls) == 1 else map(self._alone, calls)
            self._end(run, list(alone))

    def _alone(self, works: Sequence[Work]) -> _Outcome:
        try:
            return works, self._cpu.run(*rows_of(works))
        except Exception as error:  # noqa: BLE001 - its caller gets it.
            return works, error

    def _work(self, runner: Runner) -> None:
        """What a lane's thread does until the pool is closed."""
        while (run := self._next_run(runner.provider)) is not None:
            try:
                vectors = runner.run([row_of(work) for work in run.works], run.bucket)
            except Exception:  # noqa: BLE001 - the runner takes note; the work is done again.
                with self._turn:
                    if self._running.pop(run.provider, None) is run:
                        self._scheduler.failed(run, _now())
                        self._turn.notify_all()
            else:
                with self._turn:
                    if self._running.pop(run.provider, None) is run:
                        self._end(run, [(run.works, vectors)])

    def _next_run(self, provider: str) -> Run | None:
        with self._turn:
            while self._closed is None:
                if (run := self._scheduler.next_run(provider, _now())) is not None:
                    self._running[provider] = run
                    return run
                self._wait(provider)
        return None

    def _wait(self, provider: str) -> None:
        """Until something changes, or a run may have stalled that the provider left work to."""
        now = _now()
        again = self._scheduler.ask_again_at(provider, now)
        self._turn.wait(None if again is None else max(0.0, again - now) / 1000)

    def _end(self, run: Run, outcomes: Sequence[_Outcome]) -> None:
        """Gives each caller what came of those of its texts that it still waits for."""
        with self._turn:
            wanted = set(self._scheduler.finished(run, _now()))
            for works, outcome in outcomes:
                for call, numbers in by_call(works).items():
                    numbers = [number for number in numbers if works[number] in wanted]
                    if isinstance(outcome, Exception):
                        call.error = outcome
                        self._scheduler.drop(call)
                    elif numbers:
                        indices = tuple(index_of(works[number]) for number in numbers)
                        call.parts.append(Part(indices, outcome[numbers], run.provider))
                        call.left -= len(numbers)
            self._turn.notify_all()


def _now() -> float:
    return time.perf_counter() * 1000
