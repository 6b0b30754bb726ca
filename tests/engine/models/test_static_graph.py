"""Static graphs, run on the CPU beside what they were made of, and looked into."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from encoder_models import (
    LOWEST,
    EncoderForm,
    write_fused,
    write_optimised,
    write_published,
)
from onnx import TensorProto, helper, numpy_helper, shape_inference

from engine.errors import ModelBroken, NpuFailed
from engine.models.masks import MASK_BIAS
from engine.models.static_graph import static_graph
from engine.runtime.qnn import compiling
from engine.runtime.session import Session

FORM = EncoderForm()
STATES = ["last_hidden_state"]

WRITERS = {
    "fused": write_fused,
    "optimised": write_optimised,
    "opset 11": lambda folder: write_published(folder, opset=11),
    "opset 14": lambda folder: write_published(folder, opset=14),
    "opset 17": lambda folder: write_published(folder, opset=17),
}


@pytest.fixture(params=WRITERS)
def onnx_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / "encoder")


def feeds_of(lengths: list[int], tokens: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Random ids, of which each row has so many."""
    shape = len(lengths), tokens
    mask = (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int32)
    ids = np.random.default_rng(seed).integers(1, FORM.vocabulary, shape, dtype=np.int32)
    segments = (np.arange(tokens) >= tokens // 2).astype(np.int32) * np.ones_like(mask)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": segments * mask}


def run(session: Session, feeds: dict[str, np.ndarray]) -> np.ndarray:
    given = {n: feeds[n].astype(tensor.dtype) for n, tensor in session.inputs.items()}
    return session.run(given, STATES)[0]


def opened(graph: bytes) -> Session:
    return Session.open(Path("static.onnx"), graph=graph)


@pytest.mark.parametrize(("lengths", "tokens"), [([5], 8), ([16, 1, 9], 16), ([3, 8], 8)])
def test_tokens_get_the_states_that_the_file_gives_them(
    onnx_file: Path, lengths: list[int], tokens: int
):
    feeds = feeds_of(lengths, tokens)
    got = run(opened(static_graph(onnx_file, len(lengths), tokens)), feeds)
    expected = run(Session.open(onnx_file), feeds)
    shown = feeds["attention_mask"] == 1
    np.testing.assert_allclose(got[shown], expected[shown], atol=2e-5)


def test_inputs_are_int32_and_shapes_are_fixed(onnx_file: Path):
    session = opened(static_graph(onnx_file, 2, 16))
    asked = Session.open(onnx_file).inputs
    assert {(t.name, t.dtype, t.shape) for t in session.inputs.values()} == {
        (name, np.int32, (2, 16)) for name in asked
    }
    assert [t.shape for t in session.outputs.values()] == [(2, 16, FORM.hidden)]


def test_only_plain_operators_and_no_shape_arithmetic_are_left(onnx_file: Path):
    model = onnx.load_from_string(static_graph(onnx_file, 2, 16))
    assert {node.domain for node in model.graph.node} == {""}
    computed = {"Shape", "Slice", "Concat", "Unsqueeze", "Range", "Expand", "Where", "Constant"}
    assert computed.isdisjoint({node.op_type for node in model.graph.node})


def rowless_sums(graph: bytes, rows: int, tokens: int) -> list[str]:
    """Sums of rows with a table of tokens that has none: what trap 1 of the NPU gets wrong."""
    model = shape_inference.infer_shapes(onnx.load_from_string(graph), strict_mode=True)
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Add" and len(shapes[node.output[0]]) == 3
        for name in node.input
        if shapes[name] in ([tokens, FORM.hidden], [1, tokens, FORM.hidden])
    ]


@pytest.mark.parametrize("rows", [2, 4, 7, 8])
def test_no_table_of_positions_is_added_to_several_rows_at_once(onnx_file: Path, rows: int):
    assert rowless_sums(static_graph(onnx_file, rows, 16), rows, 16) == []


def test_the_check_for_such_sums_finds_one():
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["y"], name="trap")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 16, FORM.hidden])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 16, FORM.hidden])],
        [numpy_helper.from_array(np.zeros((1, 16, FORM.hidden), np.float32), "c")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    assert rowless_sums(model.SerializeToString(), 2, 16) == ["trap"]


def in_16_bits(graph: bytes) -> np.ndarray:
    """All constants that are floats, as an NPU reads them."""
    arrays = map(numpy_helper.to_array, onnx.load_from_string(graph).graph.initializer)
    floats = [array.ravel() for array in arrays if array.dtype == np.float32]
    with np.errstate(over="ignore"):
        return np.concatenate(floats).astype(np.float16)


def test_no_constant_is_lower_than_the_bias_of_masks(onnx_file: Path):
    assert in_16_bits(static_graph(onnx_file, 2, 16)).min() >= MASK_BIAS


def with_weights(value: float, onnx_file: Path) -> Path:
    """The file with a few of its words' rows set."""
    model = onnx.load(write_published(onnx_file.parent / "plain", opset=17))
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [FORM.vocabulary, FORM.hidden]:
            array = numpy_helper.to_array(tensor).copy()
            array[7, :3] = value
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, onnx_file)
    return onnx_file


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e5, -1e5])
def test_weights_that_are_infinite_in_16_bits_are_as_large_as_the_bias(
    value: float, tmp_path: Path
):
    floats = in_16_bits(static_graph(with_weights(value, tmp_path / "m.onnx"), 1, 8))
    limit = abs(MASK_BIAS)
    assert (floats.min() if value < 0 else floats.max()) == np.sign(value) * limit
    assert np.abs(floats).max() == limit


def test_attention_is_masked_by_one_bias_and_heads_keep_their_size(onnx_file: Path):
    model = onnx.load_from_string(static_graph(onnx_file, 2, 16))
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = [arrays[node.input[1]] for node in model.graph.node if node.op_type == "Reshape"]
    sizes = {shape[3] for shape in shapes if len(shape) == 4 and shape[2] == FORM.heads}
    assert sizes == {FORM.hidden // FORM.heads}
    scores = [node.input[0] for node in model.graph.node if node.op_type == "Softmax"]
    makers = {node.output[0]: node for node in model.graph.node}
    flat = {"Flatten", "Reshape"}
    sums = [makers[makers[n].input[0] if makers[n].op_type in flat else n] for n in scores]
    assert [node.op_type for node in sums] == ["Add"] * FORM.layers
    assert len(set.intersection(*(set(node.input) for node in sums))) == 1


def test_a_row_of_padding_and_a_single_token_are_finite(onnx_file: Path):
    states = run(opened(static_graph(onnx_file, 3, 8)), feeds_of([0, 1, 8], 8))
    assert np.isfinite(states).all()
    assert np.abs(states).max() < 100


def test_a_row_does_not_depend_on_its_neighbours(onnx_file: Path):
    session = opened(static_graph(onnx_file, 3, 8))
    feeds = feeds_of([5, 8, 2], 8)
    alone = {name: array.copy() for name, array in feeds.items()}
    for array in alone.values():
        array[0], array[2] = array[1], array[1]
    np.testing.assert_allclose(run(session, feeds)[1], run(session, alone)[1], atol=1e-6)


def test_what_stands_in_the_padding_does_not_matter(onnx_file: Path):
    session = opened(static_graph(onnx_file, 1, 8))
    feeds = feeds_of([5], 8)
    other = {name: array.copy() for name, array in feeds.items()}
    other["input_ids"][:, 5:] = 7
    np.testing.assert_allclose(run(session, feeds)[:, :5], run(session, other)[:, :5], atol=1e-6)


def test_weights_in_a_file_of_their_own_are_taken_in(tmp_path: Path):
    plain = write_published(tmp_path / "plain", opset=14)
    beside = tmp_path / "beside" / "model.onnx"
    beside.parent.mkdir()
    onnx.save(onnx.load(plain), beside, save_as_external_data=True, location="w", size_threshold=64)
    assert static_graph(beside, 1, 8) == static_graph(plain, 1, 8)


def left_out_after_heads(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "MultiHeadAttention":
            node.input.extend(["", ""])


def sums_beside_left_out_statistics(model: onnx.ModelProto) -> None:
    for number, node in enumerate(model.graph.node):
        if node.op_type == "SkipLayerNormalization":
            node.output.extend(["", "", f"sum {number}"])
        if node.op_type == "Attention":
            node.input.extend(["", ""])


def mask_index_left_out(model: onnx.ModelProto) -> None:
    (first,) = (n for n in model.graph.node if n.op_type == "EmbedLayerNormalization")
    first.output[1] = ""
    for node in model.graph.node:
        if node.op_type == "Attention":
            node.input[3] = first.input[7]
            node.input.extend(["", ""])


@pytest.mark.parametrize(
    ("write", "edit"),
    [
        (write_fused, left_out_after_heads),
        (write_optimised, sums_beside_left_out_statistics),
        (write_optimised, mask_index_left_out),
    ],
)
def test_what_fused_operators_leave_out_is_read_by_nobody(
    write: Callable[[Path], Path],
    edit: Callable[[onnx.ModelProto], None],
    tmp_path: Path,
):
    plain = write(tmp_path / "encoder")
    model = onnx.load(plain)
    edit(model)
    onnx.save(model, tmp_path / "edited.onnx")
    Session.open(tmp_path / "edited.onnx")
    written = laid_out(static_graph(tmp_path / "edited.onnx", 2, 8))
    assert written == laid_out(static_graph(plain, 2, 8))


# Masks that other exporters write


def masked_model(mask_nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> bytes:
    """Scores [rows, 1, tokens, tokens] of ids, masked by nodes that read `scores` and the mask."""
    table = np.random.default_rng(0).normal(size=(FORM.vocabulary, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Transpose", ["words"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["words", "turned"], ["products"]),
        helper.make_node("Unsqueeze", ["products", "one"], ["scores"]),
        *mask_nodes,
        helper.make_node("Softmax", ["masked"], ["softmax"], axis=-1),
        helper.make_node("IsNaN", ["softmax"], ["nan"]),
        helper.make_node("Where", ["nan", "zero", "softmax"], ["weights"]),
        helper.make_node("Squeeze", ["weights", "one"], ["squeezed"]),
        helper.make_node("MatMul", ["squeezed", "words"], STATES),
    ]
    axes = ["batch", "sequence"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, axes)
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info(STATES[0], TensorProto.FLOAT, [*axes, 8])
    constants = {"table": table, "one": np.array([1]), "zero": np.array(0, np.float32)}
    constants |= {"two": np.array([2]), "lowest": np.array(LOWEST, np.float32)}
    constants |= {"low": np.array(-np.inf, np.float32), "axes": np.array([1, 2])}
    constants |= {"unit": np.array(1, np.float32), "highest": np.array(-LOWEST, np.float32)}
    tensors = [*tensors, *(numpy_helper.from_array(a, n) for n, a in constants.items())]
    graph = helper.make_graph(nodes, "g", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


AS_BOOL = [
    helper.make_node("Unsqueeze", ["attention_mask", "axes"], ["wide"]),
    helper.make_node("Cast", ["wide"], ["shown"], to=TensorProto.BOOL),
]
MASKS = {
    "a bias chosen by the mask, as PyTorch's own attention has it": [
        *AS_BOOL,
        helper.make_node("Where", ["shown", "zero", "lowest"], ["bias"]),
        helper.make_node("Add", ["scores", "bias"], ["masked"]),
    ],
    "scores filled where there is padding, as DistilBERT has it": [
        *AS_BOOL,
        helper.make_node("Not", ["shown"], ["hidden"]),
        helper.make_node("Shape", ["scores"], ["shape"]),
        helper.make_node("Expand", ["hidden", "shape"], ["everywhere"]),
        helper.make_node("Where", ["everywhere", "low", "scores"], ["masked"]),
    ],
    "a bias that is taken away": [
        helper.make_node("Unsqueeze", ["attention_mask", "axes"], ["wide"]),
        helper.make_node("Cast", ["wide"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["unit", "floats"], ["hidden"]),
        helper.make_node("Mul", ["hidden", "highest"], ["penalty"]),
        helper.make_node("Sub", ["scores", "penalty"], ["masked"]),
    ],
    "scores kept where there is none": [
        *AS_BOOL,
        helper.make_node("Where", ["shown", "scores", "low"], ["masked"]),
    ],
}


@pytest.mark.parametrize("nodes", MASKS.values(), ids=MASKS)
def test_a_mask_is_known_by_what_it_does(nodes: list[onnx.NodeProto], tmp_path: Path):
    onnx_file = tmp_path / "model.onnx"
    onnx_file.write_bytes(masked_model(nodes, []))
    graph = static_graph(onnx_file, 2, 8)
    feeds = feeds_of([8, 5], 8)
    np.testing.assert_allclose(
        run(opened(graph), feeds), run(Session.open(onnx_file), feeds), atol=1e-5
    )
    operators = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    assert operators.isdisjoint({"Where", "IsNaN", "Not", "Expand", "Greater"})
    assert np.isfinite(run(opened(graph), feeds_of([0, 1], 8))).all()
    assert np.isfinite(in_16_bits(graph)).all()


def test_a_quantised_graph_stays_quantised(tmp_path: Path):
    """16-bit activations as the runtime's quantiser writes them before opset 21."""
    array = np.random.default_rng(0).integers(0, 255, (FORM.vocabulary, 8)).astype(np.uint8)
    constants = {
        "table": array,
        "scale": np.array(0.01, np.float32),
        "zero8": np.array(128, np.uint8),
        "zero16": np.array(32768, np.uint16),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("DequantizeLinear", ["rows", "scale", "zero8"], ["words"]),
        helper.make_node(
            "QuantizeLinear", ["words", "scale", "zero16"], ["q"], domain="com.microsoft"
        ),
        helper.make_node(
            "DequantizeLinear", ["q", "scale", "zero16"], STATES, domain="com.microsoft"
        ),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"])
    states = helper.make_tensor_value_info(STATES[0], TensorProto.FLOAT, ["b", "s", 8])
    tensors = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", [ids], [states], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "q.onnx")
    static = static_graph(tmp_path / "q.onnx", 2, 8)
    assert [n.op_type for n in onnx.load_from_string(static).graph.node] == [
        node.op_type for node in nodes
    ]
    feeds = feeds_of([8, 5], 8)
    np.testing.assert_array_equal(
        run(opened(static), feeds), run(Session.open(tmp_path / "q.onnx"), feeds)
    )


def test_a_mask_that_hides_more_than_padding_is_kept(tmp_path: Path):
    nodes = [
        *AS_BOOL,
        helper.make_node("And", ["shown", "earlier"], ["both"]),
        helper.make_node("Where", ["both", "zero", "lowest"], ["bias"]),
        helper.make_node("Add", ["scores", "bias"], ["masked"]),
    ]
    earlier = numpy_helper.from_array(np.tri(8, dtype=bool)[None, None], "earlier")
    (tmp_path / "model.onnx").write_bytes(masked_model(nodes, [earlier]))
    feeds = feeds_of([8, 5], 8)
    np.testing.assert_allclose(
        run(opened(static_graph(tmp_path / "model.onnx", 2, 8)), feeds),
        run(Session.open(tmp_path / "model.onnx"), feeds),
        atol=1e-5,
    )


# Refusals


def edited(source: Path, target: Path, **changes: object) -> Path:
    """The same file with attributes of its attention nodes set."""
    model = onnx.load(source)
    for node in model.graph.node:
        if node.op_type == "Attention":
            node.attribute.extend(helper.make_attribute(n, v) for n, v in changes.items())
    onnx.save(model, target)
    return target


def test_attention_of_another_kind_is_refused_by_name(tmp_path: Path):
    source = write_optimised(tmp_path / "encoder")
    causal = edited(source, tmp_path / "causal.onnx", unidirectional=1)
    with pytest.raises(NpuFailed, match=r"causal\.onnx .* unidirectional") as caught:
        static_graph(causal, 1, 8)
    assert caught.value.code == "graph-not-served"


def test_an_operator_without_a_plain_form_is_refused_by_name(tmp_path: Path):
    model = onnx.load(write_optimised(tmp_path / "encoder"))
    for node in model.graph.node:
        if node.op_type == "BiasGelu":
            node.op_type = "QuickGelu"
            del node.input[1:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(NpuFailed, match=r"com\.microsoft\.QuickGelu"):
        static_graph(tmp_path / "other.onnx", 1, 8)


def test_another_input_is_refused_by_name(tmp_path: Path):
    model = onnx.load(write_published(tmp_path / "encoder"))
    model.graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(NpuFailed, match="it takes pixels"):
        static_graph(tmp_path / "other.onnx", 1, 8)


def test_more_tokens_than_positions_are_refused(onnx_file: Path):
    with pytest.raises(NpuFailed) as caught:
        static_graph(onnx_file, 1, FORM.positions * 2)
    assert caught.value.code == "graph-not-served"


def test_what_is_no_model_is_broken(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelBroken):
        static_graph(tmp_path / "model.onnx", 1, 8)


# What contexts on disk rest on


def test_whoever_changes_what_is_written_raises_the_version_of_the_rules(tmp_path: Path):
    """Contexts compiled by an older version would be found otherwise. New hash: RULES + 1."""
    written = [
        laid_out(static_graph(write(tmp_path / name), 2, 16)) for name, write in WRITERS.items()
    ]
    digest = hashlib.sha256("\n".join(written).encode()).hexdigest()[:16]
    assert (compiling.RULES, digest) == (2, "a04693421fe4295b")


def laid_out(graph: bytes) -> str:
    """A graph's nodes, values numbered as they appear, and its constants: shapes, small ones whole.

    Weights are left out: their last bits are the machine's.
    """
    model = onnx.load_from_string(graph)
    numbers: dict[str, int] = {}
    lines = []
    for node in model.graph.node:
        values = [numbers.setdefault(name, len(numbers)) for name in (*node.input, *node.output)]
        attributes = [
            (attribute.name, helper.get_attribute_value(attribute)) for attribute in node.attribute
        ]
        lines.append(f"{node.op_type} {values} {sorted(attributes)}")
    constants = {
        numbers[tensor.name]: (tensor.data_type, list(tensor.dims), small_values(tensor))
        for tensor in model.graph.initializer
    }
    return "\n".join([*lines, str(sorted(constants.items()))])


def small_values(tensor: TensorProto) -> list[float] | None:
    array = numpy_helper.to_array(tensor)
    return array.ravel().tolist() if array.size <= 8 else None
