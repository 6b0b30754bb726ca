"""Ends the process of a server, whatever its worker threads are doing.

A running native call cannot be interrupted, and the index survives any end.
"""

import contextlib
import os
import signal
import sys
import threading

from engine.engine import Engine

_CLOSING_SECONDS = 1.0
"""How long models and index together may take to close before the process ends anyway."""

_NAMES = ("SIGTERM", "SIGINT", "SIGBREAK", "SIGHUP")


def known(system: object) -> tuple[int, ...]:
    """The signals that tell a server to end, as far as a system has them: SIGBREAK is Windows'
    alone, SIGHUP POSIX's.

    Args:
        system: Python's module `signal`, as it is there.
    """
    return tuple(getattr(system, name) for name in _NAMES if hasattr(system, name))


SIGNALS = known(signal)
"""By which a server is told to end, on this system."""

_under_way = threading.Lock()


def heeded() -> list[int]:
    """The signals to end at: whoever started this may have it ignore some, as nohup does."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def status_of(number: int) -> int:
    """The exit status of a process that ends at once because of a signal."""
    return 0 if number == signal.SIGTERM else 128 + number


def end(engine: Engine, code: int) -> None:
    """Closes what closes quickly, then ends the process without waiting for worker threads.

    A signal may come while the very thread that serves it holds what closing waits for. Whoever
    comes second, ends it at once.
    """
    if _under_way.acquire(blocking=False):
        closing = threading.Thread(target=engine.close, args=[_CLOSING_SECONDS], daemon=True)
        closing.start()
        closing.join(_CLOSING_SECONDS)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
