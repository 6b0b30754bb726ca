"""Reads weights and facts of a BERT encoder from a safetensors folder.

Knows BERT's names for weights and ONNX Runtime's operators for it, nothing of pooling: the graph
ends with the last layer's states. Weights stay float32 and nothing is approximated: Gelu is the
exact one.

What gives the same is written in the way that ONNX Runtime 1.32 computes fastest (Linux x86-64; of
12 layers of 384, 512 tokens at a time, one core, its own profile in milliseconds):

- MultiHeadAttention never writes the scores down where it is given no mask, so padding is told by
  one more column of each head: 1 in the queries, 0 or -10000 in the keys. With its projections it
  took 46 in rows of 32 tokens and 64 in rows of 256, com.microsoft's Attention 51 and 73, plain
  products and Softmax 41 and 72.
- Two sums and LayerNormalization took 7.4 where SkipLayerNormalization took 21.7; a session fuses
  them again unless it is told not to, which `runtime.session` does.
- Softmax forgets what is added to all keys alike, so keys need no bias; and it sums to 1, so that
  the values' bias becomes part of the next one.
- BiasGelu took 12, Add and Gelu 16 (negative).

The graph takes no token types: a single text is all of type 0, so that row is added to the
position table once and for all.
"""
# safetensors tells no types for the arrays it reads; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from engine.errors import ModelBroken
from engine.models import configs
from engine.models.graph import INT32, GraphWriter, element

Floats = NDArray[np.float32]

_COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)

# What the graph is written for; a config that leaves one out means BERT's default, which is this.
_WRITTEN_FOR = {"hidden_act": "gelu", "position_embedding_type": "absolute"}

# Of every name where the encoder was stored as a part of a larger model.
_PREFIX = "bert."

# Added to the scores of padding, which then weighs exactly 0; finite in 16 bits.
_FAR_BELOW = -1e4


@dataclass(frozen=True, slots=True)
class _Shape:
    """What config.json says of the encoder."""

    layers: int
    hidden: int
    inner: int
    heads: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @classmethod
    def read(cls, weights_folder: Path) -> Self:
        config = configs.read(weights_folder, "config.json")
        try:
            shape = cls(
                layers=int(config["num_hidden_layers"]),
                hidden=int(config["hidden_size"]),
                inner=int(config["intermediate_size"]),
                heads=int(config["num_attention_heads"]),
                vocabulary=int(config["vocab_size"]),
                positions=int(config["max_position_embeddings"]),
                types=int(config["type_vocab_size"]),
                epsilon=float(config["layer_norm_eps"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ModelBroken(
                f"config.json of the weights cannot be used ({error!r}); fetch the model again."
            ) from error
        if config.get("model_type") != "bert":
            raise ModelBroken(
                f"The weights are of type {config.get('model_type')!r}; only BERT encoders are "
                "converted. Use a folder that already holds an ONNX file."
            )
        if shape.heads < 1 or shape.hidden % shape.heads:
            raise ModelBroken(
                f"config.json of the weights has {shape.heads} heads for {shape.hidden} values; "
                "fetch the model again."
            )
        for key, expected in _WRITTEN_FOR.items():
            if config.get(key, expected) != expected:
                raise ModelBroken(
                    f"The encoder has {key} {config[key]!r}; only {expected!r} is converted. Use a "
                    "folder that already holds an ONNX file."
                )
        return shape


def convert(weights_folder: Path, folder: Path) -> None:
    """Writes `model.onnx` from a BERT encoder's weights and copies the small files beside it.

    The graph takes int64 `input_ids` and `attention_mask` [batch, sequence] (1 for a token, 0 for
    padding) and gives float32 `last_hidden_state` [batch, sequence, hidden].

    Args:
        weights_folder: Holds `model.safetensors` and `config.json`, Hugging Face style.
        folder: Where to write; made if it is not there, files of the same names are replaced.

    Raises:
        ModelBroken: The folder is no BERT encoder, or a file or weight is missing or misshapen.
    """
    shape = _Shape.read(weights_folder)
    weights = _Weights.read(weights_folder / "model.safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    _write_graph(folder / "model.onnx", shape, weights)
    for name in _COPIED:
        if (weights_folder / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(weights_folder / name, folder / name)


class _Weights:
    """The arrays of a safetensors file, by name."""

    def __init__(self, file_name: str, arrays: Mapping[str, Floats]) -> None:
        self._file_name = file_name
        self._arrays = arrays

    @classmethod
    def read(cls, file: Path) -> Self:
        try:
            with safe_open(file, framework="np") as stored:
                names: list[str] = list(stored.keys())
                arrays = {
                    name.removeprefix(_PREFIX): np.asarray(stored.get_tensor(name), np.float32)
                    for name in names
                }
        except (OSError, SafetensorError) as error:
            raise ModelBroken(
                f"{file.name} cannot be read ({error}); fetch the model again."
            ) from error
        return cls(file.name, arrays)

    def get(self, name: str, *shape: int) -> Floats:
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            found = "none" if array is None else list(array.shape)
            raise ModelBroken(
                f"{self._file_name} should have a weight {name} of shape {list(shape)} but has "
                f"{found}; fetch the model again."
            )
        return array


def _write_graph(onnx_file: Path, shape: _Shape, weights: _Weights) -> None:
    with GraphWriter(onnx_file) as graph:
        tokens = graph.input("input_ids", np.int64, ["batch", "sequence"])
        mask = graph.input("attention_mask", np.int64, ["batch", "sequence"])
        encoder = _Encoder(graph, shape, weights)
        states = encoder.embed(graph.node("Cast", [tokens], to=INT32))
        padding = encoder.padding(graph.node("Cast", [mask], to=element(np.float32)))
        for layer in range(shape.layers):
            last = layer == shape.layers - 1
            output = "last_hidden_state" if last else f"layer.{layer}"
            states = encoder.layer(f"encoder.layer.{layer}", states, padding, output)
        graph.output(states, np.float32, ["batch", "sequence", shape.hidden])


class _Encoder:
    """Adds BERT's parts to a graph, each weight under the name it has in the safetensors file."""

    def __init__(self, graph: GraphWriter, shape: _Shape, weights: _Weights) -> None:
        self._graph = graph
        self._shape = shape
        self._weights = weights

    def embed(self, tokens: str) -> str:
        """Token ids, int32 [batch, sequence], to normalised embeddings."""
        shape, name = self._shape, "embeddings"
        words = self._weights.get(f"{name}.word_embeddings.weight", shape.vocabulary, shape.hidden)
        positions = self._weights.get(
            f"{name}.position_embeddings.weight", shape.positions, shape.hidden
        )
        types = self._weights.get(f"{name}.token_type_embeddings.weight", shape.types, shape.hidden)
        return self._graph.node(
            "com.microsoft.EmbedLayerNormalization",
            [
                tokens,
                "",
                self._graph.constant(f"{name}.words", words),
                self._graph.constant(f"{name}.positions_and_type", positions + types[0]),
                "",
                self._vector(f"{name}.LayerNorm.weight"),
                self._vector(f"{name}.LayerNorm.bias"),
            ],
            ["embeddings", ""],
            epsilon=shape.epsilon,
        )

    def padding(self, mask: str) -> str:
        """What every layer adds to its keys: 0 and, in each head's last column, padding."""
        heads, size = self._shape.heads, self._shape.head_size
        column = np.zeros((heads, size + 1), np.float32)
        column[:, -1] = _FAR_BELOW
        padded = self._graph.node(
            "Sub", [self._graph.constant("one", np.array(1, np.float32)), mask]
        )
        column_shape = self._graph.constant("column_shape", np.array([0, 0, 1], np.int64))
        padded = self._graph.node("Reshape", [padded, column_shape])
        return self._graph.node(
            "Mul", [padded, self._graph.constant("padding", column.reshape(1, 1, -1))]
        )

    def layer(self, name: str, states: str, padding: str, output: str) -> str:
        """One encoder layer: attention, then the feed-forward part."""
        hidden, inner = self._shape.hidden, self._shape.inner
        attended = self._attention(f"{name}.attention", states, padding)
        dense = f"{name}.intermediate.dense"
        wide = self._graph.node(
            "com.microsoft.BiasGelu",
            [
                self._product(attended, f"{dense}.weight", self._matrix(dense, inner, hidden)),
                self._graph.constant(f"{dense}.bias", self._weights.get(f"{dense}.bias", inner)),
            ],
        )
        last = f"{name}.output"
        narrow = self._product(
            wide,
            f"{last}.dense.weight",
            self._matrix(f"{last}.dense", hidden, inner),
        )
        return self._normalised(
            last, self._sum(narrow, self._vector(f"{last}.dense.bias")), attended, output
        )

    def _attention(self, name: str, states: str, padding: str) -> str:
        """Attention and its projections; `padding` keeps every head from what is not text."""
        hidden, own = self._shape.hidden, f"{name}.self"
        query, key, value = (
            self._matrix(f"{own}.{part}", hidden, hidden) for part in ("query", "key", "value")
        )
        query_bias, value_bias = (
            self._weights.get(f"{own}.{part}.bias", hidden) for part in ("query", "value")
        )
        attended = self._graph.node(
            "com.microsoft.MultiHeadAttention",
            [
                self._sum(
                    self._product(states, f"{own}.query.weight", self._widened(query, 0)),
                    self._graph.constant(f"{own}.query.bias", self._widened(query_bias, 1)),
                ),
                self._sum(
                    self._product(states, f"{own}.key.weight", self._widened(key, 0)), padding
                ),
                self._product(states, f"{own}.value.weight", value),
            ],
            num_heads=self._shape.heads,
            scale=self._shape.head_size**-0.5,
        )
        dense = f"{name}.output.dense"
        matrix = self._matrix(dense, hidden, hidden)
        bias = self._weights.get(f"{dense}.bias", hidden)
        # In 64 bits: products in 32 differ in their last bits from machine to machine.
        bias = (bias + value_bias.astype(np.float64) @ matrix).astype(np.float32)
        product = self._product(attended, f"{dense}.weight", matrix)
        return self._normalised(
            f"{name}.output",
            self._sum(product, self._graph.constant(f"{dense}.bias", bias)),
            states,
            f"{name}.states",
        )

    def _widened(self, array: Floats, last: float) -> Floats:
        """Each head's columns and one more, which is `last` throughout."""
        heads = array.reshape(*array.shape[:-1], self._shape.heads, self._shape.head_size)
        column = np.full((*heads.shape[:-1], 1), last, np.float32)
        return np.concatenate([heads, column], axis=-1).reshape(*array.shape[:-1], -1)

    def _normalised(self, name: str, states: str, residual: str, output: str) -> str:
        return self._graph.node(
            "LayerNormalization",
            [
                self._sum(states, residual),
                self._vector(f"{name}.LayerNorm.weight"),
                self._vector(f"{name}.LayerNorm.bias"),
            ],
            [output],
            axis=-1,
            epsilon=self._shape.epsilon,
        )

    def _sum(self, one: str, other: str) -> str:
        return self._graph.node("Add", [one, other])

    def _product(self, states: str, name: str, matrix: Floats) -> str:
        return self._graph.node("MatMul", [states, self._graph.constant(name, matrix)])

    def _matrix(self, name: str, rows: int, columns: int) -> Floats:
        """A weight as it is multiplied from the right: transposed."""
        return self._weights.get(f"{name}.weight", rows, columns).T

    def _vector(self, name: str) -> str:
        return self._graph.constant(name, self._weights.get(name, self._shape.hidden))
