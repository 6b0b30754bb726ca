"""Measuring: how long runs of a shape take, within a bounded time.

Knows no clock: a run tells how long it took.
"""

from collections.abc import Callable

SAMPLES = 7
"""Runs that a shape is judged by at most: enough for a median that one stall cannot move."""


def samples_ms(run: Callable[[], float], most_ms: float) -> list[float]:
    """The milliseconds of at least one run and at most `SAMPLES`.

    None begins once all together took `most_ms`.
    """
    samples = [run()]
    while len(samples) < SAMPLES and sum(samples) < most_ms:
        samples.append(run())
    return samples
