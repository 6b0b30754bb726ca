"""Writes and reads ONNX graphs; alone imports onnx.

Knows nothing of models: converters name the operators. Rule: the same calls write the same bytes,
so a converted file can be checked by its hash.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import helper

from engine.errors import ModelBroken

Dimension = int | str

INT32 = int(onnx.TensorProto.INT32)
"""The type that a Cast to 32-bit integers names."""

# Opset 20 brings the exact Gelu; IR 9 is the first that belongs to it.
_IR_VERSION = 9
_OPSETS = {"": 20, "com.microsoft": 1}

# Smaller tensors stay in the .onnx file: shape inference cannot read external ones, and the ones it
# needs (shapes, axes, indices) are tiny.
_INLINE_BYTES = 1024
# Where each tensor of the data file starts, so that a mapped weight is aligned for vector loads.
_ALIGNMENT = 64


class GraphWriter:
    """Collects nodes and constants in order and writes them as one model when it is left.

    With external data, constants go to `<file>.data` as they come, so only one of them needs to be
    in memory. A `with` block that ends in an error, its own included, leaves neither file.

        with GraphWriter(folder / "model.onnx", external_data=True) as graph:
            x = graph.input("x", np.float32, ["rows", 4])
            y = graph.node("MatMul", [x, graph.constant("w", weights)])
            graph.output(y, np.float32, ["rows", 8])
    """

    def __init__(self, onnx_file: Path, *, external_data: bool = False) -> None:
        self._onnx_file = onnx_file
        self._data_file = onnx_file.with_name(onnx_file.name + ".data")
        self._external_data = external_data
        self._data: BinaryIO | None = None
        self._graph = onnx.GraphProto(name="main_graph")

    def __enter__(self) -> Self:
        if self._external_data:
            self._data = self._data_file.open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        whole = False
        try:
            if self._data is not None:
                self._data.close()
            if kind is None:
                self._onnx_file.write_bytes(self._model().SerializeToString(deterministic=True))
                whole = True
        finally:
            if not whole:
                self._data_file.unlink(missing_ok=True)
                self._onnx_file.unlink(missing_ok=True)

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[Dimension]) -> str:
        """Adds an input and returns its name; a dimension that is a string is free."""
        self._graph.input.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: type[np.generic], shape: Sequence[Dimension]) -> None:
        """Makes the value of that name an output."""
        self._graph.output.append(_value_info(name, dtype, shape))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Adds an initialiser and returns its name."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        tensor = self._graph.initializer.add(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
        )
        if self._data is None or array.nbytes < _INLINE_BYTES:
            tensor.raw_data = array.tobytes()
        else:
            self._append(tensor, self._data, array)
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        **attributes: Any,
    ) -> str:
        """Adds a node and returns its first output.

        Args:
            operator: Its type, after its domain and a dot unless that is ai.onnx.
            inputs: Names of values; "" leaves an optional one out.
            outputs: Names to give; by default one that is made up from the operator and a count.
            attributes: As the operator's schema names them.
        """
        domain, _, op_type = operator.rpartition(".")
        name = f"{op_type}_{len(self._graph.node)}"
        outputs = [f"{name}/output"] if outputs is None else outputs
        self._graph.node.append(
            helper.make_node(
                op_type, list(inputs), list(outputs), name=name, domain=domain, **attributes
            )
        )
        return outputs[0]

    def _append(self, tensor: onnx.TensorProto, data: BinaryIO, array: NDArray[Any]) -> None:
        data.write(bytes(-data.tell() % _ALIGNMENT))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entries = {
            "location": self._data_file.name,
            "offset": str(data.tell()),
            "length": str(array.nbytes),
        }
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        data.write(array.data)

    def _model(self) -> onnx.ModelProto:
        model = onnx.ModelProto(
            ir_version=_IR_VERSION, producer_name="npu-gateway", graph=self._graph
        )
        for domain, version in _OPSETS.items():
            model.opset_import.add(domain=domain, version=version)
        return model


def external_data_files(onnx_file: Path) -> list[str]:
    """The locations of external data that a model names, each once, in order of appearance.

    The data itself is not opened. Every tensor is looked at, wherever it may stand: initialisers,
    sparse ones, attributes of nodes, subgraphs, functions, training graphs.

    Raises:
        ModelBroken: The file cannot be read, is no ONNX model, or has a tensor that says it is
            external but not where.
    """
    model = _read(onnx_file)
    locations: dict[str, None] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        named = [entry.value for entry in tensor.external_data if entry.key == "location"]
        if not named:
            raise ModelBroken(
                f"{onnx_file.name} in {onnx_file.parent.name} says that its tensor {tensor.name!r} "
                "is in another file but not in which; fetch or export the model again."
            )
        locations.update(dict.fromkeys(named))
    return list(locations)


def _read(onnx_file: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(onnx_file.read_bytes())
    except OSError as error:
        raise ModelBroken(
            f"{onnx_file.name} in {onnx_file.parent.name} cannot be read "
            f"({error.strerror or error}); fetch or export the model again."
        ) from error
    except DecodeError as error:
        raise _not_onnx(onnx_file) from error
    if not model.HasField("graph") or not model.opset_import:
        raise _not_onnx(onnx_file)
    return model


def _not_onnx(onnx_file: Path) -> ModelBroken:
    return ModelBroken(
        f"{onnx_file.name} in {onnx_file.parent.name} is not an ONNX model; fetch or export it "
        "again."
    )


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor inside a message, however deep, without a list of the places to look."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in cast("Sequence[Message]", value if field.is_repeated else [value]):
            yield from _tensors(child)


def _value_info(
    name: str, dtype: type[np.generic], shape: Sequence[Dimension]
) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, list(shape))
