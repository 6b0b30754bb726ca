"""Model folders, installed ones and users' own, whole, incomplete and hostile."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from phi3_graph import PUBLISHED, Attention, Layout
from phi3_model import write_phi3
from tiny_models import CHAT_TEMPLATE, write_decoder
from tiny_sources import install

from engine.errors import ModelBroken
from engine.models import folder
from engine.models.spec import DecoderSpec, EmbedderSpec, SlidingWindow, TensorNames

CONFIG = {"model_type": "bert", "hidden_size": 4, "max_position_embeddings": 32}


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def write_onnx(file: Path, location: str = "", *, value: float = 1) -> None:
    """A graph that adds a weight to its input; the weight lies at `location`, if given."""
    weight = numpy_helper.from_array(np.full(4, value, np.float32), "w")
    if location:
        entry = weight.external_data.add()
        entry.key, entry.value = "location", location
        weight.data_location = TensorProto.EXTERNAL
        weight.ClearField("raw_data")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(helper.make_model(graph).SerializeToString())


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A user's own embedder, as small as one can be."""
    own = tmp_path / "own-model"
    write_onnx(own / "model.onnx")
    write_json(own / "config.json", CONFIG)
    write_json(own / "tokenizer.json", {})
    write_json(own / "1_Pooling/config.json", {"pooling_mode_mean_tokens": True})
    return own


def embedder(place: Path) -> EmbedderSpec:
    spec = folder.read(place)
    assert isinstance(spec, EmbedderSpec)
    return spec


def decoder(place: Path) -> DecoderSpec:
    spec = folder.read(place)
    assert isinstance(spec, DecoderSpec)
    return spec


# Installed models


def test_an_installed_embedder_has_the_facts_it_was_installed_with(models_folder: Path):
    spec = folder.read_installed(install(models_folder, "all-minilm-l6-v2"))
    assert isinstance(spec, EmbedderSpec)
    assert (spec.model_id, spec.license, spec.source) == (
        "all-minilm-l6-v2",
        "MIT",
        "wheel tiny 1.0",
    )
    assert (spec.dimensions, spec.max_tokens, spec.pooling) == (4, 16, "mean")
    assert spec.query_prefix == "q: "


def test_an_installed_decoder_has_its_template_and_its_stop_tokens(models_folder: Path):
    spec = folder.read_installed(install(models_folder, "smollm2-135m-instruct", task="generate"))
    assert isinstance(spec, DecoderSpec)
    assert (spec.chat_template, spec.bos_token, spec.eos_token) == ("{{ messages }}", "<s>", "</s>")
    assert (spec.stop_token_ids, spec.max_tokens) == ((2, 7), 64)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_an_installed_model_without_one_of_its_files_is_broken(name: str, models_folder: Path):
    place = install(models_folder, "all-minilm-l6-v2")
    (place / name).unlink()
    with pytest.raises(
        ModelBroken, match=f"{name} .* missing; .* npu-gateway pull all-minilm-l6-v2"
    ):
        folder.read_installed(place)


def test_an_installed_model_with_a_cut_file_is_broken(models_folder: Path):
    place = install(models_folder, "all-minilm-l6-v2")
    (place / "model.onnx").write_bytes(b"cut")
    with pytest.raises(ModelBroken, match=r"model\.onnx .* has 3 bytes instead of"):
        folder.read_installed(place)


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 200_000, '{"format": 99}', '{"format": 1, "task": "sing"}']
)
def test_an_unreadable_record_is_broken(text: str, models_folder: Path):
    place = install(models_folder, "all-minilm-l6-v2")
    (place / "npu-gateway.json").write_text(text)
    with pytest.raises(ModelBroken, match="cannot be read; fetch it again"):
        folder.read_installed(place)


def test_reading_an_installed_model_needs_no_library_for_fetching_or_converting(
    models_folder: Path,
):
    place = install(models_folder, "all-minilm-l6-v2")
    script = (
        "import sys; from pathlib import Path; from engine.models import folder, installed; "
        "folder.read_installed(Path(sys.argv[1])); "
        "installed.choose('embed', Path(sys.argv[1]).parent, None); "
        "print([name for name in sys.argv[2:] if name in sys.modules])"
    )
    unwanted = ["onnx", "huggingface_hub", "gguf", "safetensors", "filelock", "onnxruntime"]
    command = [sys.executable, "-c", script, str(place), *unwanted]
    assert subprocess.check_output(command, text=True).strip() == "[]"


def test_vectors_of_another_weight_tokenizer_or_pooling_have_another_fingerprint(encoder: Path):
    seen = {embedder(encoder).fingerprint}
    write_json(encoder / "tokenizer.json", {"other": 1})
    seen.add(embedder(encoder).fingerprint)
    write_json(encoder / "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    seen.add(embedder(encoder).fingerprint)
    write_onnx(encoder / "model.onnx", value=2)
    seen.add(embedder(encoder).fingerprint)
    assert len(seen) == 4
    write_json(encoder / "config_sentence_transformers.json", {"prompts": {"query": "q: "}})
    assert embedder(encoder).fingerprint in seen


# A user's own embedder


def test_an_own_embedder_is_read_from_its_configuration(encoder: Path):
    write_json(encoder / "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    write_json(encoder / "sentence_bert_config.json", {"max_seq_length": 20})
    write_json(encoder / "config_sentence_transformers.json", {"prompts": {"query": "query: "}})
    spec = embedder(encoder)
    assert (spec.model_id, spec.source, spec.license) == ("own-model", "own folder", "unknown")
    assert (spec.dimensions, spec.max_tokens, spec.pooling) == (4, 20, "cls")
    assert spec.query_prefix == "query: "


def test_an_own_embedder_that_says_no_more_has_no_prefix_and_all_its_positions(encoder: Path):
    spec = embedder(encoder)
    assert (spec.pooling, spec.query_prefix, spec.max_tokens) == ("mean", "", 32)


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"embedding_dimension": 4, "pooling_mode": "cls"}, "cls"),
        ({"embedding_dimension": 4, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_pooling_is_read_in_the_form_of_every_sentence_transformers(
    said: dict[str, object], pooling: str, encoder: Path
):
    write_json(encoder / "1_Pooling/config.json", said)
    assert embedder(encoder).pooling == pooling


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"pooling_mode": "lasttoken"}, "asks for lasttoken; served are cls or mean"),
        ({"pooling_mode": ["cls", "max"]}, "asks for cls and max"),
        ({"pooling_mode": None}, "asks for None"),
        ({"pooling_mode_lasttoken": True}, "asks for pooling_mode_lasttoken"),
        ({"embedding_dimension": 4}, "asks for no pooling_mode"),
    ],
)
def test_pooling_that_is_not_served_is_named(said: dict[str, object], named: str, encoder: Path):
    write_json(encoder / "1_Pooling/config.json", said)
    with pytest.raises(ModelBroken, match=named):
        folder.read(encoder)


def test_an_embedder_that_does_not_say_its_pooling_is_refused_with_the_file_to_add(encoder: Path):
    (encoder / "1_Pooling/config.json").unlink()
    with pytest.raises(ModelBroken, match=r'1_Pooling/config\.json is missing .*"cls"'):
        folder.read(encoder)


@pytest.mark.parametrize(
    "said",
    [
        {"prompts": {"query": "q: ", "document": "d: "}},
        {"prompts": {"query": "q: ", "passage": "p: "}},
        {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
        {"prompts": ["q: "]},
    ],
)
def test_a_prompt_that_would_change_documents_is_refused(said: object, encoder: Path):
    write_json(encoder / "config_sentence_transformers.json", said)
    with pytest.raises(ModelBroken, match=r"config_sentence_transformers\.json in own-model"):
        folder.read(encoder)


@pytest.mark.parametrize(
    "said",
    [
        {"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": None},
        {"prompts": {"query": "q: ", "document": "", "other": "o"}, "default_prompt_name": "query"},
        {"prompts": {"query": "q: ", "document": None}},
    ],
)
def test_an_empty_prompt_for_documents_changes_nothing(said: object, encoder: Path):
    write_json(encoder / "config_sentence_transformers.json", said)
    assert embedder(encoder).query_prefix == "q: "


def test_a_prompt_that_pooling_would_leave_out_is_refused(encoder: Path):
    pooled = {"pooling_mode": "mean", "include_prompt": False}
    write_json(encoder / "1_Pooling/config.json", pooled)
    assert embedder(encoder).query_prefix == ""
    write_json(encoder / "config_sentence_transformers.json", {"prompts": {"query": "q: "}})
    with pytest.raises(ModelBroken, match="leaves prompts out of the pooling"):
        folder.read(encoder)


def test_roberta_like_models_take_two_tokens_less_than_they_have_positions(encoder: Path):
    write_json(encoder / "config.json", {**CONFIG, "model_type": "roberta"})
    assert embedder(encoder).max_tokens == 30


def test_a_text_never_gets_more_tokens_than_there_are_positions(encoder: Path):
    write_json(encoder / "sentence_bert_config.json", {"max_seq_length": 512})
    assert embedder(encoder).max_tokens == 32


def test_the_graph_may_lie_in_a_folder_called_onnx(encoder: Path):
    (encoder / "onnx").mkdir()
    (encoder / "model.onnx").rename(encoder / "onnx/model.onnx")
    assert embedder(encoder).onnx_file == encoder / "onnx/model.onnx"


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.onnx"])
def test_a_missing_file_is_named(name: str, encoder: Path):
    (encoder / name).unlink()
    with pytest.raises(ModelBroken, match=name):
        folder.read(encoder)


def test_what_is_no_folder_is_said_to_be_none(tmp_path: Path):
    with pytest.raises(ModelBroken, match="is not a folder"):
        folder.read(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"not a model", b"<!DOCTYPE html>" * 50])
def test_a_graph_that_is_not_onnx_is_refused(content: bytes, encoder: Path):
    (encoder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelBroken, match=r"model\.onnx"):
        folder.read(encoder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", '{"hidden_size": "4", "max_position_embeddings": 32}'),
        ("config.json", '{"hidden_size": 4}'),
        ("modules.json", '[{"type": "sentence_transformers.models.Dense"}]'),
        ("modules.json", "{}{"),
        ("1_Pooling/config.json", '{"pooling_mode_lasttoken": true}'),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}',
        ),
    ],
)
def test_what_the_configuration_leaves_open_is_refused_and_not_guessed(
    name: str, text: str, encoder: Path
):
    (encoder / name).parent.mkdir(exist_ok=True)
    (encoder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelBroken, match="own-model"):
        folder.read(encoder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[" * 200_000),
        (
            "config.json",
            '{"model_type": ["bert"], "hidden_size": 4, "max_position_embeddings": 32}',
        ),
        ("config.json", '{"model_type": "\\ud800"}'),
        ("modules.json", "[" * 200_000),
        ("modules.json", "1"),
    ],
    ids=["nested", "listed type", "half a character", "nested modules", "modules that are none"],
)
def test_a_hostile_file_of_an_embedder_is_named(name: str, text: str, encoder: Path):
    (encoder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelBroken, match=name):
        folder.read(encoder)


# External data


def test_weights_beside_the_graph_are_accepted_and_part_of_the_fingerprint(encoder: Path):
    write_onnx(encoder / "model.onnx", "model.onnx.data")
    (encoder / "model.onnx.data").write_bytes(np.ones(4, np.float32).tobytes())
    first = embedder(encoder).fingerprint
    (encoder / "model.onnx.data").write_bytes(np.zeros(4, np.float32).tobytes())
    assert embedder(encoder).fingerprint != first


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret",
        "a/../../secret",
        "..\\secret",
        "sub\\secret",
        "C:secret",
        "C:\\secret",
        "c:/secret",
        "\\\\server\\share\\secret",
        "//server/share/secret",
        "model.onnx:stream",
        "secret\0.data",
        "",
        ".",
        "missing.data",
    ],
)
def test_weights_that_may_lie_elsewhere_are_refused(location: str, encoder: Path):
    (encoder.parent / "secret").write_bytes(bytes(16))
    write_onnx(encoder / "model.onnx", location or "x")
    if not location:
        model = onnx.load(encoder / "model.onnx", load_external_data=False)
        model.graph.initializer[0].external_data[0].value = ""
        (encoder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelBroken):
        folder.read(encoder)


def test_weights_behind_a_link_out_of_the_folder_are_refused(encoder: Path):
    (encoder.parent / "secret").write_bytes(bytes(16))
    try:
        (encoder / "model.onnx.data").symlink_to(encoder.parent / "secret")
    except OSError:
        pytest.skip("needs macOS, Linux or Windows with links allowed")
    write_onnx(encoder / "model.onnx", "model.onnx.data")
    with pytest.raises(ModelBroken, match="a link that leads outside the folder"):
        folder.read(encoder)


def test_weights_that_are_a_link_to_themselves_are_refused(encoder: Path):
    try:
        (encoder / "model.onnx.data").symlink_to("model.onnx.data")
    except OSError:
        pytest.skip("needs macOS, Linux or Windows with links allowed")
    write_onnx(encoder / "model.onnx", "model.onnx.data")
    with pytest.raises(ModelBroken, match="own-model"):
        folder.read(encoder)


def test_weights_that_are_a_hard_link_are_refused(encoder: Path):
    (encoder.parent / "secret").write_bytes(bytes(16))
    os.link(encoder.parent / "secret", encoder / "model.onnx.data")
    write_onnx(encoder / "model.onnx", "model.onnx.data")
    with pytest.raises(ModelBroken, match="a hard link"):
        folder.read(encoder)


def test_a_graph_named_outside_the_folder_is_refused(tmp_path: Path):
    place = tmp_path / "own-decoder"
    write_decoder(place)
    (place / "model.onnx").rename(tmp_path / "model.onnx")
    write_json(place / "genai_config.json", {"model": {"decoder": {"filename": "../model.onnx"}}})
    with pytest.raises(ModelBroken, match="may lead outside the folder"):
        folder.read(place)


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_a_graph_behind_a_link_out_of_the_folder_is_refused(place: str, encoder: Path):
    (encoder / "model.onnx").rename(encoder.parent / "elsewhere.onnx")
    (encoder / place).parent.mkdir(exist_ok=True)
    try:
        (encoder / place).symlink_to(encoder.parent / "elsewhere.onnx")
    except OSError:
        pytest.skip("needs macOS, Linux or Windows with links allowed")
    with pytest.raises(ModelBroken, match=f"'{place}', which is a link that leads outside"):
        folder.read(encoder)


@pytest.mark.parametrize("name", ["a" * 300, "\ud800.onnx", "no-such.onnx"])
def test_a_graph_named_so_that_it_cannot_be_there_is_refused(name: str, tmp_path: Path):
    write_decoder(tmp_path / "d")
    write_json(tmp_path / "d/genai_config.json", {"model": {"decoder": {"filename": name}}})
    with pytest.raises(ModelBroken, match=r"genai_config\.json"):
        folder.read(tmp_path / "d")


@pytest.mark.parametrize(
    "location", ["*/_ORT_MEM_ADDR_/*", "*/_ORT_NATIVE_ENDIAN_MEM_ADDR_/*", "a/*/b"]
)
def test_weights_at_an_address_in_memory_are_refused_though_a_file_has_that_name(
    location: str, encoder: Path
):
    write_onnx(encoder / "model.onnx", location)
    try:
        (encoder / location).parent.mkdir(parents=True)
        (encoder / location).write_bytes(bytes(16))
    except OSError:
        pytest.skip("needs POSIX: Windows allows no such file name")
    with pytest.raises(ModelBroken, match="no file name but a mark"):
        folder.read(encoder)


def test_weights_whose_name_no_file_can_have_are_refused(encoder: Path):
    write_onnx(encoder / "model.onnx", "a" * 300)
    with pytest.raises(ModelBroken, match="is no file name here"):
        folder.read(encoder)


# A user's own decoder


def test_an_own_decoder_is_read_from_its_configuration(tmp_path: Path):
    written = write_decoder(tmp_path / "own-decoder")
    assert decoder(tmp_path / "own-decoder") == written


def test_a_decoder_of_onnxruntime_genai_is_read_from_its_own_configuration(tmp_path: Path):
    place = tmp_path / "phi"
    write_decoder(place)
    (place / "config.json").unlink()
    (place / "model.onnx").rename(place / "phi.onnx")
    model = {"context_length": 99, "eos_token_id": [2, 5], "decoder": {"filename": "phi.onnx"}}
    write_json(place / "genai_config.json", {"model": model})
    spec = decoder(place)
    assert (spec.onnx_file, spec.max_tokens) == (place / "phi.onnx", 99)
    assert spec.stop_token_ids == (2, 5)


def own_phi3(place: Path, layout: Layout = PUBLISHED, **said: object) -> DecoderSpec:
    """A toy Phi-3 of two layers whose config.json says that too."""
    write_phi3(place, layout=layout)
    config = json.loads((place / "config.json").read_text())
    write_json(place / "config.json", {**config, **said})
    return decoder(place)


@pytest.mark.parametrize(
    ("said", "window"),
    [
        ({"sliding_window": None}, None),
        ({"sliding_window": 47}, SlidingWindow(size=47)),
        ({"sliding_window": 4096}, SlidingWindow(size=4096)),
        ({"sliding_window": 47, "use_sliding_window": True}, SlidingWindow(size=47)),
        ({"sliding_window": 47, "use_sliding_window": False}, None),
        ({"sliding_window": 47, "max_window_layers": 2}, None),
        ({"sliding_window": 47, "max_window_layers": 0}, SlidingWindow(size=47)),
        (
            {"sliding_window": 47, "max_window_layers": 1},
            SlidingWindow(size=47, layers=frozenset([1])),
        ),
        (
            {"sliding_window": 47, "layer_types": ["sliding_attention", "full_attention"]},
            SlidingWindow(size=47, layers=frozenset([0])),
        ),
        (
            {"sliding_window": 47, "layer_types": ["sliding_attention"] * 2},
            SlidingWindow(size=47),
        ),
        ({"sliding_window": 47, "layer_types": ["full_attention"] * 2}, None),
    ],
)
def test_a_decoder_has_the_sliding_window_it_was_trained_with(
    said: dict[str, object], window: SlidingWindow | None, tmp_path: Path
):
    spec = own_phi3(tmp_path / "d", **said)
    assert (spec.sliding_window, spec.max_tokens) == (window, 512)


@pytest.mark.parametrize("attention", ["mha", "optimum"])
@pytest.mark.parametrize(("window", "max_tokens"), [(47, 47), (4096, 512), (None, 512)])
def test_a_graph_with_no_place_for_the_window_is_served_up_to_it(
    attention: Attention, window: int | None, max_tokens: int, tmp_path: Path
):
    layout = Layout(attention=attention, filename="model.onnx")
    assert own_phi3(tmp_path / "d", layout, sliding_window=window).max_tokens == max_tokens


@pytest.mark.parametrize("place", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_decoder_with_two_rotary_caches_is_served_up_to_where_they_change(
    place: str, inside: bool, tmp_path: Path
):
    """As Phi-3.5 and the 128k models of Phi-3 have them."""
    original = {"original_max_position_embeddings": 64}
    scaling = {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}
    said = {place: {**scaling, **original}} if inside else {place: scaling, **original}
    spec = own_phi3(tmp_path / "d", **{"rope_scaling": None, **said})
    assert (spec.max_tokens, spec.sliding_window) == (64, SlidingWindow(size=2047))


def test_two_rotary_caches_and_no_word_of_where_they_change_are_refused(tmp_path: Path):
    said = {"rope_scaling": {"long_factor": [1.0]}, "original_max_position_embeddings": None}
    with pytest.raises(ModelBroken, match="does not say original_max_position_embeddings"):
        own_phi3(tmp_path / "d", **said)


def test_an_own_decoder_says_the_size_of_its_weights_and_that_it_is_not_converted(tmp_path: Path):
    spec = own_phi3(tmp_path / "d")
    assert spec.weight_bytes == 9_576_192 + spec.onnx_file.stat().st_size
    assert not spec.converted


def test_an_installed_decoder_says_the_size_of_its_weights_and_who_made_its_graph(
    models_folder: Path,
):
    place = install(models_folder, "smollm2-135m-instruct", task="generate")
    spec = folder.read_installed(place)
    assert isinstance(spec, DecoderSpec)
    assert (spec.weight_bytes, spec.converted) == ((place / "model.onnx").stat().st_size, False)
    record = json.loads((place / "npu-gateway.json").read_text())
    write_json(place / "npu-gateway.json", {**record, "converter": "gguf by npu-gateway 1"})
    converted = folder.read_installed(place)
    assert isinstance(converted, DecoderSpec)
    assert converted == replace(spec, converted=True)


def _described(place: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A toy Phi-3 whose genai_config.json is changed."""
    write_phi3(place)
    said = json.loads((place / "genai_config.json").read_text())
    change(said["model"])
    write_json(place / "genai_config.json", said)
    return place


def test_a_decoders_tensors_have_the_names_that_genai_gives_them(tmp_path: Path):
    def rename(model: dict[str, Any]) -> None:
        model["decoder"]["inputs"] = {"input_ids": "ids", "past_key_names": "k_%d", "other": "o"}
        model["decoder"]["outputs"] = {"logits": "scores", "present_value_names": "v_%d", "x": 3}

    spec = decoder(_described(tmp_path / "d", rename))
    expected = TensorNames(input_ids="ids", past_key="k_%d", logits="scores", present_value="v_%d")
    assert spec.tensors == expected
    assert own_phi3(tmp_path / "e").tensors == TensorNames()


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"vision": {"filename": "vision.onnx"}}, "vision"),
        ({"encoder": {"filename": "e.onnx"}, "speech": {"filename": "s.onnx"}}, "encoder, speech"),
        ({"embedding": {"filename": "embedding.onnx"}}, "embedding"),
    ],
)
def test_a_model_of_several_graphs_is_refused_with_its_parts(
    said: dict[str, object], part: str, tmp_path: Path
):
    place = _described(tmp_path / "d", lambda model: model.update(said))
    with pytest.raises(ModelBroken, match=rf"several graphs \({part}\).*one graph"):
        folder.read(place)


def test_a_decoder_in_several_stages_is_refused(tmp_path: Path):
    stages = [{"context": {"filename": "c.onnx"}, "iterator": {"filename": "i.onnx"}}]
    place = _described(tmp_path / "d", lambda model: model["decoder"].update(pipeline=stages))
    with pytest.raises(ModelBroken, match=r"several graphs \(pipeline\)"):
        folder.read(place)


def test_an_encoder_decoder_model_is_refused(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"several graphs \(encoder\)"):
        own_phi3(tmp_path / "d", is_encoder_decoder=True)


def test_an_architecture_made_to_generate_is_a_decoder_whatever_its_type(tmp_path: Path):
    write_decoder(tmp_path / "d")
    config = json.loads((tmp_path / "d/config.json").read_text())
    new = {**config, "model_type": "brand_new", "architectures": ["BrandNewForCausalLM"]}
    write_json(tmp_path / "d/config.json", new)
    assert decoder(tmp_path / "d").max_tokens == 512


def test_generation_config_decides_what_stops_a_decoder(tmp_path: Path):
    write_decoder(tmp_path / "d")
    write_json(tmp_path / "d/generation_config.json", {"eos_token_id": [7, 8]})
    assert decoder(tmp_path / "d").stop_token_ids == (7, 8)


@pytest.mark.parametrize("template", ["", CHAT_TEMPLATE])
def test_a_decoder_without_its_tokenizer_configuration_is_refused_by_that_name(
    template: str, tmp_path: Path
):
    write_decoder(tmp_path / "d")
    (tmp_path / "d/tokenizer_config.json").unlink()
    if template:
        (tmp_path / "d/chat_template.jinja").write_text(template, encoding="utf-8")
    with pytest.raises(ModelBroken, match=r"tokenizer_config\.json is missing"):
        folder.read(tmp_path / "d")


def test_a_chat_template_may_have_its_own_file_or_several_names(tmp_path: Path):
    write_decoder(tmp_path / "d")
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    write_json(
        tmp_path / "d/tokenizer_config.json",
        {"chat_template": named, "bos_token": {"content": "<s>"}, "eos_token": None},
    )
    spec = decoder(tmp_path / "d")
    assert (spec.chat_template, spec.bos_token, spec.eos_token) == ("D", "<s>", "")
    (tmp_path / "d/chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    assert decoder(tmp_path / "d").chat_template == CHAT_TEMPLATE


def test_a_decoder_that_cannot_chat_or_could_never_stop_is_refused(tmp_path: Path):
    write_decoder(tmp_path / "d")
    config = json.loads((tmp_path / "d/config.json").read_text())
    write_json(tmp_path / "d/config.json", {**config, "eos_token_id": None})
    with pytest.raises(ModelBroken, match="eos_token_id"):
        folder.read(tmp_path / "d")
    write_json(tmp_path / "d/config.json", config)
    write_json(tmp_path / "d/tokenizer_config.json", {})
    with pytest.raises(ModelBroken, match="instruction-tuned"):
        folder.read(tmp_path / "d")


@pytest.mark.parametrize(
    "template",
    [["{{ messages }}"], [{"name": "tool_use", "template": "T"}], [{"name": ["default"]}], {}, 7],
)
def test_a_chat_template_of_no_known_form_is_refused(template: object, tmp_path: Path):
    write_decoder(tmp_path / "d")
    write_json(tmp_path / "d/tokenizer_config.json", {"chat_template": template})
    with pytest.raises(ModelBroken, match=r"tokenizer_config\.json in d has no chat_template"):
        folder.read(tmp_path / "d")


def test_a_chat_template_that_is_no_utf_8_is_refused(tmp_path: Path):
    write_decoder(tmp_path / "d")
    (tmp_path / "d/chat_template.jinja").write_bytes("{{ 'é' }}".encode("latin-1"))
    with pytest.raises(ModelBroken, match=r"chat_template\.jinja in d is not readable text"):
        folder.read(tmp_path / "d")


@pytest.mark.parametrize("said", [-1, [2, -1], "</s>", True, [[2]]])
@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_a_stop_token_that_is_no_token_id_is_refused(name: str, said: object, tmp_path: Path):
    write_decoder(tmp_path / "d")
    config = json.loads((tmp_path / "d/config.json").read_text())
    write_json(tmp_path / "d" / name, {**config, "eos_token_id": said})
    with pytest.raises(ModelBroken, match=f"{name} in d has an eos_token_id that is no token id"):
        folder.read(tmp_path / "d")
