"""What memory process and machine have, and how what is freed goes back to the system.

Knows nothing of models. A C library keeps what is freed for the next call: after SmolLM2 was closed
the process still held four fifths of what loading it had taken, and 1 % once the library was told
to give it back (Linux x86-64, glibc). What comes and goes with each request, is large, and differs
in size and life, leaves holes besides that nothing else fits into: see `pages`.
"""

import ctypes
import gc
import math
import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARENA_MAX = -8
"""glibc's malloc.h: M_ARENA_MAX."""

_WORTH_LARGE_PAGES = 2**22
"""Bytes: from here on numpy asks for large pages, too."""

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Bytes of physical memory that the process holds now; 0 where the system does not say."""
    try:
        return _windows_resident() if sys.platform == "win32" else _linux_resident()
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def physical_bytes() -> int:
    """Bytes of physical memory that the machine has; 0 where the system does not say."""
    try:
        return _windows_physical() if sys.platform == "win32" else _posix_physical()
    except (OSError, ValueError, AttributeError):
        return 0


def give_back() -> None:
    """Collects garbage and returns free memory to the system, where the C library can be told."""
    gc.collect()
    _trim()


def pages(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """An array of zeros in pages of its own, which the system has back when nobody holds it.

    They take memory as they are written to, which costs a microsecond for each 4 KB: all that a
    request of 1,500 tokens writes, 31 ms of CPU more than in memory that the C library kept, and
    one of 60 tokens 1 ms less. With them a server under load held 846 MB and stayed there; without,
    889 MB once its caches were full and 1,018 two minutes later (Linux x86-64, SmolLM2,
    examples/benchmarks/http_soak.py).

    Raises:
        MemoryError: There is none.
    """
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, dtype)
    try:
        held = _mapped(count * np.dtype(dtype).itemsize)
    except OSError as error:
        raise MemoryError(f"no memory for {shape}") from error
    return np.frombuffer(held, dtype, count).reshape(shape)


def share_heap() -> bool:
    """Lets all threads share one heap where the C library gives each thread one of its own; to be
    called before there are threads. False where there is nothing to share.

    With glibc's up to eight heaps a core, which keep what is freed in them, a server that 64
    callers asked without pause held 1,100 MB after 5 minutes and 1,171 after 10; with two, and
    `pages`, 826 after 2 and 830 after 14; with one 804 after 1 and 807 after 10, and 31,337 answers
    in these 10 minutes where two heaps gave 40,529 in 14. What grew was what the second heap kept
    free, while 30 MB lay free in the first one since the models were loaded: with one heap these
    are used first (Linux x86-64, 2 cores, examples/benchmarks/http_soak.py).
    """
    if sys.platform == "win32":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_ARENA_MAX, 1))


def _mapped(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _WORTH_LARGE_PAGES and sys.platform == "linux":
        with suppress(OSError):  # A kernel without them.
            held.madvise(mmap.MADV_HUGEPAGE)
    return held


def _linux_resident() -> int:
    return int(_STATM.read_bytes().split()[1]) * mmap.PAGESIZE


def _posix_physical() -> int:
    if sys.platform == "win32":
        return 0
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class _Machine(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("physical", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


def _windows_physical() -> int:
    if sys.platform != "win32":
        return 0
    machine = _Machine(length=ctypes.sizeof(_Machine))
    if not ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(machine)):
        return 0
    return int(machine.physical)


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of psapi.h."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("page_fault_count", ctypes.c_uint32),
        ("peak_working_set_size", ctypes.c_size_t),
        ("working_set_size", ctypes.c_size_t),
        ("quotas_and_page_files", ctypes.c_size_t * 6),
    )


def _windows_resident() -> int:
    if sys.platform != "win32":
        return 0
    kernel = ctypes.WinDLL("kernel32")
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    counters = _Counters(cb=ctypes.sizeof(_Counters))
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    if not kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb):
        return 0
    return int(counters.working_set_size)


def _trimmer() -> Callable[[], object]:
    """How this system's C library is told: glibc's and macOS's can be, others do it themselves."""
    if sys.platform == "win32":
        return lambda: None
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        return lambda: library.malloc_trim(ctypes.c_size_t(0))
    if hasattr(library, "malloc_zone_pressure_relief"):
        return lambda: library.malloc_zone_pressure_relief(None, ctypes.c_size_t(0))
    return lambda: None


_trim = _trimmer()
