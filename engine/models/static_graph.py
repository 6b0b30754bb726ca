"""Writes an encoder's graph for an NPU: fixed shapes, plain operators, weights inside.

Knows graphs, nothing of devices or of how they compile. Every value whose inputs are known is
computed here, so that shapes, positions and switches of an export vanish; what only the mask
decides is recognised by what it gives for one mask, however the export computes it.

Rules, measured on Qualcomm's simulator (QAIRT 2.51) and assumed of the silicon:

- Nothing is added to all rows at once. A table [1, tokens, hidden] added before a normalisation
  reaches the first row alone where there are 2 to 7 rows, without any error; it is repeated here.
- Padding weighs -10000: the -3.4e38 of exports is infinite in 16 bits, and then makes NaN.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import NpuFailed
from engine.models import masks
from engine.models.graph import (
    OPSET,
    GraphEditor,
    GraphNode,
    GraphNotServed,
    GraphValue,
    GraphWriter,
    element,
)
from engine.models.masks import MASK_BIAS
from engine.models.unfolding import UNFOLDED, Unsupported

Array = NDArray[Any]
_Value = TypeVar("_Value")

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MASK = "attention_mask"
_STATES = "last_hidden_state"
# What gives its first input as it is where nothing is trained.
_PASSING = frozenset(["Identity", "Dropout"])
_SUMS = frozenset(["Add", "Sub", "Sum"])
# Operators that are never computed, which would undo a quantisation that is meant, and the input
# that has their output's type. com.microsoft's have 16 bits before opset 21, and no schema in onnx.
_QUANTISERS = {
    "QuantizeLinear": 2,
    "DequantizeLinear": 1,
    "com.microsoft.QuantizeLinear": 2,
    "com.microsoft.DequantizeLinear": 1,
}
# The largest array that shape inference is shown: it needs shapes and axes alone.
_SHAPE_ITEMS = 64


def static_graph(onnx_file: Path, rows: int, tokens: int) -> bytes:
    """An encoder's graph for runs of exactly so many rows and tokens.

    It takes int32 [rows, tokens] `input_ids`, and `attention_mask` and `token_type_ids` where the
    file does, and gives one output, the token states, float32 [rows, tokens, dimensions].

    Args:
        onnx_file: As exported or as converted here: fused operators, dynamic axes, any opset.
        rows: Texts of a run.
        tokens: Tokens of each, padding included.

    Raises:
        ModelBroken: The file cannot be read or is no ONNX model.
        NpuFailed: It holds what has no plain form ("graph-not-served"); says what.
    """
    try:
        return _Walk(GraphEditor(onnx_file), rows, tokens).written()
    except (GraphNotServed, Unsupported) as error:
        raise NpuFailed(
            "graph-not-served",
            f"{onnx_file.name} in {onnx_file.parent.name} cannot be prepared for the NPU: "
            f"{str(error)[:300].rstrip(' .')}.",
        ) from error


class _Walk:
    """One pass over a graph's nodes that knows all shapes, and what is constant, on its way."""

    def __init__(self, editor: GraphEditor, rows: int, tokens: int) -> None:
        editor.raise_opset(OPSET)
        self._editor = editor
        self._opset = max(editor.opset, OPSET)
        self._rows, self._tokens = rows, tokens
        self._arrays: dict[str, Array] = editor.constants()
        self._types: dict[str, GraphValue] = {}
        self._same: dict[str, str] = {}
        self._probed: dict[str, Array] = {}
        self._narrow: dict[str, str] = {}
        self._makers: dict[str, GraphNode] = {}
        self._nodes: list[GraphNode] = []
        self._bias = ""
        self._added = 0
        self._probe = masks.probe(rows, tokens)

    # What `unfolding` needs

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        self._added += 1
        name = f"{operator}.{self._added}"
        names = [name, *(f"{name}/{index}" for index in range(1, outputs))]
        self._take(GraphNode.new(operator, inputs, names, **attributes))
        return name

    def constant(self, array: Array) -> str:
        name = f"constant.{len(self._arrays)}"
        self._arrays[name] = np.asarray(array)
        return name

    def shape(self, value: str) -> tuple[int, ...]:
        dimensions = self._type(value).shape
        fixed = tuple(dim for dim in dimensions if isinstance(dim, int))
        if len(fixed) != len(dimensions):
            raise Unsupported(f"the shape of {value} depends on what the graph is given")
        return fixed

    def bias(self, mask: str) -> str:
        """The bias where a value is the mask, its row lengths or a bias already."""
        mask = self._found(mask)
        probed = self._probed.get(mask)
        if probed is None:
            raise Unsupported(f"attention is masked by {mask}, which is no attention_mask")
        if not masks.is_mask(probed, self._probe):
            raise Unsupported(f"attention is masked by {mask} in a way that is not known")
        return self._own_bias()

    def maker(self, value: str) -> tuple[str, Sequence[str]]:
        node = self._makers.get(self._found(value))
        return (node.operator, node.inputs) if node else ("", ())

    def known(self, value: str) -> Array | None:
        return self._arrays.get(self._found(value))

    def told_by_mask(self, value: str) -> Array | None:
        return self._probed.get(self._found(value))

    # The pass

    def written(self) -> bytes:
        states = self._output()
        for name in self._editor.inputs:
            self._open(name)
        for node in self._editor.nodes:
            self._take(node)
        return self._write(self._found(states))

    def _output(self) -> str:
        outputs = self._editor.outputs
        states = [name for name, value in outputs.items() if len(value.shape) == 3]
        if not states:
            raise Unsupported(f"it gives {', '.join(outputs)} and no token states")
        return _STATES if _STATES in states else states[0]

    def _open(self, name: str) -> None:
        """Makes an input 32 bits wide; nodes read it through a cast where they need to."""
        if name not in _INPUTS:
            raise Unsupported(f"it takes {name}")
        narrow = f"{name}.narrow"
        declared = self._editor.inputs[name]
        self._types[narrow] = GraphValue("int32", (self._rows, self._tokens))
        if name == _MASK:
            self._probed[narrow] = self._probe.astype(np.int32)
        self._same[name] = narrow
        if declared.dtype != "int32":
            wide = {"int64": np.int64, "float": np.float32}.get(declared.dtype)
            if wide is None:
                raise Unsupported(f"{name} is of type {declared.dtype}")
            self._same[name] = self.add("Cast", [narrow], to=element(wide))
            self._narrow[self._same[name]] = narrow

    def _take(self, node: GraphNode) -> None:
        inputs = [self._found(name) for name in node.inputs]
        if node.operator in UNFOLDED:
            self._unfold(node, inputs)
        elif same := self._same_as(node, inputs):
            self._same[node.outputs[0]] = same
        elif (arrays := self._known(node, inputs)) is not None:
            self._arrays |= _named(node.outputs, node.evaluated(arrays, self._opset))
        else:
            self._keep(node, inputs)

    def _unfold(self, node: GraphNode, inputs: list[str]) -> None:
        padded = [*inputs, *[""] * 10]
        made = UNFOLDED[node.operator](self, padded, node.attributes)
        self._same |= {name: value for name, value in _named(node.outputs, made).items() if value}

    def _keep(self, node: GraphNode, inputs: list[str]) -> None:
        """Adds a node to what is written, if it turns out to be needed."""
        if node.operator in ("Gather", "Cast"):
            inputs = [self._narrow.get(name, name) for name in inputs]
        probes = [self._probed.get(name, self._arrays.get(name)) for name in inputs]
        by_mask = any(name in self._probed for name in inputs) and all(
            probe is not None or not name for probe, name in zip(probes, inputs, strict=True)
        )
        if by_mask and node.operator not in _QUANTISERS:
            self._probed |= _named(node.outputs, node.evaluated(probes, self._opset))
        else:
            inputs = self._fitted(node, inputs)
        fitted = node.reading(inputs)
        self._note_types(fitted)
        self._nodes.append(fitted)
        self._makers |= dict.fromkeys(filter(None, node.outputs), fitted)

    def _note_types(self, node: GraphNode) -> None:
        if node.operator in _QUANTISERS and len(node.inputs) == 3:
            typed = self._type(node.inputs[_QUANTISERS[node.operator]])
            self._types[node.outputs[0]] = GraphValue(typed.dtype, self.shape(node.inputs[0]))
            return
        types = {name: self._type(name) for name in node.inputs if name}
        small = {
            name: self._arrays[name]
            for name in types
            if name in self._arrays and self._arrays[name].size <= _SHAPE_ITEMS
        }
        self._types |= _named(node.outputs, node.inferred(types, small, self._opset))

    # What is known

    def _found(self, name: str) -> str:
        while name in self._same:
            name = self._same[name]
        return name

    def _type(self, name: str) -> GraphValue:
        if name not in self._types and name in self._arrays:
            self._types[name] = GraphValue.of(self._arrays[name])
        if name not in self._types:
            raise Unsupported(f"{name or 'a value that is left out'} is read before it is made")
        return self._types[name]

    def _known(self, node: GraphNode, inputs: list[str]) -> list[Array | None] | None:
        """A node's inputs where all that matters of them is known."""
        if node.operator in ("Shape", "Size"):
            return [np.broadcast_to(np.float32(0), self.shape(inputs[0]))]
        if node.operator in _QUANTISERS or any(n and n not in self._arrays for n in inputs):
            return None
        return [self._arrays.get(name) for name in inputs]

    def _same_as(self, node: GraphNode, inputs: list[str]) -> str:
        """The value that a node gives too; empty where it gives one of its own."""
        if node.operator in _PASSING:
            return inputs[0]
        if node.operator != "Where":
            return ""
        # A guard against NaN: there is none where masks are finite.
        guard = self._makers.get(inputs[0])
        if guard is not None and guard.operator == "IsNaN" and guard.inputs[0] == inputs[2]:
            return inputs[2]
        return self._filled(*inputs)

    def _filled(self, condition: str, chosen: str, other: str) -> str:
        """The sum of scores and bias, where a node fills the scores of padding instead."""
        shown = self._probed.get(condition)
        if shown is None or shown.ndim != 4 or shown.dtype.kind != "b":
            return ""
        for scores, low, bias in ((chosen, other, ~shown), (other, chosen, shown)):
            lowest = self._arrays.get(low)
            if lowest is None or lowest.size != 1 or lowest.item() > MASK_BIAS:
                continue
            if scores not in self._arrays and masks.is_bias(
                bias * np.float32(MASK_BIAS), self._probe
            ):
                return self.add("Add", [scores, self._own_bias()])
        return ""

    # What is mended

    def _fitted(self, node: GraphNode, inputs: list[str]) -> list[str]:
        """Inputs of a node that depends on tokens, in the form that it should read."""
        if node.operator == "Add":
            inputs = [self._own_bias() if self._adds_bias(name) else name for name in inputs]
        if node.operator in _SUMS and self._rows > 1 and self._has_rows(inputs):
            inputs = [self._with_rows(name) for name in inputs]
        return inputs

    def _adds_bias(self, name: str) -> bool:
        return (
            name in self._probed
            and name != self._bias
            and masks.is_bias(self._probed[name], self._probe)
        )

    def _has_rows(self, inputs: list[str]) -> bool:
        shapes = [self.shape(name) for name in inputs]
        return max(map(len, shapes)) == 3 and any(
            len(shape) == 3 and shape[0] == self._rows for shape in shapes
        )

    def _with_rows(self, name: str) -> str:
        """A value [tokens, hidden] or [1, tokens, hidden] as one of all rows."""
        shape = self.shape(name)
        lacking = (len(shape) == 2 and shape[0] > 1) or (
            len(shape) == 3 and shape[0] == 1 and shape[1] > 1
        )
        if not lacking:
            return name
        if name not in self._arrays:
            raise Unsupported(f"{name}, which is computed at each run, is added to all rows")
        repeated = np.repeat(self._arrays[name].reshape(1, *shape[-2:]), self._rows, axis=0)
        return self.constant(repeated)

    def _own_bias(self) -> str:
        """(mask - 1) x 10000, [rows, 1, 1, tokens]."""
        if not self._bias:
            mask = self.add("Cast", [f"{_MASK}.narrow"], to=element(np.float32))
            padding = self.add("Sub", [mask, self.constant(np.array(1, np.float32))])
            weighed = self.add("Mul", [padding, self.constant(np.array(-MASK_BIAS, np.float32))])
            shape = np.array([self._rows, 1, 1, self._tokens], np.int64)
            self._bias = self.add("Reshape", [weighed, self.constant(shape)])
        return self._bias

    # What is written

    def _write(self, states: str) -> bytes:
        graph = GraphWriter()
        graph.use_opset(self._opset)
        names = {f"{name}.narrow": name for name in self._editor.inputs}
        for name in names.values():
            graph.input(name, np.int32, [self._rows, self._tokens])
        is_float = self._type(states).dtype == "float"
        names[states] = _STATES if is_float else states
        for node in self._needed(states):
            for name in node.inputs:
                if name in self._arrays and name not in names:
                    names[name] = graph.constant(name, masks.bounded(self._arrays[name]))
            graph.add(node, names)
        if not is_float:
            graph.node("Cast", [states], [_STATES], to=element(np.float32))
        graph.output(_STATES, np.float32, self.shape(states))
        return graph.to_bytes()

    def _needed(self, states: str) -> list[GraphNode]:
        needed, kept = {states}, list[GraphNode]()
        for node in reversed(self._nodes):
            if not needed.isdisjoint(node.outputs):
                needed.update(filter(None, node.inputs))
                kept.append(node)
        return kept[::-1]


def _named(names: Sequence[str], values: Sequence[_Value]) -> dict[str, _Value]:
    """What a node gives by its outputs' names; an output that is left out has none."""
    return {name: value for name, value in zip(names, values, strict=False) if name}
