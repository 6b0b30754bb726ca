"""Accelerator: a provider that takes fixed shapes only; makes each ready and proves it before use.

Knows the CPU's vectors, which its own are held against. Knows nothing of how a model is compiled
nor for what: that is handed in. Rules: no shape serves before its vectors are right, row by row;
what fails leaves service with a reason and is tried again later; the CPU serves all the while.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.embed import measuring
from engine.embed.calls import Row, Runner, Vectors
from engine.embed.compiled import CompiledModel, ShapeState, ShapeStatus
from engine.embed.latencies import Latency
from engine.embed.pool import Pool
from engine.embed.proving import Reference, prove
from engine.errors import EngineError, NpuFailed
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

_ERRORS_IN_A_ROW = 3

# Seconds until what was taken out of service is tried again, the first time; then four times that.
_RETRY_SECONDS, _RETRY_FACTOR = 60.0, 4

# A run that takes so long does not come back: so many seconds, and so many times its tail.
_HUNG_SECONDS, _HUNG_TAILS = 10.0, 20

# How long all shapes together may be measured.
_MEASURING_SECONDS = 3.0


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
        self._device = threading.Lock()
        """Held by the one run there is at a time."""
        self._since: tuple[_Shape, float] | None = None
        """What runs for callers, and since when."""
        self._changed = threading.Condition()
        self._shapes = {bucket: _Shape(bucket) for bucket in model.buckets}
        self._untold: list[_Shape] = []
        """Shapes that failed and that nobody was told of yet."""
        self._is_closing = False
        self._thread = threading.Thread(
            target=self._prepare, name=f"prepare-{self.provider}", daemon=True
        )

    def start(self) -> None:
        """Begins to make the shapes ready, and to take work, in threads of their own."""
        self._thread.start()
        self._pool.add_lane(self)

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
            with self._device:
                self._since = shape, time.monotonic()
                vectors = runner.run(rows, bucket)
        except EngineError as error:
            shape.errors += 1
            if shape.errors >= _ERRORS_IN_A_ROW:
                reason = str(error.__cause__ or error)
                self._quarantine([shape], f"{shape.errors} runs failed in a row: {reason}")
            raise
        finally:
            self._since = None
        shape.errors = 0
        if self._pool.is_drifting(self.provider, bucket):
            self._make_again(shape)
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
        """Measures every shape in service anew."""
        for shape in self._shapes.values():
            if (runner := shape.runner) is not None:
                self._measure(runner, shape.bucket, _MEASURING_SECONDS / len(self._shapes))
        self._model.write_latencies(self._pool.latencies_json())

    def wait_until_prepared(self) -> None:
        """Returns once every shape serves or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or not self._unprepared())

    def close(self) -> None:
        """Ends the thread, a compilation under way included, and keeps what was measured."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._model.interrupt()
        self._thread.join(_HUNG_SECONDS)
        for shape in self._shapes.values():
            shape.runner = None

    def _unprepared(self) -> list[_Shape]:
        return [s for s in self._shapes.values() if s.state in ("waiting", "preparing")]

    def _prepare(self) -> None:
        """What the thread does: makes ready whatever is due, until it is closed."""
        if not self._pool.latencies():
            self._reference.measure()
        while (shape := self._next_due()) is not None:
            try:
                self._make_ready(shape)
            except EngineError as error:
                if not self._is_closing:
                    self._quarantine([shape], str(error))
            except BaseException as error:
                self._quarantine(self._shapes.values(), f"a bug ended its preparation: {error!r}")
                raise
        self._model.write_latencies(self._pool.latencies_json())

    def _next_due(self) -> _Shape | None:
        with self._changed:
            while not self._is_closing:
                shape = min(self._idle(), key=lambda shape: shape.due, default=None)
                wait = None if shape is None else shape.due - time.monotonic()
                if shape is not None and wait is not None and wait <= 0:
                    shape.state = "preparing"
                    return shape
                self._changed.wait(min(wait or _HUNG_SECONDS, _HUNG_SECONDS))
                self._look_for_hang()
        return None

    def _look_for_hang(self) -> None:
        """Takes all shapes out of service where a run does not come back."""
        if (running := self._since) is None:
            return
        shape, since = running
        seconds = time.monotonic() - since
        tails = [m.tail_ms for m in self._measured() if m.bucket == shape.bucket]
        if seconds > max([_HUNG_SECONDS, *(_HUNG_TAILS * ms / 1000 for ms in tails)]):
            self._since = None
            self._pool.give_up(self.provider)
            reason = f"a run of {shape.bucket} did not end in {seconds:.0f} s"
            self._quarantine(self._shapes.values(), reason)

    def _measured(self) -> list[Latency]:
        return [row for row in self._pool.latencies() if row.provider == self.provider]

    def _idle(self) -> list[_Shape]:
        return [s for s in self._shapes.values() if s.state in ("waiting", "quarantined")]

    def _make_ready(self, shape: _Shape) -> None:
        # 1. Compiled, or taken from the cache.
        runner = self._encode(self._model.open(shape.bucket))
        # 2. Proved against the CPU.
        with self._device:
            seconds = prove(runner, shape.bucket, self._reference)
        # 3. Measured, unless that was done at an earlier start.
        if shape.has_drifted or not self._is_measured(shape.bucket):
            left = _MEASURING_SECONDS / len(self._shapes) - seconds
            self._measure(runner, shape.bucket, left, 1000 * seconds)
            self._model.write_latencies(self._pool.latencies_json())
        # 4. In service.
        with self._changed:
            shape.runner, shape.state, shape.reason = runner, "serving", ""
            shape.errors, shape.has_drifted = 0, False
            self._changed.notify_all()
        self._tell()

    def _is_measured(self, bucket: Bucket) -> bool:
        return any(row.bucket == bucket for row in self._measured())

    def _measure(
        self, runner: Runner, bucket: Bucket, seconds: float, first_ms: float | None = None
    ) -> None:
        """Calibrates a shape; without time for it by a first run, which was one of the warm-up."""
        rows = [self._reference.canary(bucket.tokens, row) for row in range(bucket.rows)]
        with self._device:
            found = measuring.samples_ms(lambda: runner.run(rows, bucket), seconds)
        if samples := found or ([] if first_ms is None else [first_ms]):
            self._pool.calibrate(self.provider, bucket, samples)

    def _make_again(self, shape: _Shape) -> None:
        """Lets a shape be opened, proved and measured anew."""
        with self._changed:
            shape.state, shape.runner, shape.due, shape.has_drifted = "waiting", None, 0.0, True
            self._changed.notify_all()
        self._tell()

    def _quarantine(self, shapes: Iterable[_Shape], reason: str) -> None:
        with self._changed:
            for shape in shapes:
                shape.state, shape.reason, shape.runner = "quarantined", reason, None
                shape.due = time.monotonic() + _RETRY_SECONDS * _RETRY_FACTOR**shape.failures
                shape.failures += 1
                if shape.failures == 1:
                    self._untold.append(shape)
            self._changed.notify_all()
        self._tell()

    def _tell(self) -> None:
        """Says which shapes serve; and what failed, in one sentence for all that were tried."""
        self._pool.serve(
            self.provider, [b for b, shape in self._shapes.items() if shape.state == "serving"]
        )
        with self._changed:
            told = [] if self._unprepared() else self._untold
            if told:
                self._untold = []
        if told:
            names = ", ".join(str(shape.bucket) for shape in told)
            self._warn(
                f"The CPU embeds texts of {names} (texts x tokens) in place of the "
                f"{self.provider}: {told[0].reason}"
            )


def _figures(measured: Latency | None) -> tuple[float, float, int, float]:
    if measured is None:
        return 0.0, 0.0, 0, 0.0
    return measured.median_ms, measured.tail_ms, measured.runs, measured.error
