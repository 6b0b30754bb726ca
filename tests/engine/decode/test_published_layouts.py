"""A random Phi-3 as published, with prompts up to 3,000 tokens, held against three others.

An independent forward pass in 64 bit, its twin in optimum's layout, and onnxruntime-genai on the
same file.
"""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from graph_loop import greedy, logits_of
from numpy.typing import NDArray
from phi3_graph import OPTIMUM, PUBLISHED, Layout
from phi3_model import write_phi3
from phi3_weights import TOY, forward

from engine.models.folder import read
from engine.models.spec import DecoderSpec
from engine.models.surgery import Surgery, prepare
from engine.runtime.session import Session

CHILD = Path(__file__).parents[2] / "genai_child.py"
SHAPE = replace(TOY, layers=4, context=4096)
IDS = [int(i) for i in np.random.default_rng(5).integers(0, 32000, 3000)]
LENGTHS = (5, 700, 2047, 2048, 2500, 3000)
FLOAT = Layout(accuracy_level=None)
LAYOUTS = {"float": FLOAT, "published": PUBLISHED}
WINDOWS = {None: Surgery(window=False, accuracy_level=None), 2047: Surgery(accuracy_level=None)}


@pytest.fixture(scope="module", params=LAYOUTS)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, DecoderSpec]:
    """A folder as a user has it: with activations in full precision, and as published."""
    folder = tmp_path_factory.mktemp(request.param)
    write_phi3(folder, SHAPE, LAYOUTS[request.param])
    spec = read(folder)
    assert isinstance(spec, DecoderSpec)
    return request.param, spec


@pytest.fixture(scope="module", params=WINDOWS)
def twin(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int | None, Session, Session]:
    """A window, the float model with it, and the same model as optimum exports it with it."""
    sessions: list[Session] = []
    for layout in (FLOAT, replace(OPTIMUM, graph_window=request.param)):
        folder = tmp_path_factory.mktemp("twin")
        write_phi3(folder, SHAPE, layout)
        spec = replace(read(folder), max_tokens=SHAPE.context)
        assert isinstance(spec, DecoderSpec)
        sessions.append(opened(spec, request.param))
    return request.param, *sessions


@cache
def expected(window: int | None) -> NDArray[np.float64]:
    """Logits after each of LENGTHS: a token does not see what follows it."""
    return forward(SHAPE, IDS, [length - 1 for length in LENGTHS], window)


def opened(spec: DecoderSpec, window: int | None) -> Session:
    return Session.open(spec.onnx_file, graph=prepare(spec, WINDOWS[window]).content)


def ends_of(length: int) -> list[int]:
    """Where parts of 500 tokens end."""
    return [*range(500, length - 1, 500), length]


@pytest.mark.parametrize("window", WINDOWS)
def test_the_published_graph_computes_what_the_forward_pass_does(
    published: tuple[str, DecoderSpec], window: int | None
) -> None:
    """The published file asks for activations rounded to 8 bits: logits are then 0.2 off."""
    name, spec = published
    session, tolerance = opened(spec, window), {"float": 1e-4, "published": 0.3}[name]
    for length, row in zip(LENGTHS, expected(window), strict=True):
        logits = logits_of(session, IDS[:length], ends=ends_of(length), rows=[-1])[-1]
        assert np.abs(logits - row).max() < tolerance, length


def test_the_window_makes_a_difference_from_its_first_token_beyond_it() -> None:
    apart = np.abs(expected(None) - expected(2047)).max(axis=1)
    assert [bool(difference > 1e-3) for difference in apart] == [False] * 3 + [True] * 3


def test_the_published_folder_is_served_with_its_window_and_its_whole_context(
    published: tuple[str, DecoderSpec],
) -> None:
    _, spec = published
    assert (spec.max_tokens, spec.sliding_window) == (4096, read(spec.folder).sliding_window)
    default = Session.open(spec.onnx_file, graph=prepare(spec).content)
    logits = logits_of(default, IDS, ends=ends_of(3000), rows=[-1])[-1]
    assert np.abs(logits - expected(2047)[-1]).max() < 0.3


def test_the_twin_in_optimums_layout_answers_alike(
    twin: tuple[int | None, Session, Session],
) -> None:
    window, published, optimum = twin
    for length, row in zip(LENGTHS, expected(window), strict=True):
        ids, ends = IDS[:length], ends_of(length)
        logits = logits_of(optimum, ids, ends=ends, rows=[-1])[-1]
        assert np.abs(logits - row).max() < 1e-4, length
        if length in (5, 2500):
            assert greedy(published, ids, 12, ends=ends) == greedy(optimum, ids, 12, ends=ends)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_genai") is None, reason="needs onnxruntime-genai"
)
def test_onnxruntime_genai_chooses_the_same_tokens_on_the_same_file(
    published: tuple[str, DecoderSpec],
) -> None:
    """It knows no window that the graph does not have, so it is off here too."""
    _, spec = published
    prompts = [IDS[:length] for length in LENGTHS]
    command = [sys.executable, str(CHILD), str(spec.folder), "12"]
    said = subprocess.run(
        command, input=json.dumps(prompts), capture_output=True, text=True, check=True
    )
    session = opened(spec, None)
    for prompt, chosen in zip(prompts, json.loads(said.stdout), strict=True):
        ends = ends_of(len(prompt))
        assert greedy(session, prompt, 12, ends=ends) == chosen, len(prompt)
