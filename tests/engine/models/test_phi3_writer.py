"""The random Phi-3 of other tests: the published layout, and the same numbers in others."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from phi3_graph import OPTIMUM, PUBLISHED, Layout, data_file, graph_of
from phi3_model import genai_config, write_phi3
from phi3_weights import FULL, TOY, Shape, embedding, forward

from engine.models import catalog
from engine.runtime.session import Session

KNOWN = {file.path: file for file in catalog.find("phi-3-mini-4k-instruct").files}
GROUPED = replace(TOY, kv_heads=2, qkv_bias=True)
IDS = np.random.default_rng(1).integers(0, 32000, 40)


def logits_of(folder: Path, shape: Shape, layout: Layout) -> NDArray[np.float32]:
    """Logits of IDS, read in two parts by a loop that hands the whole cache over."""
    session = Session.open(folder / layout.filename, threads=1)
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_size), layout.float_type)
    cache = {name: empty for name in session.inputs if name.startswith("past")}
    parts: list[NDArray[np.float32]] = []
    for start, end in ((0, 27), (27, 40)):
        feeds = {
            "input_ids": IDS[None, start:end],
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(start, end)[None],
        }
        feeds = {name: array for name, array in feeds.items() if name in session.inputs} | cache
        logits, *present = session.run(feeds, list(session.outputs))
        cache = dict(zip(cache, present, strict=True))
        parts.append(logits[0])
    return np.concatenate(parts).astype(np.float32)


def test_the_full_size_graph_is_the_published_file_byte_for_byte() -> None:
    known = KNOWN[PUBLISHED.filename]
    model, weights = graph_of(FULL, PUBLISHED)
    written = model.SerializeToString()
    assert (len(written), hashlib.sha256(written).hexdigest()) == (known.size, known.sha256)
    assert sum(weight.nbytes for weight in weights) == KNOWN[data_file(PUBLISHED)].size
    assert (len(model.graph.node), len(weights)) == (363, 390)


def test_the_full_size_configuration_is_the_published_file_byte_for_byte() -> None:
    known = KNOWN["genai_config.json"]
    written = json.dumps(genai_config(FULL, PUBLISHED), indent=4).encode()
    assert (len(written), hashlib.sha256(written).hexdigest()) == (known.size, known.sha256)


def test_the_toy_on_disk_has_its_counts_and_its_bytes(tmp_path: Path) -> None:
    write_phi3(tmp_path)
    model = onnx.load(tmp_path / PUBLISHED.filename, load_external_data=False)
    assert (len(model.graph.node), len(model.graph.initializer)) == (33, 30)
    assert (tmp_path / data_file(PUBLISHED)).stat().st_size == 9_576_192
    whole = onnx.load(tmp_path / PUBLISHED.filename)
    stored = {tensor.name: tensor for tensor in whole.graph.initializer}
    table = onnx.numpy_helper.to_array(stored["model.embed_tokens.weight"])
    assert np.array_equal(table, embedding(TOY))


@pytest.mark.parametrize("shape", [TOY, GROUPED], ids=["toy", "grouped"])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(accuracy_level=None),
        Layout(bits=32),
        Layout(bits=32, packs_qkv=False),
        Layout(attention="gqa-positions", accuracy_level=None),
        Layout(attention="mha", accuracy_level=None),
        OPTIMUM,
    ],
    ids=["4 bit", "gqa", "separate", "positions", "mha", "optimum"],
)
def test_every_layout_computes_what_the_forward_pass_does(
    tmp_path: Path, shape: Shape, window: int | None, layout: Layout
) -> None:
    if layout.attention == "mha":
        shape = replace(shape, kv_heads=shape.heads)
    layout = replace(layout, graph_window=window)
    write_phi3(tmp_path, shape, layout)
    expected = forward(shape, IDS, range(40), window)
    assert np.abs(logits_of(tmp_path, shape, layout) - expected).max() < 2e-5
    assert expected.std() > 1


@pytest.mark.parametrize("attention", ["gqa", "mha", "optimum"])
def test_a_layout_in_16_bit_is_near_the_forward_pass(tmp_path: Path, attention: str) -> None:
    layout = Layout(attention=attention, bits=32, float_type=np.float16)  # type: ignore[arg-type]
    write_phi3(tmp_path, TOY, layout)
    assert np.abs(logits_of(tmp_path, TOY, layout) - forward(TOY, IDS, range(40))).max() < 0.05


def test_another_seed_is_another_model() -> None:
    other = forward(replace(TOY, seed=1), IDS, [39])
    assert np.abs(other - forward(TOY, IDS, [39])).max() > 1
