"""Writes a llama decoder as one ONNX graph, in the published Phi-3 models' form.

Knows the model's parts and ONNX Runtime's operators for them, no file format: weights are handed
in under GGUF's names. GGUF permutes the rows of q and k, so rotary positions are interleaved here.

Inputs, [batch, ...]: int64 `input_ids` [new], int64 `attention_mask` [kept + new], float32
`past_key_values.N.key` and `.value` [kv heads, kept, head size], and int64 `logits_rows` [rows]:
which of the new tokens' logits are wanted, since a vocabulary's worth of them for each token of a
prompt costs more than all else. Outputs: `logits` [rows, vocabulary] and `present.N.*`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.models.converters.block_weights import BLOCK, BlockWeights, Floats
from engine.models.graph import INT32, GraphWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaFacts:
    """The numbers that make one llama model."""

    layers: int
    hidden: int
    inner: int
    """Width of the feed-forward part."""
    heads: int
    kv_heads: int
    context: int
    vocabulary: int
    rope_base: float
    epsilon: float

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


class Weights(Protocol):
    """Where weights come from, one at a time, by GGUF's names without `.weight`."""

    def vector(self, name: str, size: int) -> Floats:
        """A vector of that size."""
        ...

    def matrix(self, name: str, rows: int, columns: int) -> BlockWeights:
        """A matrix of that shape, quantised."""
        ...

    def stacked(self, names: Sequence[str], rows: Sequence[int], columns: int) -> BlockWeights:
        """Matrices of those rows below each other."""
        ...


@dataclass(frozen=True, slots=True)
class _Positions:
    """What attention needs to know of positions, the same in every layer."""

    seqlens: str
    total: str
    cos: str
    sin: str


class LlamaGraph:
    """Adds a llama decoder to a graph."""

    def __init__(
        self, graph: GraphWriter, facts: LlamaFacts, weights: Weights, accuracy_level: int
    ) -> None:
        self._graph = graph
        self._facts = facts
        self._weights = weights
        self._accuracy_level = accuracy_level

    def write(self) -> None:
        """Adds all of it, from inputs to outputs."""
        graph, facts = self._graph, self._facts
        tokens = graph.input("input_ids", np.int64, ["batch_size", "sequence_length"])
        mask = graph.input("attention_mask", np.int64, ["batch_size", "total_sequence_length"])
        rows = graph.input("logits_rows", np.int64, ["rows"])
        positions = self._positions(mask)
        table = self._weights.matrix("token_embd", facts.vocabulary, facts.hidden)
        table_names = self._constants("token_embd", table)
        states, residual = "", self._embed(tokens, table, table_names[0])
        for layer in range(facts.layers):
            states, residual = self._layer(layer, states, residual, positions)
        states, _ = self._add_and_normalise("output_norm", states, residual)
        states = graph.node("Gather", [states, rows], axis=1)
        self._multiply(states, table, table_names, "logits")
        graph.output("logits", np.float32, ["batch_size", "rows", facts.vocabulary])
        for layer in range(facts.layers):
            for name in _cache_names("present", layer):
                graph.output(name, np.float32, self._cache_shape("total_sequence_length"))

    def _positions(self, mask: str) -> _Positions:
        graph, facts = self._graph, self._facts
        one = graph.constant("one", np.array([1], np.int64))
        kept = graph.node("Sub", [graph.node("ReduceSum", [mask, one], keepdims=0), one])
        width = graph.node("Shape", [mask], start=1, end=2)
        scalar = graph.constant("scalar", np.array([], np.int64))
        steps = np.arange(0, facts.head_size, 2) / facts.head_size
        angles = np.arange(facts.context)[:, None] * facts.rope_base**-steps
        return _Positions(
            seqlens=graph.node("Cast", [kept], to=INT32),
            total=graph.node("Cast", [graph.node("Reshape", [width, scalar])], to=INT32),
            cos=graph.constant("cos_cache", np.cos(angles).astype(np.float32)),
            sin=graph.constant("sin_cache", np.sin(angles).astype(np.float32)),
        )

    def _embed(self, tokens: str, table: BlockWeights, packed: str) -> str:
        """Looks tokens up in the very bytes that the head multiplies with."""
        graph = self._graph
        scales = graph.constant("token_embd.lookup_scales", table.scales[..., None])
        blocks = graph.node(
            "com.microsoft.GatherBlockQuantized",
            [packed, tokens, scales],
            bits=table.bits,
            block_size=BLOCK,
            gather_axis=0,
            quantize_axis=2,
        )
        shape = graph.constant("hidden_shape", np.array([0, 0, self._facts.hidden], np.int64))
        return graph.node("Reshape", [blocks, shape])

    def _layer(
        self, layer: int, states: str, residual: str, positions: _Positions
    ) -> tuple[str, str]:
        """One layer; takes and returns the last part's output and the residual it adds to."""
        name = f"blk.{layer}"
        states, residual = self._add_and_normalise(f"{name}.attn_norm", states, residual)
        states = self._attend(layer, states, positions)
        states, residual = self._add_and_normalise(f"{name}.ffn_norm", states, residual)
        hidden, inner = self._facts.hidden, self._facts.inner
        gate = self._product(states, f"{name}.ffn_gate", inner, hidden)
        up = self._product(states, f"{name}.ffn_up", inner, hidden)
        # QuickGelu with alpha 1 is x * sigmoid(x), SiLU, in one pass.
        gated = self._graph.node("com.microsoft.QuickGelu", [gate], alpha=1.0)
        both = self._graph.node("Mul", [gated, up])
        return self._product(both, f"{name}.ffn_down", hidden, inner), residual

    def _attend(self, layer: int, states: str, positions: _Positions) -> str:
        graph, facts, name = self._graph, self._facts, f"blk.{layer}"
        kv_width = facts.kv_heads * facts.head_size
        weights = self._weights.stacked(
            [f"{name}.attn_{part}" for part in "qkv"],
            [facts.hidden, kv_width, kv_width],
            facts.hidden,
        )
        qkv = self._multiply(states, weights, self._constants(f"{name}.attn_qkv", weights))
        past = [
            graph.input(cache, np.float32, self._cache_shape("past_sequence_length"))
            for cache in _cache_names("past_key_values", layer)
        ]
        attended = graph.node(
            "com.microsoft.GroupQueryAttention",
            [qkv, "", "", *past, positions.seqlens, positions.total, positions.cos, positions.sin],
            [f"{name}.attention", *_cache_names("present", layer)],
            num_heads=facts.heads,
            kv_num_heads=facts.kv_heads,
            scale=facts.head_size**-0.5,
            do_rotary=1,
            rotary_interleaved=1,
        )
        return self._product(attended, f"{name}.attn_output", facts.hidden, facts.hidden)

    def _add_and_normalise(self, name: str, states: str, residual: str) -> tuple[str, str]:
        """The normalised sum, and the sum; before the first layer there is nothing to add."""
        gain = self._graph.constant(
            f"{name}.weight", self._weights.vector(name, self._facts.hidden)
        )
        epsilon = self._facts.epsilon
        if not states:
            operator = "SimplifiedLayerNormalization"
            return self._graph.node(operator, [residual, gain], axis=-1, epsilon=epsilon), residual
        outputs = [f"{name}.states", "", "", f"{name}.residual"]
        self._graph.node(
            "com.microsoft.SkipSimplifiedLayerNormalization",
            [residual, states, gain],
            outputs,
            epsilon=epsilon,
        )
        return outputs[0], outputs[3]

    def _product(self, states: str, name: str, rows: int, columns: int) -> str:
        weights = self._weights.matrix(name, rows, columns)
        return self._multiply(states, weights, self._constants(name, weights))

    def _constants(self, name: str, weights: BlockWeights) -> list[str]:
        arrays = {"packed": weights.packed, "scales": weights.scales, "zeros": weights.zeros}
        return [
            self._graph.constant(f"{name}.{part}", array)
            for part, array in arrays.items()
            if array is not None
        ]

    def _multiply(
        self, states: str, weights: BlockWeights, names: Sequence[str], output: str | None = None
    ) -> str:
        return self._graph.node(
            "com.microsoft.MatMulNBits",
            [states, *names],
            None if output is None else [output],
            K=weights.columns,
            N=weights.rows,
            bits=weights.bits,
            block_size=BLOCK,
            accuracy_level=self._accuracy_level,
        )

    def _cache_shape(self, length: str) -> list[int | str]:
        return ["batch_size", self._facts.kv_heads, length, self._facts.head_size]


def _cache_names(prefix: str, layer: int) -> list[str]:
    return [f"{prefix}.{layer}.{part}" for part in ("key", "value")]
