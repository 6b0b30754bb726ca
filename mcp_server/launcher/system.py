"""What the operating system says of other processes; decides nothing.

    Linux     /proc, which may hide those of other users
    Windows   a snapshot of all processes, then a handle each: a handle stays true to its process
              though its number be given to another
    others    the own parent alone

Why it asks again and again: Linux could send a signal at the parent's end (PR_SET_PDEATHSIG), but
sends it already at the end of the thread that started this process, and hosts start servers from
threads that come and go.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

OWN_PID = os.getpid()

SHIM = sys.executable if sys.platform == "win32" and sys.prefix != sys.base_prefix else ""
"""On Windows, the python.exe of a virtual environment, which starts the real one and waits."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was found."""

    pid: int
    parent: int
    program: str
    """Its name, or its path on Windows."""
    started: int
    """In ticks of this system; only to be compared."""


Check = Callable[[], bool]
"""Whether a process is still there."""


def parent_check(parent: int) -> Check:
    """Of the own parent: on POSIX its children get another one the moment it ends."""
    if sys.platform == "win32":
        return lambda: True  # It never changes there; `check` tells.
    return lambda: os.getppid() == parent


if sys.platform == "win32":
    _SYNCHRONIZE, _QUERY = 0x00100000, 0x1000
    """winnt.h: SYNCHRONIZE and PROCESS_QUERY_LIMITED_INFORMATION."""
    _TIMEOUT = 0x102
    """winbase.h: WAIT_TIMEOUT, for a process that has not ended."""
    _ALL_PROCESSES = 0x2
    """tlhelp32.h: TH32CS_SNAPPROCESS."""
    _INVALID = ctypes.c_void_p(-1).value
    _LONGEST_PATH = 32_768

    class _Entry(ctypes.Structure):
        """PROCESSENTRY32W of tlhelp32.h."""

        _fields_ = (
            ("size", wintypes.DWORD),
            ("usage", wintypes.DWORD),
            ("pid", wintypes.DWORD),
            ("heap", ctypes.c_size_t),
            ("module", wintypes.DWORD),
            ("threads", wintypes.DWORD),
            ("parent", wintypes.DWORD),
            ("priority", wintypes.LONG),
            ("flags", wintypes.DWORD),
            ("name", wintypes.WCHAR * 260),
        )

    _kernel = ctypes.WinDLL("kernel32")
    for _name, _result, *_arguments in (
        ("OpenProcess", wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, wintypes.DWORD),
        ("CloseHandle", wintypes.BOOL, wintypes.HANDLE),
        ("WaitForSingleObject", wintypes.DWORD, wintypes.HANDLE, wintypes.DWORD),
        ("CreateToolhelp32Snapshot", wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD),
        ("Process32FirstW", wintypes.BOOL, wintypes.HANDLE, ctypes.POINTER(_Entry)),
        ("Process32NextW", wintypes.BOOL, wintypes.HANDLE, ctypes.POINTER(_Entry)),
        (
            "GetProcessTimes",
            wintypes.BOOL,
            wintypes.HANDLE,
            *[ctypes.POINTER(wintypes.FILETIME)] * 4,
        ),
        (
            "QueryFullProcessImageNameW",
            wintypes.BOOL,
            wintypes.HANDLE,
            wintypes.DWORD,
            wintypes.LPWSTR,
            ctypes.POINTER(wintypes.DWORD),
        ),
    ):
        _function = getattr(_kernel, _name)
        _function.restype, _function.argtypes = _result, _arguments

    def find(pid: int) -> Process | None:
        """A process, if it is there and may be looked at."""
        parent = _parent(pid)
        handle = _kernel.OpenProcess(_QUERY, False, pid)
        if parent is None or not handle:
            return None
        try:
            return Process(pid, parent, _program(handle), _started(handle))
        finally:
            _kernel.CloseHandle(handle)

    def check(process: Process) -> Check:
        """Of a process, by a handle that is kept; one that may not be watched is always there."""
        handle = _kernel.OpenProcess(_SYNCHRONIZE | _QUERY, False, process.pid)
        if not handle:
            return lambda: True
        if _started(handle) != process.started:
            return lambda: False
        return lambda: _kernel.WaitForSingleObject(handle, 0) == _TIMEOUT

    def _parent(pid: int) -> int | None:
        snapshot = _kernel.CreateToolhelp32Snapshot(_ALL_PROCESSES, 0)
        if snapshot == _INVALID:
            return None
        entry = _Entry(size=ctypes.sizeof(_Entry))
        try:
            more = _kernel.Process32FirstW(snapshot, ctypes.byref(entry))
            while more:
                if entry.pid == pid:
                    return int(entry.parent)
                more = _kernel.Process32NextW(snapshot, ctypes.byref(entry))
        finally:
            _kernel.CloseHandle(snapshot)
        return None

    def _program(handle: int) -> str:
        path = ctypes.create_unicode_buffer(_LONGEST_PATH)
        length = wintypes.DWORD(_LONGEST_PATH)
        _kernel.QueryFullProcessImageNameW(handle, 0, path, ctypes.byref(length))
        return path.value

    def _started(handle: int) -> int:
        times = [wintypes.FILETIME() for _ in range(4)]
        _kernel.GetProcessTimes(handle, *[ctypes.byref(each) for each in times])
        return (times[0].dwHighDateTime << 32) + times[0].dwLowDateTime

else:
    _PARENT, _STARTED = 1, 19
    """Which fields of /proc/PID/stat, counted from the state, which follows the name."""

    def find(pid: int) -> Process | None:
        """A process, if it is there and may be looked at; one that has ended is not."""
        try:
            return _read(pid)
        except OSError:
            return None

    def check(process: Process) -> Check:
        """Of a process that `find` has found; one that cannot be looked at for now is there."""

        def is_there() -> bool:
            try:
                now = _read(process.pid)
            except OSError:  # Such as of a server that has no descriptor left to look with.
                return True
            return now is not None and now.started == process.started

        return is_there

    def _read(pid: int) -> Process | None:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        name, _, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()
        if len(fields) <= _STARTED or fields[0] in "ZX":
            return None
        return Process(pid, int(fields[_PARENT]), name, int(fields[_STARTED]))
