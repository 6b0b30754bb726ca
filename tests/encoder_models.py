"""Writers of BERT encoders with random weights, in the forms that there are.

`write_fused` goes through our own converter. `write_optimised` has the fused operators of ONNX
Runtime's optimiser of transformers. `write_published` lays the same weights out as exporters do
(PyTorch's tracing exporter, as optimum and the hub's onnx-community repositories use it): free
axes, shapes that are computed, token types, sliced positions, a mask of -3.4e38, a Gelu of Erf, and
a layer normalisation of its parts where the opset has none.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from engine.models.converters import from_safetensors
from engine.models.graph import INT32, GraphWriter

LOWEST = -3.4028234663852886e38
"""The most negative float32: what exporters add to the scores of padding."""


@dataclass(frozen=True)
class EncoderForm:
    """Sizes of an encoder, and the seed of its weights."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    inner: int = 96
    vocabulary: int = 300
    positions: int = 64
    seed: int = 0


FULL_DEPTH = EncoderForm(layers=12, hidden=384, heads=12, inner=1536, positions=512)
"""The shape of BGE-small, but for a vocabulary that compiles faster."""


def random_weights(form: EncoderForm) -> dict[str, NDArray[np.float32]]:
    """Weights under BERT's names; positions and types count as much as words."""
    rng = np.random.default_rng(form.seed)
    hidden, inner = form.hidden, form.inner

    def normal(*shape: int, scale: float = 0.0) -> NDArray[np.float32]:
        return rng.normal(0, scale or shape[-1] ** -0.5, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": normal(form.vocabulary, hidden, scale=0.5),
        "embeddings.position_embeddings.weight": normal(form.positions, hidden, scale=1),
        "embeddings.token_type_embeddings.weight": normal(2, hidden, scale=0.5),
    }
    norms = ["embeddings"]
    for layer in range(form.layers):
        name = f"encoder.layer.{layer}"
        shapes = {
            **{f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")},
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }
        for part, shape in shapes.items():
            weights[f"{name}.{part}.weight"] = normal(*shape)
            weights[f"{name}.{part}.bias"] = normal(shape[0], scale=0.1)
        norms += [f"{name}.attention.output", f"{name}.output"]
    for name in norms:
        weights[f"{name}.LayerNorm.weight"] = 1 + normal(hidden, scale=0.1)
        weights[f"{name}.LayerNorm.bias"] = normal(hidden, scale=0.1)
    return weights


def write_fused(folder: Path, form: EncoderForm | None = None) -> Path:
    """Writes an encoder as our converter makes it; returns its `.onnx` file."""
    form = form or EncoderForm()
    source = folder / "source"
    source.mkdir(parents=True)
    save_file(random_weights(form), source / "model.safetensors")
    config = {
        "model_type": "bert",
        "num_hidden_layers": form.layers,
        "hidden_size": form.hidden,
        "intermediate_size": form.inner,
        "num_attention_heads": form.heads,
        "vocab_size": form.vocabulary,
        "max_position_embeddings": form.positions,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    from_safetensors.convert(source, folder)
    return folder / "model.onnx"


def write_optimised(folder: Path, form: EncoderForm | None = None) -> Path:
    """Writes an encoder with ONNX Runtime's fused operators; returns its `.onnx` file."""
    form = form or EncoderForm()
    folder.mkdir(parents=True, exist_ok=True)
    with GraphWriter(folder / "model.onnx") as graph:
        _Optimised(graph, form).write()
    return folder / "model.onnx"


class _Optimised:
    """Embeddings with token types and a mask index, Attention, SkipLayerNormalization, BiasGelu."""

    def __init__(self, graph: GraphWriter, form: EncoderForm) -> None:
        self._graph = graph
        self._form = form
        self._weights = random_weights(form)

    def write(self) -> None:
        free = ["batch", "sequence"]
        names = ("input_ids", "token_type_ids", "attention_mask")
        inputs = [self._graph.input(name, np.int64, free) for name in names]
        ids, types, mask = (self._graph.node("Cast", [name], to=INT32) for name in inputs)
        tables = [
            self._vector(f"embeddings.{kind}_embeddings.weight")
            for kind in ("word", "position", "token_type")
        ]
        norm = [self._vector(f"embeddings.LayerNorm.{part}") for part in ("weight", "bias")]
        states = self._graph.node(
            "com.microsoft.EmbedLayerNormalization",
            [ids, types, *tables, *norm, mask],
            ["embeddings", "mask_index"],
            epsilon=1e-12,
        )
        for layer in range(self._form.layers):
            states = self._layer(f"encoder.layer.{layer}", states)
        self._graph.node("Identity", [states], ["last_hidden_state"])
        self._graph.output("last_hidden_state", np.float32, [*free, self._form.hidden])

    def _layer(self, name: str, states: str) -> str:
        own = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"] for part in own]).T
        bias = np.concatenate([self._weights[f"{part}.bias"] for part in own])
        attended = self._graph.node(
            "com.microsoft.Attention",
            [
                states,
                self._graph.constant(f"{name}.qkv.weight", weight),
                self._graph.constant(f"{name}.qkv.bias", bias),
                "mask_index",
            ],
            num_heads=self._form.heads,
        )
        attended = self._added(f"{name}.attention.output", attended, states)
        dense = f"{name}.intermediate.dense"
        wide = [self._product(dense, attended), self._vector(f"{dense}.bias")]
        return self._added(
            f"{name}.output", self._graph.node("com.microsoft.BiasGelu", wide), attended
        )

    def _added(self, name: str, states: str, skipped: str) -> str:
        norm = [self._vector(f"{name}.LayerNorm.{part}") for part in ("weight", "bias")]
        return self._graph.node(
            "com.microsoft.SkipLayerNormalization",
            [
                self._product(f"{name}.dense", states),
                skipped,
                *norm,
                self._vector(f"{name}.dense.bias"),
            ],
            epsilon=1e-12,
        )

    def _product(self, name: str, states: str) -> str:
        weight = self._graph.constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self._graph.node("MatMul", [states, weight])

    def _vector(self, name: str) -> str:
        return self._graph.constant(name, self._weights[name])


def write_published(folder: Path, form: EncoderForm | None = None, *, opset: int = 11) -> Path:
    """Writes an encoder as it is published, for opset 11 to 17; returns its `.onnx` file."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_Exported(form or EncoderForm(), opset).model(), folder / "model.onnx")
    return folder / "model.onnx"


class _Exported:
    """Adds nodes in the exporters' way, shapes computed from their inputs included."""

    def __init__(self, form: EncoderForm, opset: int) -> None:
        self._form = form
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self._weights = random_weights(form)

    def model(self) -> onnx.ModelProto:
        states = self._embeddings()
        mask = self._op("Unsqueeze", "attention_mask", axes=[1])
        mask = self._op("Cast", self._op("Unsqueeze", mask, axes=[2]), to=TensorProto.FLOAT)
        mask = self._op("Mul", self._op("Sub", self._float(1), mask), self._float(LOWEST))
        for layer in range(self._form.layers):
            states = self._layer(f"encoder.layer.{layer}", states, mask)
        self._nodes.append(helper.make_node("Identity", [states], ["last_hidden_state"]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", "sequence"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        axes = ["batch_size", "sequence", self._form.hidden]
        output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, axes)
        graph = helper.make_graph(self._nodes, "main_graph", inputs, [output], self._tensors)
        opsets = [helper.make_opsetid("", self._opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=7)
        onnx.checker.check_model(model)
        return model

    def _embeddings(self) -> str:
        name = "embeddings"
        length = self._op("Unsqueeze", self._dimension("input_ids", 1), axes=[0])
        ids = self._constant(np.arange(self._form.positions)[None])
        zero, one = self._constant([0]), self._constant([1])
        ids = self._op("Slice", ids, zero, length, one, one)
        words = self._op("Gather", self._weight(f"{name}.word_embeddings.weight"), "input_ids")
        table = self._weight(f"{name}.token_type_embeddings.weight")
        states = self._op("Add", words, self._op("Gather", table, "token_type_ids"))
        positions = self._op("Gather", self._weight(f"{name}.position_embeddings.weight"), ids)
        return self._normalised(name, self._op("Add", states, positions))

    def _layer(self, name: str, states: str, mask: str) -> str:
        query, key, value = (
            self._by_heads(self._linear(f"{name}.attention.self.{part}", states), order)
            for part, order in (("query", 1), ("key", 3), ("value", 1))
        )
        root = self._float((self._form.hidden // self._form.heads) ** 0.5)
        scores = self._op("Div", self._op("MatMul", query, key), root)
        weights = self._op("Softmax", self._op("Add", scores, mask), axis=-1 % 4)
        joined = self._op("Transpose", self._op("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self._op("Reshape", joined, self._shape(joined, self._form.hidden))
        attended = self._linear(f"{name}.attention.output.dense", joined)
        attended = self._normalised(f"{name}.attention.output", self._op("Add", attended, states))
        wide = self._linear(f"{name}.intermediate.dense", attended)
        erf = self._op("Erf", self._op("Div", wide, self._float(2**0.5)))
        gelu = self._op("Mul", wide, self._op("Add", erf, self._float(1)))
        gelu = self._op("Mul", gelu, self._float(0.5))
        narrow = self._linear(f"{name}.output.dense", gelu)
        return self._normalised(f"{name}.output", self._op("Add", narrow, attended))

    def _by_heads(self, states: str, order: int) -> str:
        shape = self._shape(states, self._form.heads, self._form.hidden // self._form.heads)
        perm = [0, 2, 3, 1] if order == 3 else [0, 2, 1, 3]
        return self._op("Transpose", self._op("Reshape", states, shape), perm=perm)

    def _shape(self, states: str, *last: int) -> str:
        """[batch, sequence, *last], as tracing computes it."""
        free = [self._op("Unsqueeze", self._dimension(states, i), axes=[0]) for i in (0, 1)]
        return self._op("Concat", *free, *(self._constant([size]) for size in last), axis=0)

    def _dimension(self, states: str, axis: int) -> str:
        return self._op("Gather", self._op("Shape", states), self._constant(axis), axis=0)

    def _linear(self, name: str, states: str) -> str:
        weight = self._constant(self._weights[f"{name}.weight"].T)
        return self._op("Add", self._weight(f"{name}.bias"), self._op("MatMul", states, weight))

    def _normalised(self, name: str, states: str) -> str:
        scale = self._weight(f"{name}.LayerNorm.weight")
        bias = self._weight(f"{name}.LayerNorm.bias")
        if self._opset >= 17:
            return self._op("LayerNormalization", states, scale, bias, axis=-1, epsilon=1e-12)
        mean = self._op("ReduceMean", states, axes=[-1])
        centred = self._op("Sub", states, mean)
        squares = self._op("Pow", centred, self._float(2))
        variance = self._op("ReduceMean", squares, axes=[-1])
        deviation = self._op("Sqrt", self._op("Add", variance, self._float(1e-12)))
        unit = self._op("Div", centred, deviation)
        return self._op("Add", self._op("Mul", unit, scale), bias)

    def _op(self, operator: str, *inputs: str, **attributes: object) -> str:
        given = list(inputs)
        if operator == "Unsqueeze" and self._opset >= 13:
            given.append(self._constant(attributes.pop("axes")))
        output = f"/{operator}_{len(self._nodes)}_output_0"
        self._nodes.append(helper.make_node(operator, given, [output], **attributes))
        return output

    def _float(self, number: float) -> str:
        return self._constant(np.array(number, np.float32))

    def _weight(self, name: str) -> str:
        return self._constant(self._weights[name], name)

    def _constant(self, values: object, name: str = "") -> str:
        name = name or f"onnx::constant_{len(self._tensors)}"
        if all(tensor.name != name for tensor in self._tensors):
            array = np.ascontiguousarray(values)
            array = array if np.ndim(values) else array.reshape(())
            self._tensors.append(numpy_helper.from_array(array, name))
        return name
