"""The program that compiles one graph for the NPU: `python -m engine.runtime.compile_program`.

Its own process, since native compilers crash and hang, and behind whoever else wants the CPU. Its
argument is the folder of a request, as `runtime.qnn.compiling` wrote it. It exits 0 with a result
there, or 1 with a failure there.
"""

import faulthandler
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from engine.errors import EngineError, NpuFailed
from engine.models.static_graph import static_graph
from engine.runtime.qnn.compiling import FAILURE_FILE, RESULT_FILE, Request, stamp
from engine.runtime.qnn.context_cache import CONTEXT_FILE
from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

_TRACE_FILE = "qnn_op_trace.json"

# The CPU serves meanwhile. On Windows a child is started below normal priority.
_NICENESS = 10

# Whoever started us ends us before, if it is still there.
_GRACE_SECONDS = 10.0


def compile_request(request: Request, folder: Path) -> dict[str, float | int]:
    """Compiles, opens what was written, and runs it once.

    Returns:
        What `CompileFacts` holds.

    Raises:
        ModelBroken: The model's file cannot be read.
        NpuFailed: The device is not there or another one, the graph cannot be prepared or is
            refused, the file is another one by now, or the context gives what is not finite.
    """
    device = _device(request)
    graph = _graph(request)
    # What the plugin may hold open until the session goes stays on Windows; the draft is swept.
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as trace_folder:
        began = time.perf_counter()
        session = Session.compiled(
            graph, device, folder / CONTEXT_FILE, trace_folder=Path(trace_folder)
        )
        seconds = time.perf_counter() - began
        traced = _traced(Path(trace_folder) / _TRACE_FILE)
    nodes = session.assignment[device.provider]
    del session
    _prove(Session.open_compiled(folder / CONTEXT_FILE, device), request.bucket)
    return {"seconds": round(seconds, 3), "nodes": nodes, **traced}


def _device(request: Request) -> Device:
    device = find(request.options)
    if isinstance(device, Absence):
        raise NpuFailed(device.code, device.reason)
    if device.key_parts() != dict(request.device):
        raise NpuFailed(
            "compile-failed", "The process that compiles finds another device; start again."
        )
    return device


def _graph(request: Request) -> bytes:
    graph = static_graph(request.onnx_file, request.bucket.rows, request.bucket.tokens)
    # Looked at afterwards: it is what was read.
    if stamp(request.onnx_file) != request.onnx_stamp:
        raise NpuFailed(
            "model-changed",
            f"{request.onnx_file} is not the file any more that was opened; start again.",
        )
    return graph


def _traced(trace_file: Path) -> dict[str, int]:
    """What the plugin's own trace counts: the device's operators, and nodes that it cannot run."""
    try:
        summary = json.loads(trace_file.read_text(encoding="utf-8"))["summary"]
        operators, unsupported = summary["total_qnn_ops"], summary["unsupported_nodes"]
        return {"operators": int(operators), "unsupported": int(unsupported)}
    except (OSError, ValueError, KeyError, TypeError):
        return {"operators": 0}


def _prove(session: Session, bucket: Bucket) -> None:
    shape = bucket.rows, bucket.tokens
    feeds = {name: np.zeros(shape, tensor.dtype) for name, tensor in session.inputs.items()}
    feeds["attention_mask"] = np.ones(shape, np.int32)
    feeds = {name: feeds[name] for name in session.inputs}
    for states in session.run(feeds, list(session.outputs)):
        if not np.isfinite(states).all():
            raise NpuFailed(
                "compile-failed", f"The context for {bucket} gives numbers that are not finite."
            )


def main() -> int:
    """Runs the request in the folder that the first argument names."""
    work_folder = Path(sys.argv[1])
    if sys.platform != "win32":
        os.nice(_NICENESS)
    request, folder = Request.read(work_folder)
    faulthandler.dump_traceback_later(request.timeout_seconds + _GRACE_SECONDS, exit=True)
    try:
        result = compile_request(request, folder)
    except EngineError as error:
        code = error.code if isinstance(error, NpuFailed) else "model-broken"
        failure = {"code": code, "sentence": str(error)}
        (work_folder / FAILURE_FILE).write_text(json.dumps(failure), encoding="utf-8")
        return 1
    (work_folder / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
