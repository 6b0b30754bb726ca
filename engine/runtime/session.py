"""Session: one ONNX model opened on one execution provider, run with named numpy arrays.

Knows nothing of tokens, prompts or vectors. Files are opened only through `open`, which refuses
what is not a model with a sentence; `models.folder` has refused unsafe external data before.
Rule: what a session runs on is what the runtime assigned its nodes to, never what it was asked for
(`get_providers()` lists the NPU first where every node runs on the CPU). On an NPU sessions are
strict: a node that would run elsewhere is an error.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engine.errors import ModelBroken, NpuFailed
from engine.runtime import large_pages, providers
from engine.runtime.qnn.devices import Device

Array = NDArray[Any]

_NUMPY_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}

# How long a waiting worker thread spins before it sleeps, in microseconds. A decode step ends in
# one thread a little before the other: without spinning a step took 3.79 ms instead of 3.02; with
# the default spin 18 ms once something else wanted the cores (Linux x86-64, 2 cores).
_SPIN_MICROSECONDS = 1000


@dataclass(frozen=True, slots=True)
class Tensor:
    """Name, numpy type and shape of an input or output; a free dimension is its name."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int | str, ...]


class Interrupted(Exception):
    """A run ended because its `Stop` was set; what it should have written is worth nothing."""


class Stop:
    """Ends a run from another thread, between two operators of the graph; once set, it stays set.

    It serves any number of runs, one after the other or at once. A run that has come to its last
    operator may still end as if nothing had been set.
    """

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        """The switch as the runtime knows it, for this file alone."""

    def set(self) -> None:
        """Ends the runs that have this stop, and those that will have it as soon as they begin."""
        self.options.terminate = True

    @property
    def is_set(self) -> bool:
        """Whether `set` has been called."""
        return bool(self.options.terminate)


class Session:
    """An opened model. Thread-safe for `run`; a `Binding` belongs to one thread at a time."""

    def __init__(self, session: "ort.InferenceSession", device: Device | None = None) -> None:
        self._session = session
        self.inputs = {tensor.name: tensor for tensor in map(_tensor, session.get_inputs())}
        self.outputs = {tensor.name: tensor for tensor in map(_tensor, session.get_outputs())}
        self.assignment = _assignment(session, device)
        """Provider to the number of the graph's nodes that it was given."""
        self.provider = max(self.assignment, key=self.assignment.__getitem__, default=providers.CPU)
        """The provider that runs it; with `assignment` more than one, the one with most nodes."""

    @classmethod
    def open(cls, onnx_file: Path, *, threads: int = 0, graph: bytes | None = None) -> "Session":
        """Opens a model file on the CPU.

        Args:
            onnx_file: An `.onnx` file, its external data beside it.
            threads: Threads one run may use; 0 lets ONNX Runtime take every physical core.
            graph: The file's edited content; the file itself is then not read, and external data
                are looked for beside it all the same.

        Raises:
            ModelBroken: The file is no ONNX model or uses what this runtime does not know.
        """
        options = _options(threads)
        options.add_session_config_entry(
            "session.intra_op.spin_duration_us", str(_SPIN_MICROSECONDS)
        )
        if graph is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(onnx_file.parent)
            )
        try:
            session = ort.InferenceSession(
                str(onnx_file) if graph is None else graph,
                sess_options=options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # The runtime's errors share no base class of their own.
            raise ModelBroken(
                f"{onnx_file.name} in {onnx_file.parent.name} is not a model that ONNX Runtime "
                f"{providers.runtime_version()} can open ({_first_line(error)}); fetch or export "
                f"it again."
            ) from error
        large_pages.use()
        return cls(session)

    @classmethod
    def open_compiled(cls, context_file: Path, device: Device) -> "Session":
        """Opens a compiled context on the device it was compiled for.

        Raises:
            NpuFailed: "context-refused" if it is damaged, incomplete or made for another device;
                "ran-on-cpu" if the device would not run all of it.
        """
        return cls._strict(str(context_file), _strict_options(device), device, "context-refused")

    @classmethod
    def compiled(
        cls, graph: bytes, device: Device, context_file: Path, *, trace_folder: Path | None = None
    ) -> "Session":
        """Compiles a graph for the device, writes the context, and opens it; may crash natively.

        Args:
            graph: An ONNX model with fixed shapes and its weights in it.
            device: Where it shall run.
            context_file: The `.onnx` file to write, its `.bin` beside it; neither may exist.
            trace_folder: Takes `qnn_op_trace.json`, which says what became of every node.

        Raises:
            NpuFailed: "compile-failed"; "ran-on-cpu" if the device would not run all of it.
        """
        tracing = {} if trace_folder is None else _tracing(trace_folder)
        options = _strict_options(device, tracing)
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_embed_mode", "0")
        options.add_session_config_entry("ep.context_file_path", str(context_file))
        return cls._strict(graph, options, device, "compile-failed")

    @classmethod
    def _strict(
        cls, source: str | bytes, options: "ort.SessionOptions", device: Device, code: str
    ) -> "Session":
        try:
            session = ort.InferenceSession(source, options)
        except Exception as error:  # The runtime's errors share no base class of their own.
            raise _npu_failure(error, device, code) from error
        opened = cls(session, device)
        if set(opened.assignment) != {device.provider}:
            raise _ran_on_cpu(device)
        return opened

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Runs once; returns the named outputs in that order."""
        return [np.asarray(value) for value in self._session.run(list(outputs), dict(feeds))]

    def binding(self) -> "Binding":
        """A set of arrays that stay bound from run to run."""
        return Binding(self._session)


class Binding:
    """Arrays bound to a session's inputs and outputs by address: nothing is copied at a run.

    Every bound array is used in place: it must be C-contiguous, and it is kept alive until it is
    bound over or the binding is dropped. Binding the same array as an input and an output makes
    the runtime update it in place, which is how a key-value cache is shared between steps.
    """

    def __init__(self, session: "ort.InferenceSession") -> None:
        self._session = session
        self._binding = session.io_binding()
        self._kept: dict[str, object] = {}

    def bind_input(self, name: str, array: Array) -> None:
        """Binds an array to an input; the run reads what it holds then."""
        self._binding.bind_ortvalue_input(name, self._keep("in:" + name, array))

    def bind_output(self, name: str, array: Array) -> None:
        """Binds an array to an output; its shape must be the output's at the next run."""
        self._binding.bind_ortvalue_output(name, self._keep("out:" + name, array))

    def run(self, stop: Stop | None = None) -> None:
        """Runs once over what is bound.

        Raises:
            Interrupted: The stop was set before the end. The session stays usable; bound outputs
                may hold anything.
        """
        try:
            self._session.run_with_iobinding(self._binding, stop and stop.options)
        except Exception as error:  # The runtime's errors share no base class of their own.
            if stop is None or not stop.is_set:
                raise
            raise Interrupted("the run was stopped") from error

    def _keep(self, slot: str, array: Array) -> "ort.OrtValue":
        value = ort.OrtValue.ortvalue_from_numpy(array)
        self._kept[slot] = (value, array)
        return value


def _options(threads: int) -> "ort.SessionOptions":
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _strict_options(device: Device, more: Mapping[str, str] | None = None) -> "ort.SessionOptions":
    options = _options(threads=1)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices([device.handle], device.provider_options() | dict(more or {}))
    return options


def _tracing(folder: Path) -> dict[str, str]:
    return {"enable_framework_op_trace": "1", "framework_op_trace_dir": str(folder)}


def _assignment(session: "ort.InferenceSession", device: Device | None) -> dict[str, int]:
    nodes: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        nodes[providers.short_name(str(part.ep_name), device)] += len(part.get_nodes())
    return dict(nodes)


def _npu_failure(error: Exception, device: Device, code: str) -> NpuFailed:
    if "fallback to CPU EP has been explicitly disabled" in str(error):
        return _ran_on_cpu(device)
    return NpuFailed(code, f"The {device.provider} refuses the graph: {_first_line(error)}.")


def _ran_on_cpu(device: Device) -> NpuFailed:
    return NpuFailed(
        "ran-on-cpu",
        f"Parts of the graph, or all of it, would run on the CPU and not on the "
        f"{device.provider}; the runtime's own lines in the log say why.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _tensor(argument: Any) -> Tensor:
    dtype = _NUMPY_TYPES.get(argument.type)
    if dtype is None:
        raise ModelBroken(
            f"The model's tensor {argument.name} is a {argument.type}, which is not served."
        )
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in argument.shape)
    return Tensor(argument.name, dtype, shape)
