"""Quiet: what the NPU's libraries print goes to standard error, never to standard output.

The simulator's say once per process, on standard output and through C's own buffer, that they found
no configuration; standard output belongs to whoever reads JSON there.
"""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Generator

_redirecting = threading.Lock()


@contextlib.contextmanager
def native_output_to_stderr() -> Generator[None]:
    """While it lasts, file descriptor 1 is standard error. Does nothing where there is none."""
    if sys.platform == "win32":  # Where no simulator runs, nor a C library is shared by all.
        yield
        return
    with _redirecting, contextlib.ExitStack() as undoing:
        with contextlib.suppress(OSError):
            kept = os.dup(1)
            undoing.callback(os.close, kept)
            os.dup2(2, 1)
            undoing.callback(os.dup2, kept, 1)
            undoing.callback(ctypes.CDLL(None).fflush, None)
        yield
