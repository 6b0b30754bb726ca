"""The HTP simulator as a device, and programs in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.qnn.options import NpuOptions

Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def simulator() -> Device:
    found = find(NpuOptions(simulator=True))
    if isinstance(found, Absence):
        pytest.skip(f"needs onnxruntime-qnn: {found.reason}")
    if found.provider != "htp-simulator":
        pytest.skip("needs a machine without an NPU")
    return found


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Runs a program in a process of its own, with a home and more packages if asked for."""

    def run(code: str, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        left_out = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
        environment = {name: value for name, value in os.environ.items() if name not in left_out}
        environment |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home)}
        environment |= {"PYTHONPATH": str(packages)} if packages else {}
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run
