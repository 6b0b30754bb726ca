"""Real MiniLM in every shape, and a model of BGE-small's depth in two, on the HTP simulator."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from encoder_folders import write_folder
from encoder_models import FULL_DEPTH

from engine.acceleration import CompiledEncoder
from engine.embed.encoder import Encoder
from engine.models import folder
from engine.models.spec import EmbedderSpec
from engine.runtime.npu import EncoderFile, Npu
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

SIMULATOR = NpuOptions(simulator=True)
MINILM, DEEP = "MiniLM", "BGE-small's shape"
LENGTHS = {MINILM: (32, 64, 128, 256), DEEP: (32, 128)}
SHAPES = [(name, tokens) for name, lengths in LENGTHS.items() for tokens in lengths]


@dataclass(frozen=True)
class OnBoth:
    """One model, opened on the CPU and by whoever compiles it."""

    spec: EmbedderSpec
    lengths: tuple[int, ...]
    cpu: Encoder
    compile: Callable[..., Npu]


@pytest.fixture(scope="module")
def device() -> Device:
    found = find(SIMULATOR)
    if isinstance(found, Absence):
        pytest.skip(f"needs onnxruntime-qnn: {found.reason}")
    return found


@pytest.fixture(scope="module", params=[MINILM, DEEP])
def model(request, device: Device, tmp_path_factory: pytest.TempPathFactory) -> OnBoth:
    if request.param == MINILM:
        spec = folder.read_installed(request.getfixturevalue("minilm_folder"))
    else:
        spec = folder.read(write_folder(tmp_path_factory.mktemp("deep"), FULL_DEPTH))
    assert isinstance(spec, EmbedderSpec)
    contexts = tmp_path_factory.getbasetemp() / request.param  # The fixture is made more than once.
    return OnBoth(
        spec,
        LENGTHS[request.param],
        Encoder(spec, Session.open(spec.onnx_file), 0),
        partial(Npu, device, SIMULATOR, ContextCache(contexts, 1 << 32)),
    )


def rows(tokens: int) -> list[list[int]]:
    drawn = np.random.default_rng(tokens).integers(4, 300, tokens)
    return [drawn.tolist()]


@pytest.mark.parametrize(("model", "tokens"), SHAPES, indirect=["model"])
def test_every_node_runs_there_and_every_vector_is_the_cpus(model: OnBoth, tokens: int) -> None:
    bucket = Bucket(1, tokens)
    opened = model.compile().open(EncoderFile(model.spec.onnx_file, "model"), bucket)
    assert opened.session.assignment == {"htp-simulator": 1}  # The whole graph is one context,
    assert opened.context.facts.nodes > 100  # and this many nodes were compiled into it.
    given = rows(tokens - 3)
    found = Encoder(model.spec, opened.session, 0).run(given, bucket)
    right = model.cpu.run(given, Bucket(1, tokens - 3))
    assert float((found * right).sum(axis=1).min()) >= 0.9995


def test_all_shapes_open_eight_times_as_fast_at_the_next_start(model: OnBoth) -> None:
    """The next start has no compiler; the time of the first is what is kept beside the contexts."""
    file = EncoderFile(model.spec.onnx_file, "model")
    shapes = [Bucket(1, tokens) for tokens in model.lengths]
    first = [model.compile().open(file, shape).context.facts.seconds for shape in shapes]
    npu = model.compile(program=["no-compiler"])
    started = time.perf_counter()
    assert all(npu.open(file, shape).session.provider == npu.provider for shape in shapes)
    assert (time.perf_counter() - started) * 8 <= sum(first)


def test_the_shapes_that_are_compiled_end_with_the_models_own_length(
    model: OnBoth, tmp_path: Path
) -> None:
    compiled = CompiledEncoder(model.compile(), model.spec, tmp_path, 0)
    assert [bucket.tokens for bucket in compiled.buckets][-1] == model.spec.max_tokens
    assert set(model.lengths) <= {bucket.tokens for bucket in compiled.buckets}
