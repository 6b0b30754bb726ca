"""Writes an encoder with 8-bit weights and 16-bit values (A16W8), as an NPU computes fastest.

Knows graphs of BERT's kind, neither files of weights nor devices. Each value passes through codes
of 16 bits (QuantizeLinear, DequantizeLinear), which an NPU computes with and a CPU rounds to.

What was found (all-MiniLM-L6-v2, lowest cosine on five short texts, HTP simulator of QAIRT 2.51):

- Scores and what Softmax makes of them stay floats: with codes the simulator's vectors had a cosine
  of 0.982 to the CPU's of the same graph, without 0.998. Codes of sums, normalisations and Gelu
  cost nothing (0.983 and 0.982 where they were left out one by one).
- Weights have a scale for each column: one for the matrix lost ten times as much. What rounding
  them adds to a sum on random words was taken back in its bias, to no use on abstracts (0.9992
  either way).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelBroken
from engine.models import calibrating
from engine.models.graph import GraphEditor, GraphNode, GraphWriter

Floats = NDArray[np.float32]

# The first version of ai.onnx in which codes may have 16 bits.
_OPSET = 21

# Weights are -127 to 127, so that their scale is the same on both sides of zero.
_WEIGHT_TOP = 127
_TOP = 65535

# Texts go beyond what random words reach, by up to three times at the end that is nearer to zero
# and 1.6 times at the other.
_MARGIN, _NEARER_END = 2.0, 0.25

# What gives values as they were given, which keep their codes.
_MOVING = frozenset(["Reshape", "Split", "Transpose"])


def write_a16w8(
    onnx_file: Path, a16w8_file: Path, texts: Sequence[NDArray[np.int32]], most_tokens: int
) -> None:
    """Writes an encoder's graph anew with weights in 8 bits and values in 16.

    Args:
        onnx_file: An encoder as `converters.from_safetensors` writes it.
        a16w8_file: Where to write; its inputs and outputs are those of `onnx_file`.
        texts: Token ids [rows, tokens] without padding, on which ranges are taken.
        most_tokens: As many as the encoder has positions for.

    Raises:
        ModelBroken: The file cannot be read or has no products with weights.
        NpuFailed: It holds what has no plain form.
    """
    editor = calibrating.plain(onnx_file, 1, most_tokens)
    weights = editor.constants()
    if not any(_is_product(node, weights) for node in editor.nodes):
        raise ModelBroken(f"{onnx_file.name} has no products with weights; it is no encoder.")
    ranges: dict[str, _Range] = {}
    for tokens in texts:
        _take(ranges, calibrating.plain(onnx_file, *tokens.shape), tokens)
    with GraphWriter(a16w8_file) as graph:
        graph.use_opset(_OPSET)
        for name in editor.inputs:
            graph.input(name, np.int64, ["batch", "sequence"])
        _Copy(graph, editor, ranges, most_tokens).write()
        for name, value in editor.outputs.items():
            graph.output(name, np.float32, ["batch", "sequence", value.shape[-1]])


@dataclass(frozen=True, slots=True)
class _Range:
    """From where to where the codes of a value go; zero is one of them."""

    low: float
    high: float

    @classmethod
    def of(cls, array: Floats) -> "_Range":
        return cls(min(float(array.min()), 0.0), max(float(array.max()), 1e-6))

    def joined(self, other: "_Range") -> "_Range":
        return _Range(min(self.low, other.low), max(self.high, other.high))

    def widened(self) -> "_Range":
        """With room for texts that go beyond."""
        low = min(self.low, -self.high * _NEARER_END) * _MARGIN
        high = max(self.high, -self.low * _NEARER_END) * _MARGIN
        return _Range(low, high)

    @property
    def step(self) -> np.float32:
        return np.float32((self.high - self.low) / _TOP)

    @property
    def zero(self) -> np.uint16:
        return np.uint16(np.rint(-self.low / self.step))


def _take(ranges: dict[str, _Range], editor: GraphEditor, tokens: NDArray[np.int32]) -> None:
    """Widens the ranges of all values to what they are on texts of one length."""
    for step in calibrating.computed(editor, tokens):
        for name, array in zip(step.node.outputs, step.outputs, strict=True):
            if array.dtype.kind == "f":
                found = _Range.of(array)
                ranges[name] = found.joined(ranges.get(name, found))


def _is_product(node: GraphNode, weights: Mapping[str, object]) -> bool:
    return node.operator == "MatMul" and node.inputs[1] in weights


class _Copy:
    """Copies a graph of one shape as one of any, values by way of their codes."""

    def __init__(
        self,
        graph: GraphWriter,
        editor: GraphEditor,
        ranges: Mapping[str, _Range],
        tokens: int,
    ) -> None:
        self._graph = graph
        self._nodes = editor.nodes
        self._arrays = editor.constants()
        self._outputs = set(editor.outputs)
        self._found = ranges
        self._tokens = tokens
        self._floats = set(_floats(self._nodes, self._arrays))
        self._ranges: dict[str, _Range] = {}
        self._read: dict[str, str] = {}
        """Of what has codes, what gives it from them; of constants, their names."""

    def write(self) -> None:
        for node in self._nodes:
            names = {name: self._reading(node, name) for name in node.inputs}
            coded = [name for name in node.outputs if name not in self._floats]
            names |= {name: f"{name}.exact" for name in coded}
            self._graph.add(node, names)
            for name in coded:
                self._code(node, name)

    def _code(self, node: GraphNode, name: str) -> None:
        if node.operator in _MOVING:
            self._ranges[name] = self._ranges[node.inputs[0]]
        else:
            self._ranges[name] = self._found[name].widened()
        scale = self._scale(name, self._ranges[name])
        codes = self._graph.node("QuantizeLinear", [f"{name}.exact", *scale])
        to = [name] if name in self._outputs else None
        self._read[name] = self._graph.node("DequantizeLinear", [codes, *scale], to)

    def _reading(self, node: GraphNode, name: str) -> str:
        """What a node reads in place of a value; written where it is a constant not yet there."""
        if name in self._arrays and name not in self._read:
            self._read[name] = self._constant(node, name, self._arrays[name])
        return self._read.get(name, name)

    def _constant(self, node: GraphNode, name: str, array: NDArray[Any]) -> str:
        if node.operator == "Reshape":
            return self._graph.constant(name, self._any_shape(array))
        if array.dtype != np.float32 or node.outputs[0] in self._floats:
            return self._graph.constant(name, array)
        if node.operator == "MatMul":
            return self._weights(name, array)
        found = _Range.of(array)
        codes = np.clip(np.rint(array / found.step) + found.zero, 0, _TOP).astype(np.uint16)
        stored = self._graph.constant(f"{name}.codes", codes)
        if array.shape[:2] == (1, self._tokens):
            stored = self._as_long_as_text(stored)
        return self._graph.node("DequantizeLinear", [stored, *self._scale(name, found)])

    def _any_shape(self, shape: NDArray[np.int64]) -> NDArray[np.int64]:
        """0 stands for what it is before, and -1 for what is left."""
        _, second, *others = shape.tolist()
        if second == self._tokens:
            return np.array([0, 0, *others], np.int64)
        return np.array([0, *(-1 if n == self._tokens else n for n in (second, *others))], np.int64)

    def _weights(self, name: str, array: Floats) -> str:
        steps = (np.maximum(np.abs(array).max(axis=0), 1e-12) / _WEIGHT_TOP).astype(np.float32)
        codes = np.clip(np.rint(array / steps), -_WEIGHT_TOP, _WEIGHT_TOP)
        constants = {
            "codes": codes.astype(np.int8),
            "steps": steps,
            "zeros": np.zeros(len(steps), np.int8),
        }
        inputs = [self._graph.constant(f"{name}.{part}", one) for part, one in constants.items()]
        return self._graph.node("DequantizeLinear", inputs, axis=1)

    def _scale(self, name: str, found: _Range) -> list[str]:
        return [
            self._graph.constant(f"{name}.step", np.array(found.step)),
            self._graph.constant(f"{name}.zero", np.array(found.zero)),
        ]

    def _as_long_as_text(self, table: str) -> str:
        """The first rows of a table [1, positions, hidden], as many as a text has tokens."""
        graph = self._graph
        first, second, third = (
            graph.constant(f"place.{place}", np.array([place], np.int64)) for place in range(3)
        )
        length = graph.node("Slice", [graph.node("Shape", ["input_ids"]), second, third])
        return graph.node("Slice", [table, first, length, second])


def _floats(nodes: Sequence[GraphNode], known: Mapping[str, object]) -> Iterator[str]:
    """Values that have no codes: token ids, what the mask alone decides, scores, and their shares.

    Scores have codes before they are masked.
    """
    of_inputs = {"attention_mask", "input_ids"}
    for node in nodes:
        masked = of_inputs - {"input_ids"}
        if of_inputs.issuperset(name for name in node.inputs if name not in known):
            if node.operator != "Gather":
                of_inputs.update(node.outputs)
                yield from node.outputs
        elif node.operator == "Softmax" or (node.operator == "Add" and masked & set(node.inputs)):
            yield from node.outputs
