"""What a benchmark ran on, and what else ran there meanwhile."""

import os
import platform
import time
from pathlib import Path

from engine.runtime.providers import runtime_version


def machine() -> str:
    """System, processor type, cores, Python and ONNX Runtime."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, ONNX Runtime {runtime_version()}"
    )


class Others:
    """How busy everything else is while children of this process are measured."""

    def __init__(self) -> None:
        self._start = self._now()

    @property
    def cores(self) -> float | None:
        """Cores' worth of work of other programs since it was made; None off Linux."""
        (wall, busy, own), (wall_0, busy_0, own_0) = self._now(), self._start
        if not busy:
            return None
        return max(0.0, (busy - busy_0 - (own - own_0)) / (wall - wall_0))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds: on the wall, of all programs, and of this one with its ended children."""
        stat = Path("/proc/stat")
        if not stat.is_file():
            return time.perf_counter(), 0.0, 0.0
        user, nice, system, _idle, _wait, *interrupts = map(
            int, stat.read_text().splitlines()[0].split()[1:9]
        )
        ticks = user + nice + system + sum(interrupts)
        return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])
