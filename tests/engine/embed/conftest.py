"""Tiny real encoders: a word-level tokenizer and an ONNX graph of a few KB, made anew."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tokenizers
from onnx import TensorProto, helper, numpy_helper

from engine.models.spec import EmbedderSpec

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(40))]
DIMENSIONS = 8
SEGMENT_ROWS = np.random.default_rng(2).normal(size=(2, DIMENSIONS)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class TinyGraph:
    """What the graph is to look like; its states are word vector + half the mean word vector."""

    vectors: np.ndarray = field(
        default_factory=lambda: (
            np.random.default_rng(1).normal(size=(len(WORDS), DIMENSIONS)).astype(np.float32)
        )
    )
    """[words, dimensions]."""
    segments: bool = False
    """Takes token_type_ids and adds their row of SEGMENT_ROWS to the states."""
    extra_input: str = ""
    id_type: int = TensorProto.INT64
    state_type: int = TensorProto.FLOAT
    states: str = "last_hidden_state"
    """Name of the 3-D output; empty for a graph without one."""
    sentence: str = ""
    """Name of a 2-D output, listed first; empty for none."""


def write_tokenizer(path: Path, template: str) -> None:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))


def write_graph(path: Path, graph: TinyGraph) -> None:
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if graph.segments else [])]
    names += [graph.extra_input] if graph.extra_input else []
    inputs = [helper.make_tensor_value_info(n, graph.id_type, ["rows", "tokens"]) for n in names]
    outputs = []
    if graph.sentence:
        shape = ["rows", DIMENSIONS]
        outputs.append(helper.make_tensor_value_info(graph.sentence, TensorProto.FLOAT, shape))
    if graph.states:
        shape = ["rows", "tokens", DIMENSIONS]
        outputs.append(helper.make_tensor_value_info(graph.states, graph.state_type, shape))
    made = helper.make_graph(_nodes(graph), "tiny", inputs, outputs, _constants(graph))
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=9), path)


def _constants(graph: TinyGraph) -> list[TensorProto]:
    arrays = {
        "vectors": graph.vectors,
        "segment_rows": SEGMENT_ROWS,
        "half": np.array(0.5, dtype=np.float32),
        "tokens_axis": np.array([1], dtype=np.int64),
        "last_axis": np.array([-1], dtype=np.int64),
    }
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def _nodes(graph: TinyGraph) -> list[onnx.NodeProto]:
    node = helper.make_node
    nodes = [
        node("Gather", ["vectors", "input_ids"], ["words"]),
        node("Cast", ["attention_mask"], ["weights"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["weights", "last_axis"], ["column"]),
        node("Mul", ["words", "column"], ["kept"]),
        node("ReduceSum", ["kept", "tokens_axis"], ["sum"]),
        node("ReduceSum", ["column", "tokens_axis"], ["count"]),
        node("Div", ["sum", "count"], ["mean"]),
        node("Mul", ["mean", "half"], ["context"]),
        node("Add", ["words", "context"], ["plain"]),
        node("Gather", ["segment_rows", "token_type_ids"], ["segments"])
        if graph.segments
        else node("Sub", ["words", "words"], ["segments"]),
        node("Add", ["plain", "segments"], ["full"]),
    ]
    if graph.sentence:
        nodes.append(node("Squeeze", ["mean", "tokens_axis"], [graph.sentence]))
    if graph.states:
        nodes.append(node("Cast", ["full"], [graph.states], to=graph.state_type))
    return nodes


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., EmbedderSpec]:
    """Makes a model folder; keywords go to TinyGraph, `changes` to the EmbedderSpec.

    `template` is what the tokenizer puts around a text.
    """

    def make(
        changes: dict[str, object] | None = None,
        template: str = "[CLS] $A [SEP]",
        **graph: object,
    ) -> EmbedderSpec:
        write_tokenizer(tmp_path / "tokenizer.json", template)
        write_graph(tmp_path / "model.onnx", TinyGraph(**graph))
        spec = EmbedderSpec(
            model_id="tiny",
            folder=tmp_path,
            onnx_file=tmp_path / "model.onnx",
            tokenizer_file=tmp_path / "tokenizer.json",
            license="CC0-1.0",
            source="made by the test",
            max_tokens=12,
            dimensions=DIMENSIONS,
            pooling="mean",
            query_prefix="",
            fingerprint="0" * 64,
        )
        return replace(spec, **(changes or {}))

    return make


@pytest.fixture
def word_vectors() -> np.ndarray:
    """The tiny graph's word vectors, in the order of its vocabulary."""
    return TinyGraph().vectors


@pytest.fixture
def segment_rows() -> np.ndarray:
    """What the tiny graph adds for token type 0 and 1."""
    return SEGMENT_ROWS
