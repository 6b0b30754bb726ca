"""Random models in the layouts that are published, served through the decoder's front door.

Held against three others: an independent forward pass in 64 bit, the twin in optimum's layout, and
onnxruntime-genai on the same files; with prompts up to 3,000 tokens, with the window and without.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from phi3_graph import OPTIMUM, PUBLISHED, Layout, data_file
from phi3_model import write_phi3
from phi3_weights import TOY, Shape, forward, greedy

from engine.decode.decoder import Decoder, DecoderOptions, Piece
from engine.decode.sampling import SamplingParams
from engine.models.folder import read
from engine.models.spec import DecoderSpec
from engine.text.chat import ChatTemplate, Message
from engine.text.tokenizer import Tokenizer

CHILD = Path(__file__).parents[2] / "genai_child.py"
SHAPE = replace(TOY, layers=4, context=4096)
LENGTHS = (30, 700, 2047, 2048, 3000)
COUNT = 12
# Letters of the small tokenizer that it never joins.
LETTERS = list("abcdfgjklmopqrsuvwxyz")
LAYOUTS = {
    "float": Layout(bits=32),
    "4 bit": Layout(accuracy_level=1),
    "published": PUBLISHED,
}
"""The last one rounds activations to 8 bits, which moves its logits by up to 0.3."""

Serve = Callable[[str, int | None, bool], Decoder]


def ids_of(spec: DecoderSpec, messages: list[Message]) -> list[int]:
    tokenizer = Tokenizer.open(spec.tokenizer_file)
    template = ChatTemplate(spec.chat_template, tokenizer, spec.bos_token, spec.eos_token)
    return template.render_ids(messages)


def conversation(length: int) -> list[Message]:
    """One whose prompt has so many tokens."""
    letters = np.random.default_rng(length).choice(LETTERS, length - 4)
    return [Message("user", "".join(letters))]


def opened(folder: Path) -> Decoder:
    spec = read(folder)
    assert isinstance(spec, DecoderSpec)
    # Drafts would be checked in runs that round otherwise; see `test_exactness`.
    return Decoder.open(spec, DecoderOptions(threads=1, speculate=False))


def answered(decoder: Decoder, messages: list[Message], count: int = COUNT) -> list[Piece]:
    params = SamplingParams(max_tokens=count, min_tokens=count, logprobs=20)
    return [p for p in decoder.generate(messages, params) if p.token_id is not None]


def chosen(decoder: Decoder, messages: list[Message], count: int = COUNT) -> list[int | None]:
    return [piece.token_id for piece in answered(decoder, messages, count)]


def apart(piece: Piece, expected: NDArray[np.float64]) -> float:
    """How far the logits of the best 20 tokens are from others, but for what all share."""
    assert piece.logprob is not None
    probabilities = expected - expected.max()
    probabilities -= np.log(np.exp(probabilities).sum())
    assert len(piece.logprob.top) == 20
    return max(abs(logprob - probabilities[i]) for i, logprob in piece.logprob.top)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """The decoder of a layout with that window, or of its twin as optimum exports it."""

    @cache
    def served(name: str, window: int | None, is_twin: bool) -> Decoder:
        layout, shape = LAYOUTS[name], replace(SHAPE, window=window)
        if is_twin:  # Nothing can give it a window that it does not have.
            level = layout.accuracy_level
            layout = replace(OPTIMUM, bits=layout.bits, accuracy_level=level, graph_window=window)
            shape = replace(shape, window=None)
        folder = tmp_path_factory.mktemp("phi3")
        write_phi3(folder, shape, layout)
        return opened(folder)

    return served


@cache
def expected(ids: tuple[int, ...], window: int | None) -> NDArray[np.float64]:
    return forward(SHAPE, ids, [len(ids) - 1], window)[0]


@pytest.mark.parametrize("window", [None, 2047])
@pytest.mark.parametrize("length", LENGTHS)
def test_both_forms_compute_what_the_forward_pass_does(
    serve: Serve, window: int | None, length: int
) -> None:
    messages = conversation(length)
    ids = ids_of(serve("float", window, False).spec, messages)
    assert len(ids) == length
    logits = expected(tuple(ids), window)
    for is_twin in (False, True):
        decoder = serve("float", window, is_twin)
        assert decoder.context == 4096
        (piece,) = answered(decoder, messages, 1)
        assert piece.token_id == logits.argmax()
        assert apart(piece, logits) < 1e-4


@pytest.mark.parametrize("name", ["4 bit", "published"])
def test_weights_of_4_bits_compute_what_the_forward_pass_does(serve: Serve, name: str) -> None:
    decoder, messages = serve(name, 2047, False), conversation(2048)
    (piece,) = answered(decoder, messages, 1)
    logits = expected(tuple(ids_of(decoder.spec, messages)), 2047)
    assert apart(piece, logits) < {"4 bit": 1e-4, "published": 0.3}[name]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_window_makes_a_difference_from_its_first_token_beyond_it(
    serve: Serve, length: int
) -> None:
    pieces = [answered(serve("float", w, False), conversation(length), 1)[0] for w in (None, 2047)]
    assert (pieces[0].logprob != pieces[1].logprob) == (length > 2047)


@pytest.mark.parametrize("window", [None, 2047])
@pytest.mark.parametrize("name", ["float", "4 bit"])
def test_the_twin_in_optimums_layout_chooses_the_same_tokens(
    serve: Serve, name: str, window: int | None
) -> None:
    for length in LENGTHS:
        messages = conversation(length)
        published, twin = (chosen(serve(name, window, t), messages) for t in (False, True))
        assert published == twin, length


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_genai") is None, reason="needs onnxruntime-genai"
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_onnxruntime_genai_chooses_the_same_tokens_on_the_same_folder(
    serve: Serve, name: str
) -> None:
    """It knows no window that the graph does not have, so it is off here too."""
    decoder = serve(name, None, False)
    conversations = [conversation(length) for length in LENGTHS]
    prompts = [ids_of(decoder.spec, messages) for messages in conversations]
    command = [sys.executable, str(CHILD), str(decoder.spec.folder), str(COUNT)]
    said = subprocess.run(
        command, input=json.dumps(prompts), capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout) == [chosen(decoder, messages) for messages in conversations]


# Folders of other models

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "sliding_window": 20,
    "use_sliding_window": False,
}
GROUPED = replace(TOY, kv_heads=2, window=None)
BIASED = replace(GROUPED, qkv_bias=True)
EXACT = Layout(accuracy_level=1)
ONNX = replace(OPTIMUM, filename="model.onnx")


def write_family(folder: Path, shape: Shape, layout: Layout, said: dict[str, Any]) -> None:
    """A folder whose config.json says more; without genai_config.json its graph is in onnx/."""
    write_phi3(folder, shape, layout)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **said}))
    if not (folder / "genai_config.json").exists():
        (folder / "onnx").mkdir()
        for name in (layout.filename, data_file(layout)):
            (folder / name).rename(folder / "onnx" / name)


@pytest.mark.parametrize(
    ("shape", "layout", "said"),
    [
        (GROUPED, replace(EXACT, packs_qkv=False), LLAMA),
        (GROUPED, EXACT, LLAMA),
        (BIASED, replace(EXACT, packs_qkv=False), QWEN),
        (BIASED, replace(EXACT, attention="gqa-positions"), QWEN),
        (GROUPED, OPTIMUM, LLAMA),
        (BIASED, replace(OPTIMUM, bits=4, accuracy_level=1), QWEN),
        (replace(TOY, window=None), replace(EXACT, attention="mha"), {}),
        (replace(TOY, window=47), replace(EXACT, attention="gqa-positions"), {}),
    ],
    ids=[
        "Llama",
        "Llama, packed",
        "Qwen",
        "Qwen with positions",
        "Llama by optimum",
        "Qwen by optimum",
        "Phi-3 of 2024-05",
        "Phi-3 for DirectML",
    ],
)
def test_a_folder_of_any_served_family_answers_as_the_forward_pass_does(
    tmp_path: Path, shape: Shape, layout: Layout, said: dict[str, Any]
) -> None:
    write_family(tmp_path, shape, layout, said)
    decoder = opened(tmp_path)
    for length in (40, 90):
        messages = conversation(length)
        ids = ids_of(decoder.spec, messages)
        assert chosen(decoder, messages) == greedy(shape, ids, COUNT, shape.window)


@pytest.mark.parametrize("attention", ["gqa", "gqa-positions", "mha", "optimum"])
def test_a_folder_in_16_bits_answers_nearly_as_the_forward_pass_does(
    tmp_path: Path, attention: Any
) -> None:
    shape = replace(TOY, window=None)
    write_family(tmp_path, shape, replace(ONNX, attention=attention, float_type=np.float16), {})
    decoder, messages = opened(tmp_path), conversation(60)
    (piece,) = answered(decoder, messages, 1)
    logits = forward(shape, ids_of(decoder.spec, messages), [59])[0]
    assert apart(piece, logits) < 0.03
