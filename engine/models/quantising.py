"""Writes an encoder with its products in 8 bits, so that no text's vector depends on another's.

Knows graphs of BERT's kind, neither files of weights nor devices. Weights have a scale for each
column. What is multiplied with them has none that a neighbour could change: a constant, or one for
each token. Attention, Gelu and normalisation stay in float32.

By what made the value that is multiplied, each found to be the most exact at that speed
(all-MiniLM-L6-v2, 1 - cosine x 10,000, mean over abstracts, queries and random words):

- A normalisation: its rows are alike but for a few channels up to 20 times as large. Each channel
  is divided by a constant, which its row of weights is multiplied by (SmoothQuant, arXiv
  2211.10438): 2.4 instead of 15 before attention, 3.6 instead of 29 before the wide product.
- Gelu: rows differ, so each has its own scale, and nothing is below -0.17, so the lowest code does
  not have to mirror the highest: 3.5 instead of 92.
- Attention: a scale for each row as well. One constant was as good on those texts (0.8), but texts
  like lists of 300 numbered items exceed it, and were left with a cosine of 0.980 instead of 0.997.

The constants come from running the encoder once on random tokens, which serve as well as abstracts
did (2.4 and 3.6 where those gave 2.5 and 3.6); no text is needed for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelBroken
from engine.models import calibrating
from engine.models.graph import GraphEditor, GraphNode, GraphWriter

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Weights are -127 to 127, so that their scale is the same on both sides of zero.
_TOP = 127
_MIDDLE = 128
"""The code of zero where values lie on both sides of it."""

# How much of the difference between channels moves from values into weights: at 0.5 channel 99 of
# MiniLM is still coarse, at 1 the weights are.
_MOVED = 0.75

# Gelu's lowest value is -0.17, so with the least scale it is code 16 - 15.
_GELU_ZERO, _GELU_TOP, _GELU_LEAST = 16, 239, 2.72


@dataclass(frozen=True, slots=True)
class _States:
    """Values that are multiplied with weights, [.., channels]."""

    name: str
    highest: Doubles
    """[channels]: the largest magnitude of each on random tokens."""
    rows: Doubles
    """[channels]: the largest magnitude of a weight that each is multiplied with."""


@dataclass(frozen=True, slots=True)
class _Codes:
    """The same as a product in 8 bits reads them; all but the last two are names."""

    codes: str
    step: str
    """What one code counts for."""
    zero: str
    """The code of 0."""
    factor: str = ""
    """[.., 1]: what each row of the product is still to be multiplied with, if anything."""
    divisors: Floats | float = 1.0
    """[channels]: what the weights' rows are to be multiplied with."""


def write_int8(onnx_file: Path, int8_file: Path, tokens: NDArray[np.int32]) -> None:
    """Writes an encoder's graph anew with all products with weights in 8 bits.

    Args:
        onnx_file: An encoder as `converters.from_safetensors` writes it.
        int8_file: Where to write; its inputs and outputs are those of `onnx_file`.
        tokens: Token ids [rows, tokens] without padding, on which ranges are taken.

    Raises:
        ModelBroken: The file cannot be read or has no such products.
    """
    editor = GraphEditor(onnx_file)
    arrays = editor.constants()
    multiplied = _multiplied(editor.nodes, arrays)
    found = _ranges(onnx_file, tokens)
    if not found or len(found) != len(multiplied):
        raise ModelBroken(f"{onnx_file.name} has no products with weights; it is no encoder.")
    highest = dict(zip(multiplied, found, strict=True))
    with GraphWriter(int8_file) as graph:
        for name, value in editor.inputs.items():
            graph.input(name, np.dtype(value.dtype).type, value.shape)
        _Copy(graph, arrays, highest).write(editor.nodes)
        for name, value in editor.outputs.items():
            graph.output(name, np.float32, value.shape)


def _multiplied(nodes: list[GraphNode], arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """The values that are multiplied with weights, each once, in order."""
    products = [node for node in nodes if node.operator == "MatMul" and node.inputs[1] in arrays]
    return list(dict.fromkeys(node.inputs[0] for node in products))


def _ranges(onnx_file: Path, tokens: NDArray[np.int32]) -> list[Doubles]:
    """The largest magnitude in each channel of what is multiplied with weights, in order."""
    editor = calibrating.plain(onnx_file, *tokens.shape)
    multiplied = _multiplied(editor.nodes, editor.constants())
    values: dict[str, Doubles] = {}
    for step in calibrating.computed(editor, tokens):
        values.update(zip(step.node.outputs, step.outputs, strict=True))
    return [np.abs(values[name]).max(axis=(0, 1)) for name in multiplied]


class _Copy:
    """Copies a graph's nodes, but for products with weights, which it writes in 8 bits."""

    def __init__(
        self, graph: GraphWriter, arrays: Mapping[str, NDArray[Any]], highest: Mapping[str, Doubles]
    ) -> None:
        self._graph = graph
        self._arrays = arrays
        self._highest = highest
        self._copied: set[str] = set()
        self._coded: dict[str, _Codes] = {}

    def write(self, nodes: list[GraphNode]) -> None:
        makers = {name: node.operator for node in nodes for name in node.outputs}
        products = [node for node in nodes if self._is_product(node)]
        readers: dict[str, list[str]] = {}
        for node in products:
            readers.setdefault(node.inputs[0], []).append(node.inputs[1])
        for node in nodes:
            if not self._is_product(node):
                self._copy(node)
                continue
            states, weights = node.inputs
            if states not in self._coded:
                code = _CODINGS.get(makers.get(states, ""), _by_row)
                self._coded[states] = code(self._graph, self._states(states, readers[states]))
            self._multiply(node, self._coded[states], self._arrays[weights])

    def _is_product(self, node: GraphNode) -> bool:
        return node.operator == "MatMul" and node.inputs[1] in self._arrays

    def _states(self, name: str, weights: list[str]) -> _States:
        """Products that read the same values, as queries, keys and values do, share their codes."""
        rows = [np.abs(self._arrays[weight]).max(axis=1) for weight in weights]
        return _States(name, self._highest[name], np.max(rows, axis=0).astype(np.float64))

    def _copy(self, node: GraphNode) -> None:
        for name in node.inputs:
            if name in self._arrays and name not in self._copied:
                self._graph.constant(name, self._arrays[name])
                self._copied.add(name)
        self._graph.add(node, {})

    def _multiply(self, node: GraphNode, states: _Codes, weights: Floats) -> None:
        name = node.inputs[1]
        scaled = weights * np.reshape(states.divisors, (-1, 1))
        steps = (np.maximum(np.abs(scaled).max(axis=0), 1e-12) / _TOP).astype(np.float32)
        codes = np.clip(np.rint(scaled / steps), -_TOP, _TOP).astype(np.int8)
        inputs = [
            *(states.codes, self._graph.constant(f"{name}.codes", codes), states.step),
            *(self._graph.constant(f"{name}.steps", steps), states.zero),
            # ONNX Runtime looks for it where "session.x64quantprecision" is to mend products on
            # CPUs whose sums overflow in 16 bits (`runtime.session` knows which).
            self._graph.constant(f"{name}.zero", np.array(0, np.int8)),
        ]
        operator, outputs = "com.microsoft.MatMulIntegerToFloat", node.outputs
        if states.factor:
            product = self._graph.node(operator, inputs)
            self._graph.node("Mul", [product, states.factor], outputs)
        else:
            self._graph.node(operator, inputs, outputs)


def _by_channel(graph: GraphWriter, states: _States) -> _Codes:
    """Divides each channel by a constant first, which moves into the weights."""
    name = states.name
    rows, highest = np.maximum(states.rows, 1e-6), np.maximum(states.highest, 1e-6)
    inverses = (rows ** (1 - _MOVED) / highest**_MOVED).astype(np.float32)
    smooth = graph.node("Mul", [name, graph.constant(f"{name}.inverses", inverses)])
    step = np.float32((highest * inverses).max() / _TOP)
    return replace(_coded(graph, name, smooth, step, _MIDDLE), divisors=1 / inverses)


def _by_row(graph: GraphWriter, states: _States) -> _Codes:
    """Divides each row by its largest magnitude first; the product takes it back."""
    magnitudes = graph.node("Abs", [states.name])
    return _by_factor(graph, states.name, magnitudes, 1e-6, (_TOP, _MIDDLE))


def _by_row_of_gelu(graph: GraphWriter, states: _States) -> _Codes:
    """The same where the largest magnitude is the largest value, and nothing is far below zero."""
    return _by_factor(graph, states.name, states.name, _GELU_LEAST, (_GELU_TOP, _GELU_ZERO))


def _by_factor(
    graph: GraphWriter, name: str, magnitudes: str, least: float, range_: tuple[int, int]
) -> _Codes:
    top, zero = range_
    axis = graph.constant(f"{name}.axis", np.array([-1], np.int64))
    floor = graph.constant(f"{name}.least", np.array(least, np.float32))
    factor = graph.node("Max", [graph.node("ReduceMax", [magnitudes, axis]), floor])
    codes = _coded(graph, name, graph.node("Div", [name, factor]), np.float32(1 / top), zero)
    return replace(codes, factor=factor)


_CODINGS: Mapping[str, Callable[[GraphWriter, _States], _Codes]] = {
    "com.microsoft.BiasGelu": _by_row_of_gelu,
    "com.microsoft.EmbedLayerNormalization": _by_channel,
    "com.microsoft.SkipLayerNormalization": _by_channel,
    "LayerNormalization": _by_channel,
}
"""What made the states -> how they are coded, other than by row."""


def _coded(graph: GraphWriter, name: str, values: str, step: np.float32, zero: int) -> _Codes:
    step_name = graph.constant(f"{name}.step", np.asarray(step))
    zero_name = graph.constant(f"{name}.zero", np.array(zero, np.uint8))
    return _Codes(
        graph.node("QuantizeLinear", [values, step_name, zero_name]), step_name, zero_name
    )
