"""Measuring: how long runs of a shape take, within a bounded time."""

import time
from collections.abc import Callable

SAMPLES = 7
"""Runs that a shape is judged by at most: enough for a median that one stall cannot move."""


def samples_ms(run: Callable[[], object], seconds: float, most: int = SAMPLES) -> list[float]:
    """Times of up to `most` runs in milliseconds; none begins after that many seconds."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < most and (started := time.perf_counter()) < end:
        run()
        samples.append(1000 * (time.perf_counter() - started))
    return samples
