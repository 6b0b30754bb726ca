"""Unfolds ONNX Runtime's fused operators into plain ones, which an NPU takes.

Knows what com.microsoft's operators mean, nothing of shapes to be fixed or of devices. Rule: what a
fused operator may be told and is not unfolded here is refused by name, never left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Attributes = Mapping[str, Any]


class Unsupported(Exception):
    """A graph holds what cannot be brought to plain operators; the text says what."""


class Plain(Protocol):
    """Where plain nodes are added; values are known by their names."""

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Adds a node of ai.onnx and returns its first output; others end in /1, /2…"""
        ...

    def constant(self, array: NDArray[Any]) -> str:
        """Adds a constant."""
        ...

    def shape(self, value: str) -> tuple[int, ...]:
        """The shape of a value."""
        ...

    def bias(self, mask: str) -> str:
        """What a mask means for attention scores: [rows, 1, 1, tokens], to be added to them."""
        ...

    def maker(self, value: str) -> tuple[str, Sequence[str]]:
        """Operator and inputs of what gives a value; nothing where no plain node does."""
        ...

    def known(self, value: str) -> NDArray[Any] | None:
        """The array of a value that does not depend on what the graph is given."""
        ...

    def told_by_mask(self, value: str) -> NDArray[Any] | None:
        """What a value that depends on the mask alone is for one mask."""
        ...


Inputs = Sequence[str]
"""Names of a fused operator's inputs; "" where one is left out or not there at all."""


def embed_layer_normalization(graph: Plain, given: Inputs, attributes: Attributes) -> list[str]:
    """Token, position and segment rows, added and normalised; then the mask, as mask index."""
    tokens, segments, words, positions, types, gamma, beta, mask, position_ids, *_ = given
    rows, length = graph.shape(tokens)
    if not position_ids:
        position_ids = graph.constant(np.arange(length)[None])
    states = graph.add("Gather", [words, tokens], axis=0)
    if types:
        segments = segments or graph.constant(np.zeros((rows, length), np.int64))
        states = graph.add("Add", [states, graph.add("Gather", [types, segments], axis=0)])
    states = graph.add("Add", [states, graph.add("Gather", [positions, position_ids], axis=0)])
    normalised = _normalised(graph, states, gamma, beta, attributes)
    return [normalised, mask, states]


def attention(graph: Plain, given: Inputs, attributes: Attributes) -> list[str]:
    """Projections, scores, softmax and their sum, by heads."""
    states, weight, bias, mask, past, scores_bias, *_ = given
    _refuse(attributes, "unidirectional", "do_rotary", "past_present_share_buffer")
    _refuse_inputs("Attention", past=past)
    sizes = attributes.get("qkv_hidden_sizes") or [graph.shape(weight)[1] // 3] * 3
    joined = graph.add("MatMul", [states, weight])
    if bias:
        joined = graph.add("Add", [joined, bias])
    parts = _split(graph, joined, sizes)
    return [_attended(graph, parts, mask, scores_bias, attributes)]


def multi_head_attention(graph: Plain, given: Inputs, attributes: Attributes) -> list[str]:
    """The same after projections of their own: queries, keys, values [rows, tokens, hidden]."""
    *parts, bias, mask, scores_bias, past_key, past_value = given[:8]
    _refuse(attributes, "unidirectional")
    _refuse_inputs("MultiHeadAttention", past_key=past_key, past_value=past_value)
    if not all(parts) or any(len(graph.shape(part)) != 3 for part in parts):
        raise Unsupported("MultiHeadAttention takes packed queries, keys or values")
    if bias:
        biases = _split(graph, bias, [graph.shape(part)[-1] for part in parts])
        parts = [graph.add("Add", list(pair)) for pair in zip(parts, biases, strict=True)]
    heads = int(attributes["num_heads"])
    scale = attributes.get("scale") or (graph.shape(parts[0])[-1] // heads) ** -0.5
    if not mask and (narrow := _without_padding_column(graph, parts, heads)):
        parts, mask = narrow
    return [_attended(graph, parts, mask, scores_bias, {**attributes, "scale": scale})]


def skip_layer_normalization(graph: Plain, given: Inputs, attributes: Attributes) -> list[str]:
    """What a layer gives and what it was given, added and normalised; then their sum, fourth."""
    states, skipped, gamma, beta, bias, *_ = given
    if bias:
        states = graph.add("Add", [states, bias])
    states = graph.add("Add", [states, skipped])
    return [_normalised(graph, states, gamma, beta, attributes), "", "", states]


def gelu(graph: Plain, given: Inputs, attributes: Attributes) -> list[str]:
    """The exact Gelu, of a sum with a bias where there is one."""
    return [graph.add("Gelu", [_sum(graph, given)])]


def fast_gelu(graph: Plain, given: Inputs, attributes: Attributes) -> list[str]:
    """The Gelu of the hyperbolic tangent, of a sum with a bias where there is one."""
    return [graph.add("Gelu", [_sum(graph, given)], approximate="tanh")]


UNFOLDED: Mapping[str, Callable[[Plain, Inputs, Attributes], list[str]]] = {
    "com.microsoft.Attention": attention,
    "com.microsoft.BiasGelu": gelu,
    "com.microsoft.EmbedLayerNormalization": embed_layer_normalization,
    "com.microsoft.FastGelu": fast_gelu,
    "com.microsoft.Gelu": gelu,
    "com.microsoft.MultiHeadAttention": multi_head_attention,
    "com.microsoft.SkipLayerNormalization": skip_layer_normalization,
}
"""Operator -> what gives the names of its outputs, "" for those that nobody may read."""


def _attended(
    graph: Plain, parts: list[str], mask: str, scores_bias: str, attributes: Attributes
) -> str:
    """Queries, keys and values [rows, tokens, hidden] to the weighted sum of values."""
    heads = int(attributes["num_heads"])
    rows, tokens, hidden = graph.shape(parts[0])
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    query, key, value = (
        _by_heads(graph, part, heads, order) for part, order in zip(parts, orders, strict=True)
    )
    scale = attributes.get("scale") or (hidden // heads) ** -0.5
    scores = graph.add("MatMul", [query, key])
    scores = graph.add("Mul", [scores, graph.constant(np.array(scale, np.float32))])
    for addend in (graph.bias(mask) if mask else "", scores_bias):
        if addend:
            scores = graph.add("Add", [scores, addend])
    weighted = graph.add("MatMul", [graph.add("Softmax", [scores], axis=-1), value])
    joined = graph.add("Transpose", [weighted], perm=[0, 2, 1, 3])
    shape = np.array([rows, tokens, graph.shape(parts[2])[-1]], np.int64)
    return graph.add("Reshape", [joined, graph.constant(shape)])


def _without_padding_column(
    graph: Plain, parts: list[str], heads: int
) -> tuple[list[str], str] | None:
    """Queries and keys without each head's last column, by one product, and the mask it tells.

    Our converter writes that column, 1 in all queries and far below 0 in the keys of padding, for
    the CPU's sake. An NPU computes in tiles of 32 columns: 33 are two.
    """
    query, key, value = (_linear(graph, part) for part in parts)
    if query is None or key is None or value is None:
        return None
    ones, told = graph.known(query.addend), graph.told_by_mask(key.addend)
    states = {query.states, key.states, value.states}
    if ones is None or told is None or value.addend or len(states) > 1:
        return None
    arrays = (query.weight, ones, key.weight, told)
    in_query, one, in_key, column = (a.reshape(*a.shape[:-1], heads, -1) for a in arrays)
    widens = not (in_query[..., -1].any() or in_key[..., -1].any() or column[..., :-1].any())
    if not widens or (one[..., -1] != 1).any() or np.ptp(column[..., -1], axis=-1).any():
        return None
    narrow = [a[..., :-1].reshape(*a.shape[:-2], -1) for a in (in_query, in_key, one)]
    weight = np.concatenate([*narrow[:2], value.weight], axis=1)
    bias = np.zeros(weight.shape[1], weight.dtype)
    bias[: narrow[2].size] = narrow[2]
    joined = graph.add("MatMul", [query.states, graph.constant(weight)])
    joined = graph.add("Add", [joined, graph.constant(bias)])
    sizes = [a.shape[1] for a in (*narrow[:2], value.weight)]
    return _split(graph, joined, sizes), _last_column(graph, key.addend, column.shape)


def _last_column(graph: Plain, value: str, shape: tuple[int, ...]) -> str:
    """Of a value [rows, tokens, columns], as [rows, 1, 1, tokens]."""
    last = graph.constant(np.array(graph.shape(value)[-1] - 1, np.int64))
    target = graph.constant(np.array([shape[0], 1, 1, shape[1]], np.int64))
    return graph.add("Reshape", [graph.add("Gather", [value, last], axis=2), target])


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """A product with a weight, and what is added to it; "" where nothing is."""

    states: str
    weight: NDArray[Any]
    addend: str


def _linear(graph: Plain, value: str) -> _Linear | None:
    operator, terms = graph.maker(value)
    pairs = (terms, terms[::-1]) if operator == "Add" else ((value, ""),)
    for product, addend in pairs:
        made_by, factors = graph.maker(product)
        weight = graph.known(factors[1]) if made_by == "MatMul" else None
        if weight is not None and weight.ndim == 2:
            return _Linear(factors[0], weight, addend)
    return None


def _split(graph: Plain, joined: str, sizes: Sequence[int]) -> list[str]:
    """Queries, keys and values of so many columns."""
    split = graph.constant(np.array(sizes, np.int64))
    first = graph.add("Split", [joined, split], outputs=3, axis=-1)
    return [first, f"{first}/1", f"{first}/2"]


def _by_heads(graph: Plain, part: str, heads: int, order: list[int]) -> str:
    rows, tokens, hidden = graph.shape(part)
    shape = graph.constant(np.array([rows, tokens, heads, hidden // heads], np.int64))
    return graph.add("Transpose", [graph.add("Reshape", [part, shape])], perm=order)


def _normalised(graph: Plain, states: str, gamma: str, beta: str, attributes: Attributes) -> str:
    given = [states, gamma, beta] if beta else [states, gamma]
    epsilon = float(attributes.get("epsilon", 1e-12))
    return graph.add("LayerNormalization", given, axis=-1, epsilon=epsilon)


def _sum(graph: Plain, given: Inputs) -> str:
    states, bias, *_ = given
    return graph.add("Add", [states, bias]) if bias else states


def _refuse(attributes: Attributes, *names: str) -> None:
    if found := [name for name in names if attributes.get(name)]:
        raise Unsupported(f"attention with {', '.join(found)}")


def _refuse_inputs(operator: str, **inputs: str) -> None:
    if found := [name for name, value in inputs.items() if value]:
        raise Unsupported(f"{operator} with {', '.join(found)}")
