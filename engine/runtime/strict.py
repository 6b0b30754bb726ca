"""Strict: sessions on an NPU that run all of their graph there, or do not open.

A session that the NPU cannot serve falls back to the CPU without a word and goes on listing the NPU
first. So here the fallback is off, and what the runtime says it assigned is counted besides: node
by node, for sessions on the CPU too, where that was found to cost neither time nor memory.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort

from engine.errors import NpuFailed
from engine.runtime import providers
from engine.runtime.native_errors import reason
from engine.runtime.qnn.devices import Device
from engine.runtime.qnn.quiet import native_output_to_stderr

# How the runtime says that it would fall back; other words end as any refusal does.
_NO_FALLBACK = "fallback to CPU EP has been explicitly disabled"

# What the runtime raises when the NPU has crashed and the plugin could not bring it back.
_LOST = ("DeviceReset", "EngineError")


def options(threads: int) -> "ort.SessionOptions":
    """Options of every session: quiet below errors, and with its assignment recorded."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def assignment(session: "ort.InferenceSession", device: Device | None) -> dict[str, int]:
    """Provider to the number of nodes it was given, as the runtime tells."""
    nodes: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        nodes[providers.short_name(str(part.ep_name), device)] += len(part.get_nodes())
    return dict(nodes)


def prove(session: "ort.InferenceSession", device: Device) -> None:
    """Raises NpuFailed, "ran-on-cpu", unless every node is assigned to the device."""
    if set(assignment(session, device)) != {device.provider}:
        raise _ran_on_cpu(device)


def open_context(context_file: Path, device: Device) -> "ort.InferenceSession":
    """Opens a compiled context; raises NpuFailed, "context-refused" or "ran-on-cpu"."""
    return _open(str(context_file), _options(device, {}), device, "context-refused")


def compile_graph(
    graph: bytes, device: Device, context_file: Path, trace_folder: Path | None
) -> "ort.InferenceSession":
    """Compiles and writes a context; raises NpuFailed, "compile-failed" or "ran-on-cpu"."""
    tracing = {} if trace_folder is None else _tracing(trace_folder)
    options = _options(device, tracing)
    options.add_session_config_entry("ep.context_enable", "1")
    options.add_session_config_entry("ep.context_embed_mode", "0")
    options.add_session_config_entry("ep.context_file_path", str(context_file))
    return _open(graph, options, device, "compile-failed")


def run_failure(error: Exception, device: Device) -> NpuFailed:
    """A failed run as a sentence: "device-lost" or "run-failed"."""
    if type(error).__name__ in _LOST:
        return NpuFailed(
            "device-lost", f"The {device.provider} crashed during a run ({reason(error)})."
        )
    return NpuFailed("run-failed", f"A run on the {device.provider} failed ({reason(error)}).")


def _options(device: Device, more: Mapping[str, str]) -> "ort.SessionOptions":
    strict = options(threads=1)
    strict.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    strict.add_provider_for_devices([device.handle], {**device.provider_options(), **more})
    return strict


def _tracing(folder: Path) -> dict[str, str]:
    return {"enable_framework_op_trace": "1", "framework_op_trace_dir": str(folder)}


def _open(
    source: str | bytes, options: "ort.SessionOptions", device: Device, code: str
) -> "ort.InferenceSession":
    try:
        with native_output_to_stderr():
            session = ort.InferenceSession(source, options)
    except Exception as error:  # The runtime's errors share no base class of their own.
        if _NO_FALLBACK in str(error):
            raise _ran_on_cpu(device) from error
        raise NpuFailed(
            code, f"The {device.provider} does not take the graph ({reason(error)})."
        ) from error
    prove(session, device)
    return session


def _ran_on_cpu(device: Device) -> NpuFailed:
    return NpuFailed(
        "ran-on-cpu",
        f"The {device.provider} would leave nodes of the graph to the CPU.",
    )
