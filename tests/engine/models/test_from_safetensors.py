"""A converted BERT encoder computes what its weights say, checked by a forward pass in numpy."""

import hashlib
import json
import shutil
from math import erf
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.errors import ModelBroken
from engine.models.converters import from_safetensors
from engine.runtime.session import Session

TINY = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 50,
}


def tiny_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    hidden, inner = TINY["hidden_size"], TINY["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (TINY["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (TINY["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (TINY["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(TINY["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        dense = {f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        dense["attention.output.dense"] = (hidden, hidden)
        dense["intermediate.dense"] = (inner, hidden)
        dense["output.dense"] = (hidden, inner)
        for part, shape in dense.items():
            shapes[f"{name}.{part}.weight"] = shape
            shapes[f"{name}.{part}.bias"] = shape[:1]
        for part in ("attention.output", "output"):
            shapes[f"{name}.{part}.LayerNorm.weight"] = (hidden,)
            shapes[f"{name}.{part}.LayerNorm.bias"] = (hidden,)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write_folder(folder: Path, config: dict, weights: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture
def tiny_folder(tmp_path) -> Path:
    return write_folder(tmp_path / "tiny", TINY, tiny_weights(np.random.default_rng(1)))


@pytest.fixture(scope="module")
def converted_folder(minilm_weights, tmp_path_factory) -> Path:
    """Converted here and now, not taken from a cache that an older converter filled."""
    folder = tmp_path_factory.mktemp("minilm")
    from_safetensors.convert(minilm_weights, folder)
    return folder


def normalised(x, weights, name, epsilon):
    spread = np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return (x - x.mean(-1, keepdims=True)) / spread * weights[f"{name}.LayerNorm.weight"] + weights[
        f"{name}.LayerNorm.bias"
    ]


def dense(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attention(x, weights, name, heads):
    def split(part):
        return dense(x, weights, f"{name}.self.{part}").reshape(len(x), heads, -1).swapaxes(0, 1)

    query, key, value = map(split, ("query", "key", "value"))
    scores = query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1])
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ value).swapaxes(0, 1).reshape(x.shape)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def forward(folder: Path, ids: list[int]) -> np.ndarray:
    """BERT in float64, one text, from the published weights."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    stored = load_file(folder / "model.safetensors")
    weights = {name: array.astype(np.float64) for name, array in stored.items()}
    epsilon = config["layer_norm_eps"]
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = normalised(x, weights, "embeddings", epsilon)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        attended = attention(x, weights, f"{name}.attention", config["num_attention_heads"])
        attended = dense(attended, weights, f"{name}.attention.output.dense")
        x = normalised(x + attended, weights, f"{name}.attention.output", epsilon)
        inner = gelu(dense(x, weights, f"{name}.intermediate.dense"))
        inner = dense(inner, weights, f"{name}.output.dense")
        x = normalised(x + inner, weights, f"{name}.output", epsilon)
    return x


def states(folder: Path, rows: list[list[int]]) -> np.ndarray:
    """The converted graph's states for rows padded to the longest."""
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)
    session = Session.open(folder / "model.onnx", threads=2)
    feeds = {"input_ids": ids, "attention_mask": mask}
    return session.run(feeds, ["last_hidden_state"])[0]


# "the weather is lovely today." and a longer row of arbitrary words, as token ids.
SHORT = [101, 1996, 4633, 2003, 8403, 2651, 1012, 102]
LONG = [101, *range(2000, 2040), 102]


def test_states_equal_a_forward_pass_in_numpy_within_1e_4(converted_folder, minilm_weights):
    """Measured on x86-64: 2e-6 at most."""
    for row in (SHORT, LONG):
        (found,) = states(converted_folder, [row])
        np.testing.assert_allclose(found, forward(minilm_weights, row), atol=1e-4, rtol=0)


def test_a_padded_row_equals_the_text_alone_within_1e_5(converted_folder):
    (alone,) = states(converted_folder, [SHORT])
    padded = states(converted_folder, [LONG, SHORT, [101, 102]])
    np.testing.assert_allclose(padded[1, : len(SHORT)], alone, atol=1e-5, rtol=0)


def test_the_files_beside_the_weights_come_along(converted_folder, minilm_weights):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json"):
        assert (converted_folder / name).read_bytes() == (minilm_weights / name).read_bytes()


def test_any_bert_shape_is_converted(tiny_folder, tmp_path):
    from_safetensors.convert(tiny_folder, tmp_path / "out")
    row = [7, 3, 49, 3, 0, 12]
    (found,) = states(tmp_path / "out", [row])
    np.testing.assert_allclose(found, forward(tiny_folder, row), atol=1e-4, rtol=0)


def test_half_precision_weights_are_converted(tiny_folder, tmp_path):
    weights = load_file(tiny_folder / "model.safetensors")
    halves = {name: array.astype(np.float16) for name, array in weights.items()}
    folder = write_folder(tmp_path / "halves", TINY, halves)
    from_safetensors.convert(folder, tmp_path / "out")
    (found,) = states(tmp_path / "out", [[1, 2, 3]])
    np.testing.assert_allclose(found, forward(folder, [1, 2, 3]), atol=1e-4, rtol=0)


def test_an_encoder_that_was_stored_as_a_part_of_a_larger_model_is_converted(tiny_folder, tmp_path):
    weights = load_file(tiny_folder / "model.safetensors")
    named = {f"bert.{name}": array for name, array in weights.items()}
    named["bert.embeddings.position_ids"] = np.arange(8)[None]
    folder = write_folder(tmp_path / "part", TINY, named)
    from_safetensors.convert(folder, tmp_path / "out")
    from_safetensors.convert(tiny_folder, tmp_path / "same")
    found, expected = ((tmp_path / name / "model.onnx").read_bytes() for name in ("out", "same"))
    assert found == expected


def test_converting_twice_gives_the_same_bytes(minilm_weights, tmp_path):
    hashes = []
    for name in ("first", "second"):
        from_safetensors.convert(minilm_weights, tmp_path / name)
        files = sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())
        hashes.append(
            {
                file.relative_to(tmp_path / name): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in files
            }
        )
    assert hashes[0] == hashes[1]
    assert Path("model.onnx") in hashes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "type 'roberta'; only BERT"),
        ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new'; only 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"hidden_size": "wide"}, r"config\.json of the weights cannot be used"),
        ({"hidden_size": 64}, r"should have a weight .* of shape \[50, 64\] but has \[50, 32\]"),
        ({"num_attention_heads": 5}, r"5 heads for 32 values"),
        ({"num_hidden_layers": 3}, r"weight encoder\.layer\.2\..* but has none"),
    ],
)
def test_what_is_not_such_an_encoder_is_refused(tiny_folder, tmp_path, change, message):
    (tiny_folder / "config.json").write_text(json.dumps(TINY | change), "utf-8")
    with pytest.raises(ModelBroken, match=message):
        from_safetensors.convert(tiny_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not safetensors at all"])
def test_a_damaged_weights_file_is_refused(tiny_folder, tmp_path, content):
    (tiny_folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelBroken, match=r"model\.safetensors cannot be read"):
        from_safetensors.convert(tiny_folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_needed_file_is_refused_by_its_name(tiny_folder, tmp_path, name):
    shutil.move(tiny_folder / name, tmp_path / "elsewhere")
    with pytest.raises(ModelBroken, match=name):
        from_safetensors.convert(tiny_folder, tmp_path / "out")
