"""The graph of a random Phi-3, in the layout its authors publish and in others.

At full size the graph of the default layout is, byte for byte, the published file of
`microsoft/Phi-3-mini-4k-instruct-onnx` for CPU in 4 bit with accuracy level 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from phi3_weights import (
    BLOCK,
    EPSILON,
    THETA,
    Shape,
    angles,
    bias,
    embedding,
    norm,
    projection,
    projection_shape,
    quantised,
)

Attention = Literal["gqa", "gqa-positions", "mha", "optimum"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the model is written down; the default is as published for CPU in 4 bit."""

    attention: Attention = "gqa"
    """With shared buffer and rotary inside, the same with position_ids and rotary outside, as
    files from before 2024-05-09, or in plain operators as optimum exports."""
    bits: Literal[4, 32] = 4
    """4: MatMulNBits; 32: MatMul with the same weights written out."""
    accuracy_level: int | None = 4
    float_type: type[np.generic] = np.float32
    """Of the cache, the activations and the logits."""
    graph_window: int | None = None
    """The window that the graph itself applies; the published one has none."""
    packs_qkv: bool = True
    """Whether attention takes queries, keys and values from one projection, where it can; graphs of
    Llama and Qwen have three."""
    filename: str = "phi3-mini-4k-instruct-cpu-int4-rtn-block-32-acc-level-4.onnx"


PUBLISHED = Layout()
OPTIMUM = Layout(attention="optimum", bits=32, filename="model.onnx")


def data_file(layout: Layout) -> str:
    """Name of the file that holds the weights."""
    return layout.filename + ("_data" if layout.attention == "optimum" else ".data")


@dataclass(frozen=True)
class Weight:
    """An initialiser that is made when it is written."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]
    make: Callable[[], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def graph_of(shape: Shape, layout: Layout) -> tuple[onnx.ModelProto, list[Weight]]:
    """The model without its weights, and these in the order in which the data file holds them."""
    graph = _Graph(shape, layout)
    return graph.model(), graph.ordered_weights


@dataclass
class _Graph:
    """Collects nodes, values and weights of one graph in the order of the published files."""

    shape: Shape
    layout: Layout
    weights: list[Weight] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)

    def model(self) -> onnx.ModelProto:
        last = self._layers()
        self.matmul("/lm_head", "head", last, output="logits")
        graph = helper.make_graph(
            self.nodes, "main_graph", self._inputs(), self._outputs(), self._initialisers()
        )
        if self.layout.attention == "gqa":
            graph.value_info.extend(_value_infos(self))
        opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
        opsets[0].ClearField("domain")
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=7,
            producer_name="onnxruntime-genai",
            producer_version="0.0.0",
        )

    @property
    def ordered_weights(self) -> list[Weight]:
        """Those that were quantised last come last."""
        return sorted(self.weights, key=lambda weight: "weight_" in weight.name)

    def _layers(self) -> str:
        """The blocks; returns what the head reads."""
        attend = _ATTENTIONS[self.layout.attention](self)
        embedded = self._embedding()
        residual, added = embedded, ""
        for layer in range(self.shape.layers):
            place = f"/model/layers.{layer}"
            normed, residual = self._norm(f"{layer}.input", residual, added)
            added = self.matmul(f"{place}/attn/o_proj", f"{layer}.o", attend(layer, normed))
            normed, residual = self._norm(f"{layer}.post_attention", residual, added)
            gate = self.matmul(f"{place}/mlp/gate_proj", f"{layer}.gate", normed)
            up = self.matmul(f"{place}/mlp/up_proj", f"{layer}.up", normed)
            sigmoid = self.node("Sigmoid", f"{place}/mlp/act_fn/Sigmoid", [gate])
            swish = self.node("Mul", f"{place}/mlp/act_fn/Mul", [gate, sigmoid])
            product = self.node("Mul", f"{place}/mlp/Mul", [swish, up])
            added = self.matmul(f"{place}/mlp/down_proj", f"{layer}.down", product)
        return self._norm("final", residual, added)[0]

    def _embedding(self) -> str:
        weight = self.weight(
            "model.embed_tokens.weight",
            (self.shape.vocabulary, self.shape.hidden),
            lambda: embedding(self.shape),
        )
        return self.node("Gather", "/model/embed_tokens/Gather", [weight, "input_ids"])

    def _norm(self, name: str, residual: str, added: str) -> tuple[str, str]:
        """What is normed, and the new residual."""
        layer, _, kind = name.rpartition(".")
        place = f"/model/layers.{layer or self.shape.layers}/{kind}{'' if layer else '_norm'}"
        place += "_layernorm"
        weight = self.weight(
            place[1:].replace("/", ".") + ".weight",
            (self.shape.hidden,),
            lambda: norm(self.shape, name),
        )
        if self.layout.attention == "optimum":
            return self._plain_norm(place, residual, added, weight)
        output, total = f"{place}/output_0", f"{place}/output_3"
        if not added:
            self.node(
                "SimplifiedLayerNormalization",
                f"{place}/LayerNorm",
                [residual, weight],
                [output],
                epsilon=EPSILON,
                axis=-1,
                stash_type=1,
            )
            return output, residual
        self.node(
            "com.microsoft.SkipSimplifiedLayerNormalization",
            f"{place}/SkipLayerNorm",
            [residual, added, weight],
            [output, "", "", total] if layer else [output],
            epsilon=EPSILON,
        )
        return output, total

    def _plain_norm(self, place: str, residual: str, added: str, weight: str) -> tuple[str, str]:
        if added:
            residual = self.node("Add", f"{place}/residual", [residual, added])
        two, epsilon = self.scalar(f"{place}/two", 2), self.scalar(f"{place}/epsilon", EPSILON)
        squares = self.node("Pow", f"{place}/Pow", [residual, two])
        mean = self.node("ReduceMean", f"{place}/ReduceMean", [squares], axes=[-1])
        root = self.node(
            "Sqrt", f"{place}/Sqrt", [self.node("Add", f"{place}/Add", [mean, epsilon])]
        )
        normed = self.node("Div", f"{place}/Div", [residual, root])
        return self.node("Mul", f"{place}/Mul", [weight, normed]), residual

    def matmul(
        self, place: str, name: str, left: str, *, rows: slice = slice(None), output: str = ""
    ) -> str:
        """Multiplies by a projection, or by some of its rows."""
        outputs, inputs = projection_shape(self.shape, name)
        outputs = len(range(outputs)[rows])
        output, dotted = output or f"{place}/MatMul/output_0", place[1:].replace("/", ".")
        if self.layout.bits == 32:
            weight = self.weight(
                f"{dotted}.MatMul.weight",
                (inputs, outputs),
                lambda: projection(self.shape, name, rows).T,
            )
            return self.node("MatMul", f"{place}/MatMul", [left, weight], [output])
        blocks, level = inputs // BLOCK, self.layout.accuracy_level
        packed = self.weight(
            f"{dotted}.MatMul.weight_Q4",
            (outputs, blocks, BLOCK // 2),
            lambda: quantised(self.shape, name, rows)[0],
            np.uint8,
        )
        scales = self.weight(
            f"{dotted}.MatMul.weight_scales",
            (outputs * blocks,),
            lambda: quantised(self.shape, name, rows)[1],
        )
        return self.node(
            "com.microsoft.MatMulNBits",
            f"{place}/MatMul_Q4",
            [left, packed, scales],
            [output],
            K=inputs,
            N=outputs,
            **({} if level is None else {"accuracy_level": level}),
            bits=4,
            block_size=BLOCK,
        )

    def qkv(self, layer: int, normed: str) -> list[str]:
        """Queries, keys and values; one packed name and two empty ones where they are packed."""
        shape, place = self.shape, f"/model/layers.{layer}/attn"
        if self.layout.packs_qkv and self.layout.attention == "gqa":
            packed = self.matmul(f"{place}/qkv_proj", f"{layer}.qkv", normed)
            return [self._biased(f"{place}/qkv_proj", packed, layer, slice(None)), "", ""]
        ends = [0, shape.heads, shape.heads + shape.kv_heads, shape.heads + 2 * shape.kv_heads]
        parts: list[str] = []
        for letter, start, end in zip("qkv", ends, ends[1:], strict=False):
            rows = slice(start * shape.head_size, end * shape.head_size)
            name = f"{place}/{letter}_proj"
            part = self.matmul(name, f"{layer}.qkv", normed, rows=rows)
            parts.append(self._biased(name, part, layer, rows))
        return parts

    def _biased(self, place: str, value: str, layer: int, rows: slice) -> str:
        if not self.shape.qkv_bias:
            return value
        weight = self.weight(
            place[1:].replace("/", ".") + ".Add.bias",
            (len(range(self.shape.qkv)[rows]),),
            lambda: bias(self.shape, layer)[rows],
        )
        return self.node("Add", f"{place}/Add", [value, weight])

    def caches(self) -> list[str]:
        """cos_cache and sin_cache [context, head_size / 2]."""
        size = (self.shape.context, self.shape.head_size // 2)
        return [
            self.weight("cos_cache", size, lambda: np.cos(angles(self.shape))),
            self.weight("sin_cache", size, lambda: np.sin(angles(self.shape))),
        ]

    # Parts

    def node(
        self,
        operator: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        **attributes: Any,
    ) -> str:
        """Adds a node and returns its first output."""
        domain, _, op_type = operator.rpartition(".")
        outputs = outputs or [f"{name}/output_0"]
        node = helper.make_node(op_type, inputs, outputs, name, domain=domain or None)
        node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        self.nodes.append(node)
        return outputs[0]

    def weight(
        self,
        name: str,
        shape: tuple[int, ...],
        make: Callable[[], NDArray[Any]],
        dtype: type[np.generic] | None = None,
    ) -> str:
        """Adds a weight, once; floats are of the layout's type."""
        dtype = dtype or self.layout.float_type
        if all(weight.name != name for weight in self.weights):
            self.weights.append(Weight(name, dtype, shape, lambda: make().astype(dtype)))
        return name

    def integers(self, values: int | list[int]) -> str:
        """An int64 constant in a node, as the published files have them."""
        kind = "0D" if isinstance(values, int) else "1D"
        number = str(values).strip("[]")
        output = f"/model/constants/TensorProto.INT64/{kind}/{number}"
        return self.constant(output, np.array(values, np.int64))

    def scalar(self, name: str, value: float) -> str:
        """A constant number of the activations' type."""
        return self.constant(name, np.array(value, self.layout.float_type))

    def constant(self, output: str, value: NDArray[Any]) -> str:
        """A constant in a node, once."""
        if output not in self.constants:
            self.constants.add(output)
            tensor = numpy_helper.from_array(value, output.replace("constants", "numpy_helper"))
            name = output.replace("constants", "constant_nodes")
            self.node("Constant", name, [], [output], value=tensor)
        return output

    def _initialisers(self) -> list[onnx.TensorProto]:
        tensors: list[onnx.TensorProto] = []
        offset, location = 0, data_file(self.layout)
        for weight in self.ordered_weights:
            tensor = TensorProto(
                name=weight.name,
                dims=weight.shape,
                data_type=helper.np_dtype_to_tensor_dtype(np.dtype(weight.dtype)),
                data_location=TensorProto.EXTERNAL,
            )
            for key, value in (
                ("location", location),
                ("offset", str(offset)),
                ("length", str(weight.nbytes)),
            ):
                tensor.external_data.add(key=key, value=value)
            tensors.append(tensor)
            offset += weight.nbytes
        return tensors

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        ids = {
            "input_ids": ["batch_size", "sequence_length"],
            "attention_mask": ["batch_size", "total_sequence_length"],
        }
        if self.layout.attention != "gqa":
            ids["position_ids"] = ["batch_size", "sequence_length"]
        plain = [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in ids.items()]
        return plain + self._kv("past_key_values", "past_sequence_length")

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        shape = ["batch_size", "sequence_length", self.shape.vocabulary]
        logits = helper.make_tensor_value_info("logits", self.float, shape)
        return [logits, *self._kv("present", "total_sequence_length")]

    def _kv(self, prefix: str, length: str) -> list[onnx.ValueInfoProto]:
        shape = ["batch_size", self.shape.kv_heads, length, self.shape.head_size]
        return [
            helper.make_tensor_value_info(f"{prefix}.{layer}.{kind}", self.float, shape)
            for layer in range(self.shape.layers)
            for kind in ("key", "value")
        ]

    @property
    def float(self) -> int:
        """The number by which ONNX knows the layout's type."""
        return helper.np_dtype_to_tensor_dtype(np.dtype(self.layout.float_type))


def _value_infos(graph: _Graph) -> list[onnx.ValueInfoProto]:
    """Types and shapes of what the nodes of the published layout give."""
    shape, infos = graph.shape, []
    integers = {
        "Constant": (TensorProto.INT64, []),
        "ReduceSum": (TensorProto.INT64, ["batch_size", 1]),
        "Sub": (TensorProto.INT64, ["batch_size", 1]),
        "Sub/Cast": (TensorProto.INT32, ["batch_size", 1]),
        "Shape": (TensorProto.INT64, [2]),
        "Gather": (TensorProto.INT64, []),
        "Gather/Cast": (TensorProto.INT32, None),
    }
    widths = {
        "Sigmoid": shape.ffn,
        "Mul": shape.ffn,
        "GroupQueryAttention": shape.heads * shape.head_size,
    }
    for node in graph.nodes:
        in_mask = "attn_mask" in node.name or node.op_type == "Constant"
        if in_mask:
            key = node.name.partition("attn_mask_subgraph/")[2] or node.op_type
            infos.append(helper.make_tensor_value_info(node.output[0], *integers[key]))
            continue
        width = widths.get(node.op_type, shape.hidden)
        if "MatMul" in node.op_type or node.op_type == "Add":
            width = _width_of(graph, node)
        size = ["batch_size", "sequence_length", width]
        infos += [
            helper.make_tensor_value_info(output, graph.float, size)
            for output in node.output
            if output and not output.startswith("present")
        ]
    return infos


def _width_of(graph: _Graph, node: onnx.NodeProto) -> int:
    """Columns that a multiplication gives, or a bias has."""
    (weight,) = (weight for weight in graph.weights if weight.name == node.input[1])
    return weight.shape[0] if "_Q4" in weight.name else weight.shape[-1]


# The attentions: each prepares what all layers share and returns what adds one layer's


def _gqa(graph: _Graph) -> Callable[[int, str], str]:
    place = "/model/attn_mask_reformat/attn_mask_subgraph"
    one, first = graph.integers([1]), graph.integers
    counted = graph.node("ReduceSum", f"{place}/ReduceSum", ["attention_mask", one])
    last = graph.node("Sub", f"{place}/Sub", [counted, one])
    lengths = graph.node("Cast", f"{place}/Sub/Cast", [last], to=TensorProto.INT32)
    size = graph.node("Shape", f"{place}/Shape", ["attention_mask"])
    width = graph.node("Gather", f"{place}/Gather", [size, first(1)], axis=0)
    total = graph.node("Cast", f"{place}/Gather/Cast", [width], to=TensorProto.INT32)
    rotates = graph.layout.attention == "gqa"

    def attend(layer: int, normed: str) -> str:
        queries, keys, values = graph.qkv(layer, normed)
        caches = graph.caches()
        if not rotates:
            queries, keys = _rotated(graph, layer, [queries, keys], caches)
        window = graph.layout.graph_window
        return graph.node(
            "com.microsoft.GroupQueryAttention",
            name := f"/model/layers.{layer}/attn/GroupQueryAttention",
            [queries, keys, values, *_past(layer), lengths, total, *(caches if rotates else [])],
            [f"{name}/output_0", *_present(layer)],
            num_heads=graph.shape.heads,
            kv_num_heads=graph.shape.kv_heads,
            scale=graph.shape.head_size**-0.5,
            do_rotary=int(rotates),
            rotary_interleaved=0,
            **({} if window is None else {"local_window_size": window}),
        )

    return attend


def _mha(graph: _Graph) -> Callable[[int, str], str]:
    if graph.shape.heads != graph.shape.kv_heads:
        raise ValueError("MultiHeadAttention has as many keys as queries")
    bias = _mask_bias(graph)

    def attend(layer: int, normed: str) -> str:
        queries, keys, values = graph.qkv(layer, normed)
        queries, keys = _rotated(graph, layer, [queries, keys], graph.caches())
        return graph.node(
            "com.microsoft.MultiHeadAttention",
            name := f"/model/layers.{layer}/attn/MultiHeadAttention",
            [queries, keys, values, "", "", bias, *_past(layer)],
            [f"{name}/output_0", *_present(layer)],
            num_heads=graph.shape.heads,
            scale=graph.shape.head_size**-0.5,
        )

    return attend


def _optimum(graph: _Graph) -> Callable[[int, str], str]:
    shape, kind = graph.shape, graph.float
    bias = _mask_bias(graph)
    place = "/model/rotary_emb"
    turns = THETA ** (-np.arange(0, shape.head_size, 2) / shape.head_size)
    frequencies = graph.constant(f"{place}/inv_freq", turns.astype(np.float32))
    positions = graph.node(
        "Unsqueeze", f"{place}/Unsqueeze", ["position_ids", graph.integers([1, 3])]
    )
    positions = graph.node("Cast", f"{place}/Cast", [positions], to=TensorProto.FLOAT)
    half = graph.node("Mul", f"{place}/Mul", [positions, frequencies])
    whole = graph.node("Concat", f"{place}/Concat", [half, half], axis=-1)
    cos, sin = (
        graph.node(
            "Cast", f"{place}/{op}/Cast", [graph.node(op, f"{place}/{op}", [whole])], to=kind
        )
        for op in ("Cos", "Sin")
    )

    def heads_of(name: str, value: str, count: int) -> str:
        size = graph.integers([0, 0, count, shape.head_size])
        split = graph.node("Reshape", f"{name}/Reshape", [value, size])
        return graph.node("Transpose", f"{name}/Transpose", [split], perm=[0, 2, 1, 3])

    def turned(name: str, value: str) -> str:
        axis, middle = graph.integers([3]), graph.integers([shape.head_size // 2])
        ends = graph.integers([0]), graph.integers([shape.head_size])
        first = graph.node("Slice", f"{name}/Slice", [value, ends[0], middle, axis])
        second = graph.node("Slice", f"{name}/Slice_1", [value, middle, ends[1], axis])
        negative = graph.node("Neg", f"{name}/Neg", [second])
        other = graph.node("Concat", f"{name}/Concat", [negative, first], axis=-1)
        straight = graph.node("Mul", f"{name}/Mul", [value, cos])
        crossed = graph.node("Mul", f"{name}/Mul_1", [other, sin])
        return graph.node("Add", f"{name}/Add", [straight, crossed])

    def repeated(name: str, value: str) -> str:
        """Each head of keys or values as often as queries share it."""
        group = shape.heads // shape.kv_heads
        if group == 1:
            return value
        apart = graph.node("Unsqueeze", f"{name}/Unsqueeze", [value, graph.integers([2])])
        copies = graph.node("Concat", f"{name}/Concat_1", [apart] * group, axis=2)
        size = graph.integers([0, shape.heads, -1, shape.head_size])
        return graph.node("Reshape", f"{name}/Reshape_1", [copies, size])

    def attend(layer: int, normed: str) -> str:
        place = f"/model/layers.{layer}/self_attn"
        queries, keys, values = (
            heads_of(f"{place}/{letter}", value, count)
            for letter, value, count in zip(
                "qkv",
                graph.qkv(layer, normed),
                (shape.heads, shape.kv_heads, shape.kv_heads),
                strict=True,
            )
        )
        queries, keys = turned(f"{place}/q", queries), turned(f"{place}/k", keys)
        joined = [
            graph.node("Concat", f"{place}/{past}", [past, new], [present], axis=2)
            for past, new, present in zip(
                _past(layer), (keys, values), _present(layer), strict=True
            )
        ]
        keys, values = (repeated(f"{place}/{n}", v) for n, v in zip("kv", joined, strict=True))
        upright = graph.node("Transpose", f"{place}/Transpose", [keys], perm=[0, 1, 3, 2])
        scores = graph.node("MatMul", f"{place}/MatMul", [queries, upright])
        root = graph.scalar(f"{place}/root", shape.head_size**0.5)
        scores = graph.node("Div", f"{place}/Div", [scores, root])
        scores = graph.node("Add", f"{place}/Add", [scores, bias])
        chances = graph.node("Softmax", f"{place}/Softmax", [scores], axis=-1)
        attended = graph.node("MatMul", f"{place}/MatMul_1", [chances, values])
        rows = graph.node("Transpose", f"{place}/Transpose_1", [attended], perm=[0, 2, 1, 3])
        size = graph.integers([0, 0, shape.heads * shape.head_size])
        return graph.node("Reshape", f"{place}/Reshape", [rows, size])

    return attend


def _mask_bias(graph: _Graph) -> str:
    """[batch, 1, new, total]: 0 where a token attends to a key, else the least number there is."""
    place = "/model/attn_mask_reformat"
    zero, one = graph.integers(0), graph.integers(1)

    def width_of(name: str) -> str:
        size = graph.node("Shape", f"{place}/{name}/Shape", [name])
        return graph.node("Gather", f"{place}/{name}/Gather", [size, one], axis=0)

    new, total = width_of("input_ids"), width_of("attention_mask")
    past = graph.node("Sub", f"{place}/Sub", [total, new])
    columns = graph.node("Range", f"{place}/Range", [zero, total, one])
    rows = graph.node("Range", f"{place}/Range_1", [past, total, one])
    rows = graph.node("Unsqueeze", f"{place}/Unsqueeze", [rows, graph.integers([1])])
    seen = graph.node("LessOrEqual", f"{place}/LessOrEqual", [columns, rows])
    if (window := graph.layout.graph_window) is not None:
        start = graph.node("Sub", f"{place}/Sub_1", [rows, graph.integers(window)])
        near = graph.node("Greater", f"{place}/Greater", [columns, start])
        seen = graph.node("And", f"{place}/And", [seen, near])
    there = graph.node("Cast", f"{place}/Cast", ["attention_mask"], to=TensorProto.BOOL)
    there = graph.node("Unsqueeze", f"{place}/Unsqueeze_1", [there, graph.integers([1, 2])])
    seen = graph.node("And", f"{place}/And_1", [seen, there])
    nothing = graph.scalar(f"{place}/nothing", 0)
    least = graph.scalar(f"{place}/least", float(np.finfo(graph.layout.float_type).min))
    return graph.node("Where", f"{place}/Where", [seen, nothing, least])


def _rotated(graph: _Graph, layer: int, values: Sequence[str], caches: list[str]) -> list[str]:
    return [
        graph.node(
            "com.microsoft.RotaryEmbedding",
            f"/model/layers.{layer}/attn/{letter}_rotary/RotaryEmbedding",
            [value, "position_ids", *caches],
            interleaved=0,
        )
        for letter, value in zip("qk", values, strict=True)
    ]


def _past(layer: int) -> list[str]:
    return [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]


def _present(layer: int) -> list[str]:
    return [f"present.{layer}.{kind}" for kind in ("key", "value")]


_ATTENTIONS: dict[Attention, Callable[[_Graph], Callable[[int, str], str]]] = {
    "gqa": _gqa,
    "gqa-positions": _gqa,
    "mha": _mha,
    "optimum": _optimum,
}
