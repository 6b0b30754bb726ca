"""Whether Python runs emulated follows from what the system says, on every system alike."""

import sys

import pytest

from engine import machine
from engine.machine import Machine

X86, X64, ARM64 = 0x014C, 0x8664, 0xAA64

# What Python was made for, the computer, what Windows says of the process; and what follows.
TABLE = [
    ("win-arm64", "ARM64", ARM64, ("ARM64", False)),
    ("win-arm64", "ARM64", 0, ("ARM64", False)),  # Windows 10: it is no WOW64.
    ("win-amd64", "ARM64", X64, ("x64", True)),
    ("win-amd64", "ARM64", 0, ("x64", True)),  # Windows 10 says the same as of a native one.
    ("win32", "ARM64", X86, ("x86", True)),
    ("win32", "ARM64", 0, ("x86", True)),
    ("win-amd64", "x64", X64, ("x64", False)),
    ("win-amd64", "x64", 0, ("x64", False)),
    ("win32", "x64", X86, ("x86", False)),  # Runs on the processor itself.
    ("win-amd64", "", 0, ("x64", False)),  # Before Windows 10, 1709: nobody tells.
    ("win-arm64", "ARM64", X64, ("x64", True)),  # Made of ARM64EC: it takes libraries of x64.
    ("linux-x86_64", "x64", 0, ("", False)),
    ("linux-aarch64", "ARM64", 0, ("", False)),
    ("macosx-11.0-arm64", "ARM64", 0, ("", False)),
    ("macosx-10.13-universal2", "ARM64", 0, ("", False)),
]


@pytest.mark.parametrize(("built_for", "native", "process", "expected"), TABLE)
def test_a_python_is_emulated_where_the_machine_is_arm64_and_it_is_not(
    built_for, native, process, expected
):
    found = Machine(built_for, native, process)
    assert (found.runs_as, found.is_emulated) == expected
    assert bool(found.advice) == found.is_emulated


def test_the_advice_says_what_is_wrong_and_how_to_come_by_a_native_python():
    advice = Machine("win-amd64", "ARM64", X64).advice
    assert advice.startswith("This Python is made for x64 and only emulated here: ")
    assert "uvx --python cpython-3.12-windows-aarch64-none npu-gateway" in advice
    assert "python.org" in advice


def test_this_machine_tells_what_it_is():
    found = machine.look()
    assert found.native in ("x64", "ARM64")
    assert found.built_for
    assert (found.long_paths is None) == (sys.platform != "win32")
    assert not found.is_emulated
