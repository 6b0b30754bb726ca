"""Start: the pipes and the parent that this process was given, taken before anything else runs.

stdin and stdout belong to JSON-RPC. They are moved to descriptors that nobody else knows; in their
place are the null device and stderr, for good: what libraries, children and programs at exit read
or print there never meets the protocol. Rule: descriptors 0 to 2 are always open, so that no file
ever gets the number that native code prints on.
"""

import functools
import os
import sys
from contextlib import suppress
from dataclasses import dataclass

from mcp_server import PARENT

if sys.platform == "win32":
    import ctypes
    import msvcrt

    _SLOTS = {0: -10, 1: -11}
    """winbase.h: STD_INPUT_HANDLE and STD_OUTPUT_HANDLE."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a process has from whoever started it."""

    reading: int
    """Descriptor of what was stdin."""
    writing: int
    """Descriptor of what was stdout."""
    parent: int
    """The process that had started this one."""


@functools.cache
def taken() -> Start:
    """Takes both pipes; later calls get the same ones.

    What Python has buffered for stdout goes to stderr.
    """
    for descriptor in (0, 1, 2):
        _keep_open(descriptor)
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    _put(nothing, 0)
    os.close(nothing)
    _put(2, 1)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    # Python has none where the descriptor was closed.
    sys.stdout = sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for descriptor in (reading, writing):
        _set_plain(descriptor)
    return Start(reading, writing, PARENT)


def _keep_open(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _set_plain(descriptor: int) -> None:
    """Bytes as they are, waited for, whatever mode the other end was given with it."""
    if sys.platform == "win32":
        msvcrt.setmode(descriptor, os.O_BINARY)
    else:
        with suppress(OSError):
            os.set_blocking(descriptor, True)


def _put(source: int, descriptor: int) -> None:
    os.dup2(source, descriptor)
    if sys.platform == "win32":
        # Native code asks Windows for its standard handles, not the C library.
        slot, handle = _SLOTS[descriptor], msvcrt.get_osfhandle(descriptor)
        ctypes.WinDLL("kernel32").SetStdHandle(ctypes.c_uint32(slot), ctypes.c_void_p(handle))
