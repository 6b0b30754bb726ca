"""Reads weights and facts of a BERT encoder from a safetensors folder.

Knows BERT's names for weights and ONNX Runtime's operators for it, nothing of pooling: the graph
ends with the last layer's states. Weights stay float32 and nothing is approximated: Gelu is the
exact one. MultiHeadAttention and a separate Gelu node were tried and measured no faster.

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
from engine.models.graph import INT32, GraphWriter

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
                arrays = {name: np.asarray(stored.get_tensor(name), np.float32) for name in names}
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
        mask = graph.node("Cast", [mask], to=INT32)
        for layer in range(shape.layers):
            last = layer == shape.layers - 1
            output = "last_hidden_state" if last else f"layer.{layer}"
            states = encoder.layer(f"encoder.layer.{layer}", states, mask, output)
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

    def layer(self, name: str, states: str, mask: str, output: str) -> str:
        """One encoder layer: attention, then the feed-forward part."""
        hidden, inner = self._shape.hidden, self._shape.inner
        attended = self._attention(f"{name}.attention", states, mask)
        wide = self._graph.node(
            "com.microsoft.BiasGelu",
            [
                self._product(attended, f"{name}.intermediate.dense", inner, hidden),
                self._vector(f"{name}.intermediate.dense.bias", inner),
            ],
        )
        narrow = self._product(wide, f"{name}.output.dense", hidden, inner)
        return self._add_and_normalise(f"{name}.output", narrow, attended, output)

    def _attention(self, name: str, states: str, mask: str) -> str:
        """Attention with its three projections as one product; padding weighs exp(-10000), 0."""
        hidden = self._shape.hidden
        parts = [f"{name}.self.{part}" for part in ("query", "key", "value")]
        weights = [self._weights.get(f"{part}.weight", hidden, hidden) for part in parts]
        biases = [self._weights.get(f"{part}.bias", hidden) for part in parts]
        attended = self._graph.node(
            "com.microsoft.Attention",
            [
                states,
                self._graph.constant(f"{name}.self.weight", np.concatenate(weights).T),
                self._graph.constant(f"{name}.self.bias", np.concatenate(biases)),
                mask,
            ],
            num_heads=self._shape.heads,
        )
        dense = self._product(attended, f"{name}.output.dense", hidden, hidden)
        return self._add_and_normalise(f"{name}.output", dense, states, f"{name}.states")

    def _add_and_normalise(self, name: str, product: str, residual: str, output: str) -> str:
        return self._graph.node(
            "com.microsoft.SkipLayerNormalization",
            [
                product,
                residual,
                self._vector(f"{name}.LayerNorm.weight"),
                self._vector(f"{name}.LayerNorm.bias"),
                self._vector(f"{name}.dense.bias"),
            ],
            [output],
            epsilon=self._shape.epsilon,
        )

    def _product(self, states: str, name: str, rows: int, columns: int) -> str:
        weight = self._weights.get(f"{name}.weight", rows, columns).T
        return self._graph.node("MatMul", [states, self._graph.constant(f"{name}.weight", weight)])

    def _vector(self, name: str, size: int | None = None) -> str:
        return self._graph.constant(name, self._weights.get(name, size or self._shape.hidden))
