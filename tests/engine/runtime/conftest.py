"""The HTP simulator as a device, a graph small enough for it, and programs of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.qnn.options import NpuOptions

Child = Callable[..., subprocess.CompletedProcess[str]]

WEIGHT = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)


def two_nodes(rows: int | str = 4) -> bytes:
    """relu(x @ WEIGHT); `rows` may be the name of a free dimension."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Relu", ["product"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, 8]) for n in "xy"]
    weight = [numpy_helper.from_array(WEIGHT, "w")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weight)
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


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
