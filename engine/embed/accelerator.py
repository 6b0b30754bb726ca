"""Accelerator: a provider that takes fixed shapes only; makes each ready and proves it before use.

Knows the CPU's vectors, which its own are held against. Knows nothing of how a model is compiled
nor for what: that is handed in. Rules: no shape serves before its vectors are right, row by row;
what fails leaves service with a reason and is tried again later; the CPU serves all the while.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from engine.embed.calls import Row, Runner, Vectors
from engine.embed.compiled import CompiledModel, ShapeState, ShapeStatus
from engine.embed.latencies import Latency
from engine.embed.measuring import samples_ms
from engine.embed.pool import Pool
from engine.embed.proving import Reference, Timed, prove
from engine.errors import EngineError, NpuFailed
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

_ERRORS_IN_A_ROW = 3

# Seconds until what was taken out of service is tried again, the first time; then four times that.
_RETRY_SECONDS, _RETRY_FACTOR = 60.0, 4

# What will fail again however often it is tried.
_HOPELESS = ("graph-not-served", "model-broken", "ran-on-cpu")

# How long all shapes together may be measured.
_MEASURING_MS = 3000.0

# A compiler that has not given up so long after it was told to is left to the process's own end.
_LEFT_SECONDS = 10.0

_OnLane = Callable[[Bucket, Sequence[Row]], Timed]
"""A run between the texts of callers."""


@dataclass(slots=True)
class _Shape:
    bucket: Bucket
    state: ShapeState = "waiting"
    reason: str = ""
    runner: Runner | None = None
    errors: int = 0
    """Failed runs since the last good one."""
    failures: int = 0
    """How often it was taken out of service."""
    has_drifted: bool = False
    """Runs take other times than when it was measured."""
    due: float = 0.0
    """When it is to be made ready, by the monotonic clock."""


class Accelerator:
    """A `Runner` whose shapes come into service one by one. Thread-safe."""

    def __init__(
        self,
        model: CompiledModel,
        encode: Callable[[Session], Runner],
        reference: Reference,
        pool: Pool,
        warn: Callable[[str], None],
    ) -> None:
        """Nothing happens before `start`.

        Args:
            model: Opens the sessions.
            encode: Makes a session give vectors.
            reference: What they are held against.
            pool: Gives it work, and keeps what is measured.
            warn: Told once of what fails, in a sentence.
        """
        self.provider = model.provider
        self._model = model
        self._encode = encode
        self._reference = reference
        self._pool = pool
        self._warn = warn
        self._turn = pool.turn
        """Held while a shape's state changes, and notified."""
        self._shapes = {bucket: _Shape(bucket) for bucket in model.buckets}
        self._untold: list[_Shape] = []
        """Shapes that failed and that nobody was told of yet."""
        self._is_closing = False
        self._thread = threading.Thread(
            target=self._prepare_all, name=f"prepare-{self.provider}", daemon=True
        )

    def start(self) -> None:
        """Begins to make the shapes ready, and to take work, in threads of their own."""
        self._pool.open_lane(self, self._lost)
        self._thread.start()

    @property
    def is_serving(self) -> bool:
        """Whether any shape is in service."""
        return any(shape.state == "serving" for shape in self._shapes.values())

    def run(self, rows: Sequence[Row], bucket: Bucket) -> Vectors:
        """Unit vectors of rows padded to a shape that is in service.

        Raises:
            EngineError: The run failed; after a few in a row the shape leaves service.
        """
        shape = self._shapes[bucket]
        if (runner := shape.runner) is None:
            raise NpuFailed("out-of-service", f"{bucket} is out of service: {shape.reason}")
        try:
            vectors = runner.run(rows, bucket)
        except EngineError as error:
            shape.errors += 1
            if shape.errors >= _ERRORS_IN_A_ROW:
                reason = str(error.__cause__ or error)
                self._quarantine([shape], f"{shape.errors} runs failed in a row: {reason}")
            raise
        shape.errors = 0
        if self._pool.latencies.is_drifting(self.provider, bucket):
            with self._turn:
                shape.has_drifted = True
                self._turn.notify_all()
        return vectors

    def status(self) -> list[ShapeStatus]:
        """All shapes; waits for nothing."""
        measured = {row.bucket: row for row in self._measured()}
        return [
            ShapeStatus(
                self.provider,
                shape.bucket,
                shape.state,
                shape.reason,
                *_figures(measured.get(shape.bucket)),
            )
            for shape in self._shapes.values()
        ]

    def calibrate(self) -> None:
        """Measures every shape in service anew.

        Raises:
            EngineError: A run failed, or the model was closed.
        """
        for shape in self._shapes.values():
            if (runner := shape.runner) is not None:
                self._measure(self._on_lane(runner), shape.bucket)
        self._model.write_latencies(self._pool.latencies.to_json())

    def wait_until_prepared(self) -> None:
        """Returns once every shape serves or has failed, or the model is closed."""
        with self._turn:
            self._turn.wait_for(lambda: self._is_closing or not self._unprepared())

    def interrupt(self) -> None:
        """Makes a compilation under way give up, and begins no other."""
        with self._turn:
            self._is_closing = True
            self._turn.notify_all()
        self._model.interrupt()

    def close(self) -> None:
        """Waits for the end of what `interrupt` has ended, and frees the sessions."""
        self._thread.join(_LEFT_SECONDS)
        for shape in self._shapes.values():
            shape.runner = None

    def _unprepared(self) -> list[_Shape]:
        return [s for s in self._shapes.values() if s.state in ("waiting", "preparing")]

    def _measured(self) -> list[Latency]:
        return [row for row in self._pool.latencies.rows() if row.provider == self.provider]

    # What the thread does

    def _prepare_all(self) -> None:
        """Makes ready or measures whatever is due, until it is closed."""
        try:
            if not self._pool.latencies.rows():
                self._reference.measure()
            while (shape := self._next_due()) is not None:
                self._prepare(shape)
            self._model.write_latencies(self._pool.latencies.to_json())
        except BaseException as error:
            self._quarantine(self._shapes.values(), f"a bug ended its preparation: {error!r}")
            raise

    def _next_due(self) -> _Shape | None:
        with self._turn:
            while not self._is_closing:
                now = time.monotonic()
                shape = min(self._shapes.values(), key=_due)
                if _due(shape) <= now:
                    shape.state = "serving" if shape.state == "serving" else "preparing"
                    return shape
                wait = _due(shape) - now
                self._turn.wait(None if wait == math.inf else wait)
        return None

    def _prepare(self, shape: _Shape) -> None:
        try:
            if shape.state == "serving" and shape.runner is not None:
                shape.has_drifted = False
                self._measure(self._on_lane(shape.runner), shape.bucket)
            else:
                self._make_ready(shape)
        except NpuFailed as error:
            if error.code == "wrong-vectors":
                self._model.forget(shape.bucket)
            self._quarantine([shape], str(error), is_hopeless=error.code in _HOPELESS)
        except EngineError as error:
            self._quarantine([shape], str(error))

    def _make_ready(self, shape: _Shape) -> None:
        # 1. Compiled, or taken from the cache.
        runner = self._encode(self._model.open(shape.bucket))
        # 2. Proved against the CPU.
        on_lane = self._on_lane(runner)
        ms = prove(partial(on_lane, shape.bucket), shape.bucket, self._reference)
        # 3. Measured, unless that was done at an earlier start.
        if shape.bucket not in (row.bucket for row in self._measured()):
            self._measure(on_lane, shape.bucket, ms)
            self._model.write_latencies(self._pool.latencies.to_json())
        # 4. In service.
        with self._turn:
            shape.runner, shape.state, shape.reason = runner, "serving", ""
            shape.errors, shape.has_drifted = 0, False
            self._tell()

    def _on_lane(self, runner: Runner) -> _OnLane:
        return lambda bucket, rows: self._pool.try_run(self.provider, runner, rows, bucket)

    def _measure(self, on_lane: _OnLane, bucket: Bucket, first_ms: float | None = None) -> None:
        """Calibrates a shape; where there is no time for it, by a first run of the warm-up."""
        rows = [self._reference.canary(bucket.tokens, row) for row in range(bucket.rows)]
        left = _MEASURING_MS / len(self._shapes) - (first_ms or 0.0)
        if first_ms is not None and left <= 0:
            samples = [first_ms]
        else:
            samples = samples_ms(lambda: on_lane(bucket, rows)[1], left)
        self._pool.latencies.calibrate(self.provider, bucket, samples)

    def _lost(self, reason: str) -> None:
        self._quarantine(self._shapes.values(), reason, is_hopeless=True)

    def _quarantine(
        self, shapes: Iterable[_Shape], reason: str, *, is_hopeless: bool = False
    ) -> None:
        if self._is_closing:
            return
        with self._turn:
            for shape in shapes:
                shape.state, shape.reason, shape.runner = "quarantined", reason, None
                later = _RETRY_SECONDS * _RETRY_FACTOR**shape.failures
                shape.due = math.inf if is_hopeless else time.monotonic() + later
                shape.failures += 1
                if shape.failures == 1:
                    self._untold.append(shape)
            self._tell()

    def _tell(self) -> None:
        """Says which shapes serve; and what failed, in one sentence for all that were tried."""
        served = [b for b, shape in self._shapes.items() if shape.state == "serving"]
        self._pool.serve(self.provider, served)
        if self._untold and not self._unprepared():
            names = ", ".join(str(shape.bucket) for shape in self._untold)
            self._warn(
                f"The CPU embeds texts of {names} (texts x tokens) in place of the "
                f"{self.provider}: {self._untold[0].reason}"
            )
            self._untold = []


def _due(shape: _Shape) -> float:
    """When there is something to do for a shape, by the monotonic clock."""
    if shape.state == "serving":
        return 0.0 if shape.has_drifted else math.inf
    return shape.due


def _figures(measured: Latency | None) -> tuple[float, float, int, float]:
    if measured is None:
        return 0.0, 0.0, 0, 0.0
    return measured.median_ms, measured.tail_ms, measured.runs, measured.error
