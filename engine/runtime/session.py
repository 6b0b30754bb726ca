"""Session: one ONNX model opened on one execution provider, run with named numpy arrays.

Knows nothing of tokens, prompts or vectors. Files are opened only through `open`, which refuses
what is not a model with a sentence; `models.folder` has refused unsafe external data before.
Rule: a session runs on what the runtime assigned its nodes to, never on what it was asked for.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engine.errors import ModelBroken
from engine.runtime import large_pages, providers, strict
from engine.runtime.native_errors import reason
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

_CPU_FEATURES = Path("/proc/cpuinfo")

# What ONNX Runtime 1.32 makes slower by fusing it: SkipLayerNormalization takes three times as long
# as Add and LayerNormalization, which is 8 % of an encoder's time (Linux x86-64, its own profile).
_SLOWER_FUSIONS = ("SkipLayerNormFusion",)

# Left to itself ONNX Runtime 1.32 makes MatMulNBits of products with 8-bit weights, which rounds
# the 16-bit codes that it is given to 8: all-MiniLM-L6-v2's cosine to float32 fell from 0.9992 to
# 0.9989 on abstracts, and a run took 1.7 times as long as in floats.
_WITHOUT_CODES = ("session.disable_quant_qdq", "session.enable_quant_qdq_cleanup")


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
        self.assignment = strict.assignment(session, device)
        """Provider to the number of the graph's nodes that it was given."""
        self.provider = max(self.assignment, key=self.assignment.__getitem__, default=providers.CPU)
        """The provider that runs it, from `assignment`: all of it, or the most of it."""
        self._device = device

    @classmethod
    def open(
        cls,
        onnx_file: Path,
        *,
        threads: int = 0,
        graph: bytes | None = None,
        without_codes: bool = False,
    ) -> "Session":
        """Opens a model file on the CPU.

        Args:
            onnx_file: An `.onnx` file, its external data beside it.
            threads: Threads one run may use; 0 lets ONNX Runtime take every physical core.
            graph: The file's edited content; the file itself is then not read, and external data
                are looked for beside it all the same.
            without_codes: Computes in floats what is rounded to codes on its way (QuantizeLinear,
                then DequantizeLinear), and takes weights for what their codes say.

        Raises:
            ModelBroken: The file is no ONNX model or uses what this runtime does not know.
        """
        options = strict.options(threads)
        options.add_session_config_entry(
            "session.intra_op.spin_duration_us", str(_SPIN_MICROSECONDS)
        )
        if _sums_overflow():
            options.add_session_config_entry("session.x64quantprecision", "1")
        for name in _WITHOUT_CODES if without_codes else ():
            options.add_session_config_entry(name, "1")
        if graph is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(onnx_file.parent)
            )
        try:
            session = ort.InferenceSession(
                str(onnx_file) if graph is None else graph,
                sess_options=options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_SLOWER_FUSIONS,
            )
        except Exception as error:  # The runtime's errors share no base class of their own.
            raise ModelBroken(
                f"{onnx_file.name} in {onnx_file.parent.name} is not a model that ONNX Runtime "
                f"{providers.runtime_version()} can open ({reason(error)}); fetch or export "
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
        return cls(strict.open_context(context_file, device), device)

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
        return cls(strict.compile_graph(graph, device, context_file, trace_folder), device)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Runs once; returns the named outputs in that order.

        Raises:
            NpuFailed: A run on a device failed. "device-lost": the NPU crashed and this session
                is worth nothing more; "run-failed": anything else.
        """
        try:
            values = self._session.run(list(outputs), dict(feeds))
        except Exception as error:  # The runtime's errors share no base class of their own.
            if self._device is None:
                raise
            raise strict.run_failure(error, self._device) from error
        return [np.asarray(value) for value in values]

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


@cache
def _sums_overflow() -> bool:
    """Whether products of 8-bit numbers are added up in 16 bits, as x86 CPUs without VNNI do.

    ONNX Runtime then gives wrong sums unless it is told to be precise, which is slower; where the
    system does not tell what the CPU has, it is told to.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        features = _CPU_FEATURES.read_text(encoding="utf-8")
    except OSError:
        return True
    return "vnni" not in features and "amx_int8" not in features


def _tensor(argument: Any) -> Tensor:
    dtype = _NUMPY_TYPES.get(argument.type)
    if dtype is None:
        raise ModelBroken(
            f"The model's tensor {argument.name} is a {argument.type}, which is not served."
        )
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in argument.shape)
    return Tensor(argument.name, dtype, shape)
