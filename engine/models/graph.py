"""Writes, reads and edits ONNX graphs; alone imports onnx.

Knows nothing of models: converters and surgery name the operators. Rule: the same calls write the
same bytes, so a converted file can be checked by its hash.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class GraphValue:
    """An input or output of a graph, as it is declared."""

    dtype: str
    """ONNX's own name in lower case, as "float16" or "int64"."""
    shape: tuple[Dimension, ...]


class GraphNode:
    """A node of a graph that is read or edited."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node

    @property
    def operator(self) -> str:
        """Its type, after its domain and a dot unless that is ai.onnx."""
        node = self._node
        plain = node.domain in ("", "ai.onnx")
        return node.op_type if plain else f"{node.domain}.{node.op_type}"

    @property
    def inputs(self) -> list[str]:
        """Names of values; "" where an optional one is left out."""
        return list(self._node.input)

    @property
    def outputs(self) -> list[str]:
        """Names of values; "" where an optional one is left out."""
        return list(self._node.output)

    def number(self, attribute: str) -> int | None:
        """An attribute that is an integer; None where it is not set."""
        return next((int(a.i) for a in self._node.attribute if a.name == attribute), None)

    def set_number(self, attribute: str, value: int) -> None:
        """Sets an attribute that is an integer."""
        others = [other for other in self._node.attribute if other.name != attribute]
        del self._node.attribute[:]
        self._node.attribute.extend([*others, helper.make_attribute(attribute, value)])

    def set_input(self, index: int, value: str) -> None:
        """Reads another value in place of one."""
        self._node.input[index] = value

    def set_output(self, index: int, value: str) -> None:
        """Gives a value another name, which whoever reads it has to know."""
        self._node.output[index] = value


class GraphEditor:
    """A model's graph, read without its external data, which stays where it is."""

    def __init__(self, onnx_file: Path) -> None:
        """Raises ModelBroken if the file cannot be read or is no ONNX model."""
        self._model = _read(onnx_file)
        self._graph = self._model.graph

    @property
    def inputs(self) -> dict[str, GraphValue]:
        """What the model is given; weights that older files list among it are left out."""
        weights = {tensor.name for tensor in self._graph.initializer}
        return {v.name: _described(v) for v in self._graph.input if v.name not in weights}

    @property
    def outputs(self) -> dict[str, GraphValue]:
        """What the model gives."""
        return {value.name: _described(value) for value in self._graph.output}

    @property
    def nodes(self) -> list[GraphNode]:
        """The nodes in order, without those inside other nodes."""
        return [GraphNode(node) for node in self._graph.node]

    def add_input(self, name: str, dtype: type[np.generic], shape: Sequence[Dimension]) -> str:
        """Adds an input and returns its name."""
        self._graph.input.append(_value_info(name, dtype, shape))
        return name

    def add_node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node of ai.onnx and returns its only output, after which it is named."""
        node = helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        self._graph.node.append(node)
        return output

    def add_cast(self, value: str, dtype: type[np.generic], output: str) -> str:
        """Adds a node that gives a value in another type, under that name."""
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add_node("Cast", [value], output, to=element)

    def rename(self, names: Mapping[str, str]) -> None:
        """Gives values other names wherever they are written or read, subgraphs included."""
        for place in (self._graph.input, self._graph.output, self._graph.value_info):
            for value in place:
                value.name = names.get(value.name, value.name)
        for node in _nodes(self._graph):
            for values in (node.input, node.output):
                for index, name in enumerate(values):
                    values[index] = names.get(name, name)

    def set_type(self, name: str, dtype: type[np.generic]) -> None:
        """Declares an input or output to be of another type."""
        for value in (*self._graph.input, *self._graph.output):
            if value.name == name:
                value.CopyFrom(_value_info(name, dtype, _described(value).shape))

    def free_dimension(self, output: str, axis: int, name: str) -> None:
        """Lets an output's dimension be any, under that name."""
        (value,) = (value for value in self._graph.output if value.name == output)
        value.type.tensor_type.shape.dim[axis].dim_param = name

    def forget_shapes(self, values: Collection[str]) -> None:
        """Drops what is noted of the shapes of values inside the graph; they are inferred anew."""
        kept = [value for value in self._graph.value_info if value.name not in values]
        del self._graph.value_info[:]
        self._graph.value_info.extend(kept)

    def to_bytes(self) -> bytes:
        """The model as a file would hold it."""
        return self._model.SerializeToString(deterministic=True)


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


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(inner)


def _described(value: onnx.ValueInfoProto) -> GraphValue:
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim
    )
    return GraphValue(onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), shape)


def _value_info(
    name: str, dtype: type[np.generic], shape: Sequence[Dimension]
) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, list(shape))
