"""Writes, reads and edits ONNX graphs; alone imports onnx.

Knows nothing of models: converters and surgery name the operators. Rule: the same calls write the
same bytes, so a converted file can be checked by its hash.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import defs, helper, inliner, numpy_helper, shape_inference, version_converter
from onnx.reference import ReferenceEvaluator

from engine.errors import ModelBroken

Dimension = int | str

INT32 = int(onnx.TensorProto.INT32)
"""The type that a Cast to 32-bit integers names."""

# Opset 20 brings the exact Gelu; IR 9 is the first that belongs to it, and IR 10 to what is newer.
OPSET = 20
_MICROSOFT = "com.microsoft"

# Smaller tensors stay in the .onnx file: shape inference cannot read external ones, and the ones it
# needs (shapes, axes, indices) are tiny.
_INLINE_BYTES = 1024
# Where each tensor of the data file starts, so that a mapped weight is aligned for vector loads.
_ALIGNMENT = 64


class GraphWriter:
    """Collects nodes and constants in order and writes them as one model when it is left.

    With external data, constants go to `<file>.data` as they come, so only one of them needs to be
    in memory. A `with` block that ends in an error, its own included, leaves neither file. What is
    only wanted in memory needs neither a block nor a file: `to_bytes`.

        with GraphWriter(folder / "model.onnx", external_data=True) as graph:
            x = graph.input("x", np.float32, ["rows", 4])
            y = graph.node("MatMul", [x, graph.constant("w", weights)])
            graph.output(y, np.float32, ["rows", 8])
    """

    def __init__(
        self, onnx_file: Path = Path("model.onnx"), *, external_data: bool = False
    ) -> None:
        self._onnx_file = onnx_file
        self._opset = OPSET
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
                self._onnx_file.write_bytes(self.to_bytes())
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

    def add(self, node: "GraphNode", names: Mapping[str, str]) -> None:
        """Adds a copy of a node in which values have other names."""
        copied = node.copied()
        for place in (copied.input, copied.output):
            place[:] = [names.get(name, name) for name in place]
        self._graph.node.append(copied)

    def use_opset(self, opset: int) -> None:
        """Declares the nodes of ai.onnx to be of that version."""
        self._opset = opset

    def to_bytes(self) -> bytes:
        """The model as a file would hold it."""
        return self._model().SerializeToString(deterministic=True)

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
        ir_version = 9 if self._opset <= OPSET else 10
        model = onnx.ModelProto(
            ir_version=ir_version, producer_name="npu-gateway", graph=self._graph
        )
        model.opset_import.add(domain="", version=self._opset)
        model.opset_import.add(domain=_MICROSOFT, version=1)
        return model


@dataclass(frozen=True, slots=True)
class GraphValue:
    """An input or output of a graph, as it is declared."""

    dtype: str
    """ONNX's own name in lower case, as "float16" or "int64"."""
    shape: tuple[Dimension, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """What an array would be declared as."""
        number = helper.np_dtype_to_tensor_dtype(array.dtype)
        return cls(onnx.TensorProto.DataType.Name(number).lower(), array.shape)


class GraphNode:
    """A node of a graph that is read or edited."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node

    @classmethod
    def new(
        cls, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Self:
        """A node of ai.onnx that belongs to no graph yet; it is named after its first output."""
        node = helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes)
        return cls(node)

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes: numbers, lists, bytes for strings, and graphs and tensors as onnx's."""
        return {a.name: helper.get_attribute_value(a) for a in self._node.attribute}

    def reading(self, inputs: Sequence[str]) -> "GraphNode":
        """A copy that reads these values in place of its own."""
        copied = self.copied()
        copied.input[:] = inputs
        return GraphNode(copied)

    def copied(self) -> onnx.NodeProto:
        """A copy in onnx's own form."""
        return deepcopy(self._node)

    def evaluated(self, arrays: Sequence[NDArray[Any] | None], opset: int) -> list[NDArray[Any]]:
        """What it gives for these inputs, None for one that is left out.

        Raises:
            GraphNotServed: It cannot be computed without a session.
        """
        feeds = {n: a for n, a in zip(self.inputs, arrays, strict=True) if a is not None}
        try:
            evaluator: Any = ReferenceEvaluator(self._node, opsets={"": opset})
            with np.errstate(all="ignore"):  # Infinities in unused places are the graph's affair.
                return [np.asarray(value) for value in evaluator.run(None, feeds)]
        except Exception as error:  # The evaluator raises whatever its operators raise.
            raise GraphNotServed(f"{self.operator} cannot be computed ({error})") from error

    def inferred(
        self, inputs: Mapping[str, GraphValue], arrays: Mapping[str, NDArray[Any]], opset: int
    ) -> list[GraphValue]:
        """Types and shapes of its outputs, from its inputs' and from those that are known.

        Raises:
            GraphNotServed: The operator is not one of ai.onnx, or does not take such inputs.
        """
        known = {name: numpy_helper.from_array(array, name) for name, array in arrays.items()}
        types = {
            name: helper.make_tensor_type_proto(_element_named(value.dtype), value.shape)
            for name, value in inputs.items()
        }
        try:
            schema = defs.get_schema(self._node.op_type, opset, self._node.domain)
            found = shape_inference.infer_node_outputs(
                schema, self._node, types, known, opset_imports=[helper.make_opsetid("", opset)]
            )
        except Exception as error:  # The checks of onnx share no base class of their own.
            raise GraphNotServed(f"{self.operator} cannot be used ({error})") from error
        return [_of_type(found[name]) for name in self.outputs if name in found]

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


class GraphNotServed(Exception):
    """A graph has a node that cannot be dealt with; the text says which and why."""


class GraphEditor:
    """A model's graph, read without its external data, which stays where it is."""

    def __init__(self, onnx_file: Path) -> None:
        """Raises ModelBroken if the file cannot be read or is no ONNX model."""
        self._model = _read(onnx_file)
        self._graph = self._model.graph
        self._folder = onnx_file.parent

    @property
    def opset(self) -> int:
        """The version of ai.onnx that its nodes are of."""
        versions = {o.domain: o.version for o in self._model.opset_import}
        return versions.get("", versions.get("ai.onnx", 1))

    def constants(self) -> dict[str, NDArray[Any]]:
        """Initialisers by name, external data read from beside the file."""
        base = str(self._folder)
        return {t.name: numpy_helper.to_array(t, base) for t in self._graph.initializer}

    def raise_opset(self, opset: int) -> None:
        """Rewrites nodes of an older ai.onnx for that version and functions as their nodes.

        Raises:
            GraphNotServed: An operator has no such form.
        """
        try:
            model = inliner.inline_local_functions(_without_weights(self._model))
            if self.opset < opset:
                model = version_converter.convert_version(model, opset)
        except Exception as error:  # The converter raises RuntimeError's many cousins.
            raise GraphNotServed(f"its operators have no form of opset {opset}: {error}") from error
        weights = [t for t in self._graph.initializer if _is_weight(t)]
        names = {tensor.name for tensor in weights}
        inputs = [value for value in model.graph.input if value.name not in names]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.graph.initializer.extend(weights)
        self._model, self._graph = model, model.graph

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
        return self.add_node("Cast", [value], output, to=element(dtype))

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


def element(dtype: type[np.generic]) -> int:
    """The number that a Cast to a type names."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


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


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.ByteSize() > _INLINE_BYTES


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that takes its larger constants as inputs, so that rewriting it costs little."""
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    light.functions.extend(model.functions)
    light.graph.CopyFrom(_emptied(model.graph))
    named = {value.name for value in light.graph.input}
    for tensor in model.graph.initializer:
        if not _is_weight(tensor):
            light.graph.initializer.append(tensor)
        elif tensor.name not in named:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light


def _emptied(graph: onnx.GraphProto) -> onnx.GraphProto:
    return onnx.GraphProto(name=graph.name, node=graph.node, input=graph.input, output=graph.output)


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
    return _of_type(value.type)


def _of_type(kind: onnx.TypeProto) -> GraphValue:
    tensor = kind.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim
    )
    return GraphValue(onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), shape)


def _element_named(dtype: str) -> int:
    return onnx.TensorProto.DataType.Value(dtype.upper())


def _value_info(
    name: str, dtype: type[np.generic], shape: Sequence[Dimension]
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element(dtype), list(shape))
