"""Graphs brought to the form that is served, each edit against the untouched graph."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_loop import logits_of
from onnx import TensorProto, helper
from phi3_graph import OPTIMUM, PUBLISHED, Attention, Layout, graph_of
from phi3_model import spec_of, write_phi3
from phi3_weights import FULL, TOY, Shape, forward
from tiny_models import write_decoder

from engine.errors import ModelBroken
from engine.models.spec import DecoderSpec, SlidingWindow, TensorNames
from engine.models.surgery import PreparedGraph, Surgery, prepare, takes_window
from engine.runtime.session import Session

IDS = [int(i) for i in np.random.default_rng(2).integers(0, 32000, 48)]
FLOAT = Layout(accuracy_level=None)
"""The published layout without the roundings of accuracy level 4."""
NOTHING = Surgery(window=False, logits_rows=False, accuracy_level=None)
WINDOW = replace(NOTHING, window=True)
ROWS = replace(NOTHING, logits_rows=True)
LEVEL = replace(NOTHING, accuracy_level=4)
NARROW = replace(NOTHING, kv_dtype="float16")
GROUPED = replace(TOY, kv_heads=2, qkv_bias=True)


def write(folder: Path, shape: Shape = TOY, layout: Layout = PUBLISHED, **facts) -> DecoderSpec:
    write_phi3(folder, shape, layout)
    return replace(spec_of(folder, shape, layout), **facts)


def opened(spec: DecoderSpec, surgery: Surgery) -> Session:
    return Session.open(spec.onnx_file, threads=1, graph=prepare(spec, surgery).content)


def attributes(content: bytes | None, operator: str, name: str) -> list[int | None]:
    """An attribute of every node of an operator; None where it is not set."""
    model = onnx.ModelProto.FromString(content or b"")
    return [
        next((a.i for a in node.attribute if a.name == name), None)
        for node in model.graph.node
        if node.op_type == operator
    ]


def edit(spec: DecoderSpec, change: Callable[[onnx.ModelProto], object]) -> DecoderSpec:
    """Changes a written graph; its weights stay where they are."""
    model = onnx.load(spec.onnx_file, load_external_data=False)
    change(model)
    onnx.save(model, spec.onnx_file)
    return spec


# The sliding window


@pytest.mark.parametrize("ends", [[48], [20, 48], [30, *range(31, 49)]])
def test_the_window_is_the_one_of_the_forward_pass_however_the_text_is_read(
    tmp_path: Path, ends: list[int]
) -> None:
    spec = write(tmp_path, layout=FLOAT, sliding_window=SlidingWindow(size=11))
    logits = logits_of(opened(spec, WINDOW), IDS, ends=ends)
    assert np.abs(logits - forward(TOY, IDS, range(48), 11)).max() < 2e-5
    assert np.abs(logits - forward(TOY, IDS, range(48))).max() > 0.1


@pytest.mark.parametrize("ends", [[48], [40, *range(41, 49)]])
def test_the_window_is_exactly_so_many_keys_with_the_tokens_own(
    tmp_path: Path, ends: list[int]
) -> None:
    one_layer = replace(TOY, layers=1)
    spec = write(tmp_path, one_layer, FLOAT, sliding_window=SlidingWindow(size=9))
    session = opened(spec, WINDOW)
    last = logits_of(session, IDS, ends=ends)[-1]
    for distance, same in ((9, True), (8, False), (30, True)):
        other = list(IDS)
        other[-1 - distance] = 5
        assert np.array_equal(logits_of(session, other, ends=ends)[-1], last) == same, distance


def test_a_text_within_the_window_is_read_as_by_the_untouched_graph(tmp_path: Path) -> None:
    spec = write(tmp_path, sliding_window=SlidingWindow(size=48))
    untouched = logits_of(Session.open(spec.onnx_file, threads=1), IDS, ends=[20, 48])
    assert np.array_equal(logits_of(opened(spec, WINDOW), IDS, ends=[20, 48]), untouched)


def test_a_graph_with_a_window_of_its_own_keeps_it(tmp_path: Path) -> None:
    layout = replace(FLOAT, graph_window=7)
    spec = write(tmp_path, layout=layout, sliding_window=SlidingWindow(size=20))
    assert prepare(spec, WINDOW).content is None


def test_only_the_layers_that_were_trained_with_a_window_get_one(tmp_path: Path) -> None:
    shape = replace(TOY, layers=3)
    window = SlidingWindow(size=20, layers=frozenset([0, 2]))
    content = prepare(write(tmp_path, shape, sliding_window=window), WINDOW).content
    windows = attributes(content, "GroupQueryAttention", "local_window_size")
    assert windows == [20, None, 20]


@pytest.mark.parametrize("window", [None, SlidingWindow(size=512)])
def test_a_model_without_a_window_shorter_than_its_context_gets_none(
    tmp_path: Path, window: SlidingWindow | None
) -> None:
    assert prepare(write(tmp_path, sliding_window=window), WINDOW).content is None


@pytest.mark.parametrize(
    ("attention", "takes"),
    [("gqa", True), ("gqa-positions", True), ("mha", False), ("optimum", False)],
)
def test_only_a_graph_with_group_query_attention_takes_a_window_and_shares_its_buffer(
    tmp_path: Path, attention: Attention, takes: bool
) -> None:
    window = SlidingWindow(size=9)
    spec = write(tmp_path, layout=Layout(attention=attention), sliding_window=window)
    assert takes_window(spec.onnx_file) is takes
    prepared = prepare(spec, WINDOW)
    assert (prepared.content is not None, prepared.shares_buffer) == (takes, takes)


# Rows of logits


@pytest.mark.parametrize("shape", [TOY, GROUPED], ids=["toy", "grouped"])
@pytest.mark.parametrize(
    "layout",
    [
        PUBLISHED,
        Layout(bits=32),
        Layout(float_type=np.float16),
        Layout(attention="gqa-positions"),
        OPTIMUM,
        replace(OPTIMUM, float_type=np.float16),
    ],
    ids=["4 bit", "plain", "16 bit", "positions", "optimum", "optimum 16 bit"],
)
def test_the_rows_asked_for_are_those_of_the_untouched_graph(
    tmp_path: Path, shape: Shape, layout: Layout
) -> None:
    spec = write(tmp_path, shape, layout)
    whole = logits_of(Session.open(spec.onnx_file, threads=1), IDS, ends=[20, 48])
    session = opened(spec, ROWS)
    assert session.inputs["logits_rows"].shape == ("logits_rows",)
    rows = logits_of(session, IDS, ends=[20, 48], rows=[19, 0, 3])
    expected = whole[[19, 0, 3, 39, 20, 23]]
    assert np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max()


def test_rows_of_the_published_graph_are_the_same_bits(tmp_path: Path) -> None:
    spec = write(tmp_path)
    whole = logits_of(Session.open(spec.onnx_file, threads=1), IDS)
    assert np.array_equal(logits_of(opened(spec, ROWS), IDS), whole)
    assert np.array_equal(logits_of(opened(spec, ROWS), IDS, rows=[40, 47]), whole[[40, 47]])


def _soften(model: onnx.ModelProto) -> None:
    """30 * tanh(logits / 30), in 16 bit and back, as Gemma has a soft cap and others casts."""
    graph = model.graph
    graph.node[-1].output[0] = "head"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(30, np.float32), "thirty"))
    steps = [
        ("Div", ["head", "thirty"], "a", {}),
        ("Tanh", ["a"], "b", {}),
        ("Mul", ["thirty", "b"], "c", {}),
        ("Cast", ["c"], "d", {"to": TensorProto.DOUBLE}),
        ("Cast", ["d"], "logits", {"to": TensorProto.FLOAT}),
    ]
    for operator, inputs, output, more in steps:
        graph.node.append(helper.make_node(operator, inputs, [output], name=output, **more))


def test_what_stands_between_the_head_and_the_logits_stays_there(tmp_path: Path) -> None:
    spec = edit(write(tmp_path), _soften)
    whole = logits_of(Session.open(spec.onnx_file, threads=1), IDS)
    session = opened(spec, ROWS)
    assert np.array_equal(logits_of(session, IDS, rows=[3, 40]), whole[[3, 40]])


def _prune(model: onnx.ModelProto) -> None:
    """Logits of the last token alone, as onnxruntime-genai's builder does with prune_lm_head."""
    graph, head = model.graph, model.graph.node[-1]
    states = head.input[0]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(-1), "last"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    cut = helper.make_node("Gather", [states, "last"], ["cut"], axis=1)
    head.input[0] = "kept"
    graph.node.insert(len(graph.node) - 1, cut)
    graph.node.insert(len(graph.node) - 1, helper.make_node("Unsqueeze", ["cut", "axes"], ["kept"]))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    (info,) = (info for info in graph.value_info if info.name == "logits")
    info.CopyFrom(graph.output[0])


def test_a_head_that_reads_the_last_row_alone_reads_the_rows_asked_for(tmp_path: Path) -> None:
    whole = logits_of(Session.open(write(tmp_path).onnx_file, threads=1), IDS)
    spec = edit(spec_of(tmp_path), _prune)
    assert np.array_equal(logits_of(Session.open(spec.onnx_file, threads=1), IDS), whole[-1:])
    assert np.array_equal(logits_of(opened(spec, ROWS), IDS, rows=[3, 40]), whole[[3, 40]])


def test_a_graph_that_takes_rows_already_is_left_as_it_is(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path)
    assert prepare(spec) == PreparedGraph(None, shares_buffer=True)


def test_a_graph_without_a_plain_head_gives_all_rows(tmp_path: Path) -> None:
    def hide_head(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "head"
        model.graph.node.append(helper.make_node("Identity", ["head"], ["logits"]))

    assert prepare(edit(write(tmp_path), hide_head), ROWS).content is None


# The accuracy level


def test_the_accuracy_level_is_set_where_it_is_lacking_and_costs_little(tmp_path: Path) -> None:
    spec = write(tmp_path, layout=FLOAT)
    content = prepare(spec, LEVEL).content
    levels = attributes(content, "MatMulNBits", "accuracy_level")
    assert levels == [4] * (5 * TOY.layers + 1)
    exact = logits_of(opened(spec, NOTHING), IDS)
    rounded = logits_of(opened(spec, LEVEL), IDS)
    assert 0.01 < np.abs(rounded - exact).max() < 0.5
    published = write(tmp_path / "published")
    assert np.array_equal(logits_of(opened(published, NOTHING), IDS), rounded)


@pytest.mark.parametrize("layout", [PUBLISHED, Layout(accuracy_level=1), Layout(bits=32)])
def test_a_graph_that_says_its_accuracy_level_or_has_none_keeps_it(
    tmp_path: Path, layout: Layout
) -> None:
    assert prepare(write(tmp_path, layout=layout), LEVEL).content is None


# The type of keys and values


@pytest.mark.parametrize("shape", [TOY, GROUPED], ids=["toy", "grouped"])
@pytest.mark.parametrize("attention", ["gqa", "gqa-positions"])
def test_a_16_bit_cache_costs_about_a_thousandth(
    tmp_path: Path, shape: Shape, attention: Attention
) -> None:
    spec = write(tmp_path, shape, Layout(attention=attention, accuracy_level=None))
    session, ends = opened(spec, NARROW), [20, *range(21, 49)]
    cache = [t for t in (session.inputs | session.outputs).values() if "." in t.name]
    assert {tensor.dtype for tensor in cache} == {np.float16}
    assert len(cache) == 4 * shape.layers
    apart = logits_of(session, IDS, ends=ends) - forward(shape, IDS, range(48))
    assert 1e-4 < np.sqrt((apart**2).mean()) < 1.5e-3
    assert np.abs(apart).max() < 0.02


def test_a_converted_graph_gets_a_16_bit_cache_and_nothing_else(tmp_path: Path) -> None:
    spec = write(tmp_path, layout=FLOAT, converted=True, sliding_window=SlidingWindow(size=11))
    content = prepare(spec, Surgery(kv_dtype="float16")).content
    assert content == prepare(replace(spec, converted=False), NARROW).content is not None


@pytest.mark.parametrize("layout", [OPTIMUM, Layout(float_type=np.float16)])
def test_a_cache_of_16_bits_or_of_another_form_is_left_as_it_is(
    tmp_path: Path, layout: Layout
) -> None:
    assert prepare(write(tmp_path, layout=layout), NARROW).content is None


# All of it


def test_the_published_graph_gets_its_window_and_its_rows(tmp_path: Path) -> None:
    """At full size, and without the weights: they are not read."""
    write_phi3(tmp_path)
    model, _ = graph_of(FULL, PUBLISHED)
    spec = replace(
        spec_of(tmp_path, FULL), sliding_window=SlidingWindow(size=2047), max_tokens=4096
    )
    spec.onnx_file.write_bytes(model.SerializeToString())
    (tmp_path / f"{PUBLISHED.filename}.data").unlink()
    content = prepare(spec).content
    assert content is not None
    windows = attributes(content, "GroupQueryAttention", "local_window_size")
    assert windows == [2047] * FULL.layers
    edited = onnx.ModelProto.FromString(content)
    assert edited.graph.input[-1].name == "logits_rows"
    assert edited.graph.initializer == model.graph.initializer


def test_all_edits_at_once_are_each_of_them(tmp_path: Path) -> None:
    spec = write(tmp_path, GROUPED, FLOAT, sliding_window=SlidingWindow(size=11))
    edited = logits_of(opened(spec, Surgery(accuracy_level=None)), IDS, ends=[20, 48], rows=[19, 4])
    expected = forward(GROUPED, IDS, [19, 4, 39, 24], 11)
    assert np.abs(edited - expected).max() < 2e-5


def test_nothing_is_edited_where_nothing_is_wanted(tmp_path: Path) -> None:
    spec = write(tmp_path, layout=FLOAT, sliding_window=SlidingWindow(size=11))
    assert prepare(spec, NOTHING) == PreparedGraph(None, shares_buffer=True)


def test_a_converted_graph_is_neither_read_nor_is_onnx_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.models.spec import DecoderSpec\n"
        "from engine.models import surgery\n"
        "here = Path('nowhere')\n"
        "spec = DecoderSpec(model_id='m', folder=here, onnx_file=here / 'm.onnx', "
        "tokenizer_file=here, license='', source='', max_tokens=9, stop_token_ids=(1,), "
        "chat_template='', bos_token='', eos_token='', converted=True)\n"
        "print(surgery.prepare(spec), 'onnx' in sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert said.strip() == "PreparedGraph(content=None, shares_buffer=True) False"


def test_tensors_of_other_names_get_the_names_that_are_served(tmp_path: Path) -> None:
    spec = write(tmp_path, layout=FLOAT)
    expected = logits_of(opened(spec, NOTHING), IDS, ends=[20, 48])
    names = TensorNames(
        input_ids="ids",
        logits="scores",
        past_key="layer_%d_k",
        past_value="layer_%d_v",
        present_key="new.%d_k",
        present_value="new.%d_v",
    )

    def rename(model: onnx.ModelProto) -> None:
        changes = {"input_ids": "ids", "logits": "scores"}
        for layer in range(TOY.layers):
            for kind in ("key", "value"):
                changes[f"past_key_values.{layer}.{kind}"] = f"layer_{layer}_{kind[0]}"
                changes[f"present.{layer}.{kind}"] = f"new.{layer}_{kind[0]}"
        graph = model.graph
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.name = changes.get(value.name, value.name)
        for node in graph.node:
            for values in (node.input, node.output):
                values[:] = [changes.get(name, name) for name in values]

    session = opened(edit(replace(spec, tensors=names), rename), ROWS)
    assert np.array_equal(logits_of(session, IDS, ends=[20, 48]), expected)


def test_names_are_changed_inside_branches_too(tmp_path: Path) -> None:
    """As Phi-3.5 chooses its rotary cache by a branch that reads the mask."""
    spec = write(tmp_path, layout=FLOAT)
    expected = logits_of(opened(spec, NOTHING), IDS)

    def branch(model: onnx.ModelProto) -> None:
        graph = model.graph
        inner = helper.make_node("Cast", ["tokens"], ["inner"], to=TensorProto.INT64)
        value = helper.make_tensor_value_info("inner", TensorProto.INT64, None)
        body = helper.make_graph([inner], "body", [], [value])
        yes = onnx.numpy_helper.from_array(np.array(True), "yes")
        graph.initializer.append(yes)
        chosen = helper.make_node(
            "If", ["yes"], ["chosen"], name="if", then_branch=body, else_branch=body
        )
        for node in graph.node:
            node.input[:] = ["chosen" if name == "input_ids" else name for name in node.input]
        graph.node.insert(0, chosen)
        graph.input[0].name = "tokens"

    spec = edit(replace(spec, tensors=TensorNames(input_ids="tokens")), branch)
    assert np.array_equal(logits_of(opened(spec, NOTHING), IDS), expected)


# What is not served


def _input(name: str, dtype: int = TensorProto.INT64) -> Callable[[onnx.ModelProto], None]:
    value = helper.make_tensor_value_info(name, dtype, ["batch_size"])
    return lambda model: model.graph.input.append(value)


def _renamed(place: str, index: int, name: str) -> Callable[[onnx.ModelProto], None]:
    return lambda model: setattr(getattr(model.graph, place)[index], "name", name)


def _typed(model: onnx.ModelProto) -> None:
    for value in model.graph.input[2:]:
        value.type.tensor_type.elem_type = TensorProto.INT8


def _operator(name: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "GroupQueryAttention":
                node.op_type = name

    return change


def _one_layer_else(model: onnx.ModelProto) -> None:
    nodes = [node for node in model.graph.node if node.op_type == "GroupQueryAttention"]
    nodes[0].op_type = "MultiHeadAttention"


def _own_window(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            node.attribute.append(helper.make_attribute("sliding_window_cache", 1))


def _flat(model: onnx.ModelProto) -> None:
    del model.graph.output[0].type.tensor_type.shape.dim[0]


def _last_alone(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1


def _without_cache(model: onnx.ModelProto) -> None:
    del model.graph.input[2:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_input("inputs_embeds"), "takes embeddings in place of token ids"),
        (_input("pixel_values"), "looks at images"),
        (_input("encoder_hidden_states"), "the decoder of an encoder-decoder model"),
        (_input("use_cache_branch"), "two graphs merged into one"),
        (_input("block_table"), "keeps its cache in pages"),
        (_input("past.0.conv"), r"takes what no plain decoder takes \(past\.0\.conv\)"),
        (_renamed("input", 0, "tokens"), r"takes what no plain .* \(tokens\)"),
        (_renamed("output", 0, "scores"), "lacks logits"),
        (_renamed("output", 1, "other"), r"lacks present\.0\.key"),
        (_typed, "keeps its keys and values as int8"),
        (_operator("SparseAttention"), r"SparseAttention, which keeps a cache of its own form"),
        (_one_layer_else, "in some layers and not in others"),
        (_own_window, "sliding_window_cache"),
        (_flat, r"logits that are not \[batch, length, vocabulary\]"),
        (_last_alone, "logits of its last token alone"),
        (_without_cache, "exported without a cache"),
    ],
)
def test_a_graph_of_another_form_is_refused_with_what_it_is(
    tmp_path: Path, change: Callable[[onnx.ModelProto], object], reason: str
) -> None:
    spec = edit(write(tmp_path), change)
    with pytest.raises(
        ModelBroken, match=rf"\.onnx in {tmp_path.name} .*{reason}.* not served; use"
    ):
        prepare(spec)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_graph_is_broken(tmp_path: Path, content: bytes) -> None:
    spec = write(tmp_path)
    spec.onnx_file.write_bytes(content)
    with pytest.raises(ModelBroken, match="is not an ONNX model"):
        prepare(spec)
