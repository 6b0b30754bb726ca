"""Machine: what this computer is, what this Python is made for, and whether it runs emulated.

Rule: the system is asked at one door, `look`; what its answers mean is said by `Machine` alone,
which can be made of any answers. Where Windows on ARM64 emulates x64:

    environment, platform.machine()  of the emulation (CPython 3.11), or of the machine (3.12)
    IsWow64Process2                  the machine, in truth; of the process only that it is no WOW64,
                                     as a native one is none: WOW64 is for 32 bits alone
    ProcessMachineTypeInfo           the process, from Windows 11 (build 22000) on; one of ARM64EC
                                     is one of x64
    sysconfig.get_platform()         what Python was made for, always
"""

import ctypes
import platform
import sys
import sysconfig
from dataclasses import dataclass

NATIVE_PYTHON = (
    "install the ARM64 build of Python, for example with "
    "uvx --python cpython-3.12-windows-aarch64-none npu-gateway, "
    "or with python.org's installer for Windows on ARM64"
)
"""How to come by one on Windows."""

_NAMES = {0x014C: "x86", 0x01C4: "ARM", 0x8664: "x64", 0xAA64: "ARM64"}
"""By number: IMAGE_FILE_MACHINE_* of winnt.h."""

_MADE_FOR = {"win32": "x86", "win-arm32": "ARM", "win-amd64": "x64", "win-arm64": "ARM64"}
"""By what sysconfig calls Python's platform."""

_ELSEWHERE = {"x86_64": "x64", "amd64": "x64", "aarch64": "ARM64", "arm64": "ARM64"}

_MACHINE_TYPE_INFO = 9
"""Of PROCESS_INFORMATION_CLASS, processthreadsapi.h."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the system and Python say of themselves."""

    built_for: str
    """Platform that Python was made for, as sysconfig calls it."""
    native: str
    """What the computer is: x64, ARM64, x86, ARM, or another word; empty where nothing tells."""
    process: int = 0
    """IMAGE_FILE_MACHINE_* of this process; 0 where Windows does not tell, or it is not Windows."""
    long_paths: bool | None = None
    """Whether paths may have 260 characters and more; None where that is no question."""

    @property
    def runs_as(self) -> str:
        """What this process is, in the words of `native`; empty where nothing tells."""
        return _NAMES.get(self.process) or _MADE_FOR.get(self.built_for, "")

    @property
    def is_emulated(self) -> bool:
        """Whether this Python is made for another processor than the computer's ARM64."""
        return self.native == "ARM64" and self.runs_as not in ("", "ARM64")

    @property
    def advice(self) -> str:
        """What is wrong with this Python here, and what to do; empty if nothing is."""
        if not self.is_emulated:
            return ""
        return f"This Python is made for {self.runs_as} and only emulated here: {NATIVE_PYTHON}."


def look() -> Machine:
    """Asks the system."""
    process, native = _windows_machines()
    return Machine(
        built_for=sysconfig.get_platform(),
        native=_NAMES.get(native) or _ELSEWHERE.get(machine := platform.machine().lower(), machine),
        process=process,
        long_paths=_long_paths(),
    )


class _ProcessMachine(ctypes.Structure):
    """PROCESS_MACHINE_INFORMATION of processthreadsapi.h."""

    _fields_ = (
        ("machine", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16),
        ("attributes", ctypes.c_uint32),
    )


def _windows_machines() -> tuple[int, int]:
    """This process's and the computer's; 0 where it is not Windows, or one that does not tell."""
    if sys.platform != "win32":
        return 0, 0
    kernel = ctypes.WinDLL("kernel32")
    this = ctypes.c_void_p(-1)  # What GetCurrentProcess gives.
    process, native, own = ctypes.c_uint16(), ctypes.c_uint16(), _ProcessMachine()
    try:
        if not kernel.IsWow64Process2(this, ctypes.byref(process), ctypes.byref(native)):
            return 0, 0
    except AttributeError:  # Before Windows 10, version 1709.
        return 0, 0
    size = ctypes.sizeof(own)
    if kernel.GetProcessInformation(this, _MACHINE_TYPE_INFO, ctypes.byref(own), size):
        return int(own.machine), native.value
    return process.value, native.value


def _long_paths() -> bool | None:
    """As the system's setting and this Python's manifest say together."""
    if sys.platform != "win32":
        return None
    try:
        enabled = ctypes.WinDLL("ntdll").RtlAreLongPathsEnabled
    except (OSError, AttributeError):  # Before Windows 10, version 1607.
        return False
    enabled.restype = ctypes.c_ubyte
    return bool(enabled())
