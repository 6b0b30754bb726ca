"""What doctor says of a machine with Windows, whatever machine this is."""

import platform

import pytest

from engine.machine import Machine
from engine.runtime.qnn.devices import find
from engine.runtime.qnn.options import NpuOptions
from mcp_server import placement
from mcp_server.commands.doctor import of_paths, of_python

EMULATED = Machine("win-amd64", "ARM64", 0x8664)
VERSION = platform.python_version()


def test_an_emulated_python_is_a_problem_with_a_remedy():
    found = of_python(EMULATED)
    assert (found.name, found.state) == ("Python", "problem")
    assert found.fact == f"{VERSION} for win-amd64, on a machine of type ARM64"
    assert "uvx --python cpython-3.12-windows-aarch64-none npu-gateway" in found.advice


@pytest.mark.parametrize(
    ("machine", "kind"),
    [
        (Machine("win-arm64", "ARM64", 0xAA64), "ARM64"),
        (Machine("win-amd64", "x64"), "x64"),
        (Machine("linux-riscv64", "riscv64"), "riscv64"),
        (Machine("win-amd64", ""), "unknown"),
    ],
)
def test_a_native_python_is_sound(machine, kind):
    found = of_python(machine)
    assert (found.state, found.advice) == ("ok", "")
    assert found.fact.endswith(f"on a machine of type {kind}")


def test_paths_that_windows_refuses_for_their_length_are_told_with_a_remedy():
    def said(long_paths):
        return [
            (one.state, one.advice) for one in of_paths(Machine("win-arm64", "", 0, long_paths))
        ]

    assert said(None) == []
    assert said(True) == [("ok", "")]
    [(state, advice)] = said(False)
    assert state == "advice"
    assert "LongPathsEnabled" in advice


def test_status_gives_emulation_as_the_reason_why_there_is_no_npu():
    plain = find(NpuOptions(), Machine("win-arm64", "ARM64"))
    assert plain.code in ("no-device", "not-installed")
    why = placement.npu(find(NpuOptions(), EMULATED), None, "auto")
    assert why.code == "emulated"
    assert why.why == f"{plain.reason} {EMULATED.advice}"


def test_what_else_is_wrong_counts_for_more_than_emulation():
    asked = NpuOptions(provider_options={"htp_performance_mode": "nonsense"})
    assert find(asked, EMULATED).code == "bad-option"
