"""Latencies: how long a run of a shape takes on each provider, as measured on this machine.

Knows numbers only: neither clocks nor models nor who waits. All times are in milliseconds.
Rule: a median moves with what is seen, but no single stall may move it far, whatever its length.
"""

import math
import statistics
import threading
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from engine.runtime.shapes import Bucket

# A run counts for a tenth, so that a median follows within about twenty runs.
_SHARE = 0.1

# A run counts as at most twice or half of what was predicted: one stall moves a median by 7 %, and
# a stall in every twentieth run keeps it 4 % too high, however long the stalls are.
_MOST_MOVED = math.log(2)

_TAIL = 0.95

# Observed over predicted, and for how many runs in a row: notes of the devices' router.
_DRIFT, _DRIFTING_RUNS = 2.0, 20

# Before anything is known: 10,000 tokens a second, which two cores do with a small encoder.
_GUESSED_MS_PER_TOKEN = 0.1

# A run may count as so much slower than predicted in a provider's mean; a hang is no measurement.
_LONGEST_STALL = 100.0


# With each run of another provider stalls are forgotten by so much: one that is given nothing since
# it stalled could never show that it no longer does.
_FORGIVEN = 0.01


@dataclass(frozen=True, slots=True)
class Latency:
    """What is known of one shape on one provider."""

    provider: str
    bucket: Bucket
    median_ms: float
    tail_ms: float
    """19 of 20 runs take no longer."""
    runs: int
    """Runs it rests on, calibration included."""
    error: float
    """Moving mean of |measured / predicted - 1|, a run counting as 1 at most."""


@dataclass(slots=True)
class _Figures:
    """The moving figures of one shape."""

    median_ms: float
    tail_ms: float
    calibrated_ms: float
    """The median that drift is told from: the moving one would follow the drift."""
    runs: int
    error: float = 0.0
    drift: int = 0
    """Runs in a row that took over twice as long as calibrated; negative: under half as long."""


class Latencies:
    """Medians, tails and prediction errors per provider and shape. Thread-safe."""

    def __init__(self, any_shape: Collection[str] = ("cpu",)) -> None:
        """Nothing known yet.

        Args:
            any_shape: Providers that take any shape. Their times are interpolated over the padded
                tokens, rows x tokens, between the measured shapes; the others' shapes each have
                their own.
        """
        self._any_shape = frozenset(any_shape)
        self._changing = threading.RLock()
        self._figures: dict[str, dict[Bucket, _Figures]] = {}
        self._sizes: dict[str, list[tuple[int, Bucket]]] = {}
        """Of each provider: padded tokens and shape of all that is known, ascending."""
        self._slowdowns: dict[str, float] = {}

    def predict(self, provider: str, bucket: Bucket) -> float:
        """How long a run of this shape will probably take: the median, in ms.

        A shape that was never measured is judged by those that were; nothing known is guessed.
        """
        known = self._figures.get(provider, {}).get(bucket)
        if known is not None:
            return known.median_ms
        return self._interpolated(provider, _padded(bucket))

    def tail(self, provider: str, bucket: Bucket) -> float:
        """What 19 of 20 runs of this shape do not exceed, in ms."""
        predicted = self.predict(provider, bucket)
        nearest = self._nearest(provider, bucket)
        if nearest is None:
            return predicted
        figures = self._figures[provider][nearest]
        return predicted * figures.tail_ms / figures.median_ms

    def slowdown(self, provider: str) -> float:
        """Mean of measured / predicted, 1 at least: what stalls cost over many runs."""
        return max(1.0, self._slowdowns.get(provider, 1.0))

    def calibrate(self, provider: str, bucket: Bucket, samples_ms: Sequence[float]) -> None:
        """Takes the median and the tail from samples, at least one.

        What was known of the shape is forgotten, and that the provider stalled.
        """
        median = _positive(statistics.median(samples_ms))
        ordered = sorted(samples_ms)
        tail = ordered[min(len(ordered) - 1, math.ceil(_TAIL * len(ordered)) - 1)]
        with self._changing:
            self._put(provider, bucket, _Figures(median, max(tail, median), median, len(ordered)))
            self._slowdowns.pop(provider, None)

    def record(self, provider: str, bucket: Bucket, measured_ms: float) -> None:
        """Learns from one run."""
        with self._changing:
            self._record(provider, bucket, _positive(measured_ms))

    def _record(self, provider: str, bucket: Bucket, measured: float) -> None:
        nearest = self._nearest(provider, bucket)
        if nearest is None or not self._speaks_for(provider, nearest, bucket):
            self._put(provider, bucket, _Figures(measured, measured, measured, 1))
            return
        figures, ratio = self._figures[provider][nearest], measured / self.predict(provider, bucket)
        scale = figures.median_ms / self.predict(provider, bucket)
        _learn(figures, ratio, measured * scale)
        self._learn_slowdown(provider, min(ratio, _LONGEST_STALL))

    def is_drifting(self, provider: str, bucket: Bucket) -> bool:
        """Whether 20 runs in a row took over twice, or under half, as long as calibrated.

        Then the shape should be calibrated anew.
        """
        nearest = self._nearest(provider, bucket)
        if nearest is None:
            return False
        return abs(self._figures[provider][nearest].drift) >= _DRIFTING_RUNS

    def rows(self) -> tuple[Latency, ...]:
        """All that is known, by provider and then by size."""
        with self._changing:
            return tuple(
                Latency(provider, bucket, known.median_ms, known.tail_ms, known.runs, known.error)
                for provider in sorted(self._sizes)
                for _, bucket in self._sizes[provider]
                for known in [self._figures[provider][bucket]]
            )

    def to_json(self) -> dict[str, Any]:
        """A plain value that `from_json` reads."""
        with self._changing:
            return {
                "providers": {
                    provider: [
                        {"rows": bucket.rows, "tokens": bucket.tokens, **asdict(figures)}
                        for bucket, figures in shapes.items()
                    ]
                    for provider, shapes in self._figures.items()
                },
                "slowdowns": dict(self._slowdowns),
            }

    @classmethod
    def from_json(cls, content: object, any_shape: Collection[str] = ("cpu",)) -> "Latencies":
        """What `to_json` gave; empty if it is damaged in any way."""
        latencies = cls(any_shape)
        try:
            stored = cast("Mapping[str, Any]", content)
            for provider, shapes in stored["providers"].items():
                for shape in shapes:
                    latencies._put(str(provider), *_parse(shape))
            for provider, mean in stored["slowdowns"].items():
                latencies._slowdowns[str(provider)] = _time(mean)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return cls(any_shape)
        return latencies

    def _learn_slowdown(self, provider: str, ratio: float) -> None:
        mean = self._slowdowns.get(provider, 1.0)
        self._slowdowns[provider] = mean + _SHARE / 2 * (ratio - mean)
        for other, slowdown in self._slowdowns.items():
            if other != provider:
                self._slowdowns[other] = slowdown + _FORGIVEN * (1 - slowdown)

    def _put(self, provider: str, bucket: Bucket, figures: _Figures) -> None:
        shapes = self._figures.setdefault(provider, {})
        shapes[bucket] = figures
        self._sizes[provider] = sorted((_padded(shape), shape) for shape in shapes)

    def _interpolated(self, provider: str, padded: int) -> float:
        """Between the measured sizes; below them the smallest's time, above them in proportion."""
        sizes = self._sizes.get(provider, [])
        if not sizes:
            return padded * _GUESSED_MS_PER_TOKEN
        index = bisect_left(sizes, padded, key=lambda size: size[0])
        if index == 0:
            return self._median(provider, sizes[0])
        low, low_ms = sizes[index - 1][0], self._median(provider, sizes[index - 1])
        if index == len(sizes):
            return low_ms * padded / low
        high, high_ms = sizes[index][0], self._median(provider, sizes[index])
        return low_ms + (high_ms - low_ms) * (padded - low) / (high - low)

    def _median(self, provider: str, size: tuple[int, Bucket]) -> float:
        return self._figures[provider][size[1]].median_ms

    def _nearest(self, provider: str, bucket: Bucket) -> Bucket | None:
        """The shape itself if it is known, else the known one that is nearest in size."""
        shapes = self._figures.get(provider)
        if not shapes:
            return None
        if bucket in shapes:
            return bucket
        return min(shapes, key=lambda shape: _distance(shape, bucket))

    def _speaks_for(self, provider: str, known: Bucket, bucket: Bucket) -> bool:
        """Whether a run of a shape is news of a known one, rather than of a new one."""
        if known == bucket:
            return True
        return provider in self._any_shape and _distance(known, bucket) < math.log(2)


def _learn(figures: _Figures, ratio: float, measured_ms: float) -> None:
    """Takes one run into account.

    Args:
        ratio: Measured over predicted.
        measured_ms: What the run would have taken had it had this shape.
    """
    figures.runs += 1
    moved = max(-_MOST_MOVED, min(_MOST_MOVED, math.log(ratio)))
    figures.median_ms *= math.exp(_SHARE * moved)
    # A quantile is where steps up and steps down balance: 5 % of 0.95 against 95 % of 0.05.
    figures.tail_ms *= math.exp(_SHARE * (_TAIL - (measured_ms <= figures.tail_ms)))
    figures.tail_ms = max(figures.tail_ms, figures.median_ms)
    figures.error += _SHARE * (min(abs(ratio - 1), 1.0) - figures.error)
    drift = measured_ms / figures.calibrated_ms
    if drift > _DRIFT:
        figures.drift = max(figures.drift, 0) + 1
    elif drift < 1 / _DRIFT:
        figures.drift = min(figures.drift, 0) - 1
    else:
        figures.drift = 0


def _parse(shape: Mapping[str, Any]) -> tuple[Bucket, _Figures]:
    bucket = Bucket(int(shape["rows"]), int(shape["tokens"]))
    if min(bucket.rows, bucket.tokens) < 1:
        raise ValueError("no such shape")
    return bucket, _Figures(
        median_ms=_time(shape["median_ms"]),
        tail_ms=_time(shape["tail_ms"]),
        calibrated_ms=_time(shape["calibrated_ms"]),
        runs=int(shape["runs"]),
        error=_number(shape["error"]),
        drift=int(shape["drift"]),
    )


def _number(stored: Any) -> float:
    """A number that is neither negative nor endless.

    Raises:
        TypeError, ValueError: It is none.
    """
    value = float(stored)
    if not 0 <= value < math.inf:
        raise ValueError("no such number")
    return value


def _time(stored: Any) -> float:
    """The same of a time, which is never 0."""
    return _positive(_number(stored))


def _padded(bucket: Bucket) -> int:
    return bucket.rows * bucket.tokens


def _distance(one: Bucket, other: Bucket) -> float:
    """How much larger one is than the other, as a logarithm."""
    return abs(math.log(_padded(one) / _padded(other)))


def _positive(ms: float) -> float:
    """A clock may see no time pass."""
    return max(ms, 1e-3)
