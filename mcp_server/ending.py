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

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGBREAK", "SIGHUP")
    if hasattr(signal, name)
)
"""By which a server is told to end, as far as this system has them."""


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
