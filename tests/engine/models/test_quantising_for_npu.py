"""A model for NPUs has 8-bit weights and 16-bit codes, and all of it runs on one."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_folders import write_folder
from encoder_models import EncoderForm, write_fused

from engine.embed.embedder import Embedder, EmbedderOptions
from engine.embed.encoder import Encoder
from engine.embed.proving import LEAST_COSINE
from engine.errors import ModelBroken
from engine.models import catalog, folder, quantising_for_npu
from engine.models.converters import a16w8_from_safetensors
from engine.models.graph import GraphEditor, GraphWriter
from engine.models.spec import EmbedderSpec
from engine.runtime.npu import EncoderFile, Npu
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import Absence, find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket
from engine.text.tokenizer import Tokenizer

TEXTS = [
    "Where do storks spend the winter?",
    "ok",
    "def main() -> None:\n    print(sum(range(10)))",
    "Zinc deficiency impairs the immune system (p < 0.05, n = 1,204).",
    "Die Störche fliegen im Herbst nach Süden. 鸛は冬を南で過ごす。",
    " ".join(f"item {number}" for number in range(150)),
]
SIMULATOR = NpuOptions(simulator=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> EmbedderSpec:
    """A small encoder as it is without codes."""
    return _spec(write_folder(tmp_path_factory.mktemp("plain"), EncoderForm()))


@pytest.fixture(scope="module")
def coded(plain: EmbedderSpec, tmp_path_factory: pytest.TempPathFactory) -> EmbedderSpec:
    """The same with codes."""
    place = tmp_path_factory.mktemp("coded")
    texts = [
        np.random.default_rng(0).integers(4, 300, shape, np.int32) for shape in ((4, 3), (4, 32))
    ]
    spec = _spec(write_folder(place, EncoderForm()))
    quantising_for_npu.write_a16w8(plain.onnx_file, spec.onnx_file, texts, 64)
    return replace(_spec(place), has_codes=True)


def _spec(place: Path) -> EmbedderSpec:
    spec = folder.read(place)
    assert isinstance(spec, EmbedderSpec)
    return spec


def _vectors(spec: EmbedderSpec, texts: list[list[int]], *, without_codes: bool) -> np.ndarray:
    encoder = Encoder(spec, Session.open(spec.onnx_file, threads=1, without_codes=without_codes), 0)
    return np.concatenate([encoder.run([text], Bucket(1, len(text))) for text in texts])


def _drawn(tokens: int) -> list[int]:
    return np.random.default_rng(tokens).integers(4, 300, tokens).tolist()


@pytest.mark.parametrize("without_codes", [True, False])
def test_texts_of_any_length_are_near_those_in_floats(
    plain: EmbedderSpec, coded: EmbedderSpec, *, without_codes: bool
) -> None:
    texts = [_drawn(tokens) for tokens in (1, 2, 17, 33, 64)]
    ours = _vectors(coded, texts, without_codes=without_codes)
    theirs = _vectors(plain, texts, without_codes=False)
    assert (ours * theirs).sum(axis=1).min() >= 0.999


def test_a_text_has_the_same_vector_alone_and_beside_others(coded: EmbedderSpec) -> None:
    encoder = Encoder(coded, Session.open(coded.onnx_file, threads=1, without_codes=True), 0)
    texts = [_drawn(tokens) for tokens in (3, 20)]
    together = encoder.run(texts, Bucket(2, 24))
    alone = _vectors(coded, texts, without_codes=True)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_vectors_made_in_the_background_are_those_that_are_waited_for(coded: EmbedderSpec) -> None:
    embedder = Embedder.open(coded, EmbedderOptions(threads=2))
    with embedder.in_background() as embed_documents:
        made = embed_documents(TEXTS)
    waited_for = embedder.embed(TEXTS, "document").vectors
    np.testing.assert_allclose(made, waited_for, atol=1e-6)


def test_weights_have_8_bits_and_scores_have_no_codes(coded: EmbedderSpec) -> None:
    editor = GraphEditor(coded.onnx_file)
    constants = editor.constants()
    makers = {name: node for node in editor.nodes for name in node.outputs}
    products = [node for node in editor.nodes if node.operator == "MatMul"]
    weights = [
        constants[makers[node.inputs[1]].inputs[0]].dtype
        for node in products
        if makers[node.inputs[1]].inputs[0] in constants
    ]
    assert weights == [np.int8] * 4 * 2
    softmax = next(node for node in editor.nodes if node.operator == "Softmax")
    assert makers[softmax.inputs[0]].operator == "Add"


def test_its_vectors_share_no_index_with_others(plain: EmbedderSpec, coded: EmbedderSpec) -> None:
    assert coded.fingerprint != plain.fingerprint


def test_all_of_it_runs_on_the_simulator_with_the_cpus_vectors(
    coded: EmbedderSpec, tmp_path: Path
) -> None:
    _require_parity(coded, [_drawn(29), _drawn(3)], tmp_path)


def _require_parity(spec: EmbedderSpec, texts: list[list[int]], place: Path) -> None:
    device = find(SIMULATOR)
    if isinstance(device, Absence):
        pytest.skip(f"needs onnxruntime-qnn: {device.reason}")
    npu, bucket = Npu(device, SIMULATOR, ContextCache(place, 1 << 32)), Bucket(1, 32)
    opened = npu.open(EncoderFile(spec.onnx_file, spec.fingerprint), bucket)
    assert opened.session.assignment == {"htp-simulator": 1}
    assert opened.context.facts.unsupported == 0
    encoder = Encoder(spec, opened.session, 0)
    found = np.concatenate([encoder.run([text], bucket) for text in texts])
    right = _vectors(spec, texts, without_codes=True)
    assert (found * right).sum(axis=1).min() >= LEAST_COSINE


@pytest.mark.nightly
def test_the_real_one_is_near_float32_on_the_cpu_and_near_the_cpu_on_the_simulator(
    minilm_weights: Path, minilm_folder: Path, tmp_path: Path
) -> None:
    a16w8_from_safetensors.convert(minilm_weights, tmp_path)
    first = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).digest()
    a16w8_from_safetensors.convert(minilm_weights, tmp_path)
    assert hashlib.sha256((tmp_path / "model.onnx").read_bytes()).digest() == first
    coded, exact = replace(_spec(tmp_path), has_codes=True), folder.read_installed(minilm_folder)
    assert isinstance(exact, EmbedderSpec)
    ours, theirs = (Embedder.open(spec).embed(TEXTS, "document").vectors for spec in (coded, exact))
    assert (ours * theirs).sum(axis=1).min() >= 0.996
    tokenizer = Tokenizer.open(coded.tokenizer_file)
    rows = tokenizer.encode_batch(TEXTS, special_tokens=True)
    _require_parity(coded, [row[:32] for row in rows], tmp_path / "contexts")


def test_the_catalogue_makes_it_from_the_weights_of_the_default_embedder() -> None:
    known, default = catalog.find("all-minilm-l6-v2-a16w8"), catalog.to_fetch("embed", None)
    assert known.files == default.files
    assert known.facts == replace(default.facts, has_codes=True)
    assert catalog.of_task("embed")[-1] is known


def test_an_encoder_is_converted_without_a_tokenizer(tmp_path: Path) -> None:
    write_fused(tmp_path / "tiny", EncoderForm(layers=1))
    a16w8_from_safetensors.convert(tmp_path / "tiny" / "source", tmp_path / "made")
    assert "QuantizeLinear" in {
        node.operator for node in GraphEditor(tmp_path / "made" / "model.onnx").nodes
    }


def test_a_graph_without_weights_is_refused(tmp_path: Path) -> None:
    with GraphWriter(tmp_path / "model.onnx") as graph:
        ids = graph.input("input_ids", np.int64, ["rows", "tokens"])
        table = graph.constant("table", np.ones((40, 8), np.float32))
        graph.node("Gather", [table, ids], ["last_hidden_state"])
        graph.output("last_hidden_state", np.float32, ["rows", "tokens", 8])
    with pytest.raises(ModelBroken, match=re.escape("model.onnx has no products with weights")):
        quantising_for_npu.write_a16w8(
            tmp_path / "model.onnx", tmp_path / "a16w8.onnx", [np.ones((1, 4), np.int32)], 4
        )
    assert not (tmp_path / "a16w8.onnx").exists()
