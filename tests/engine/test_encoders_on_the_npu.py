"""Real MiniLM in every shape, and a model of BGE-small's depth in one, on the HTP simulator.

At night in two more: which shape it is, the depth of a model has nothing to do with.
"""

import sys
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
from engine.runtime.qnn import compiling
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

SIMULATOR = NpuOptions(simulator=True)
MINILM, DEEP = "MiniLM", "BGE-small's shape"
LENGTHS = {MINILM: (32, 64, 128, 256), DEEP: (32,)}
SHAPES = [
    *((name, tokens) for name, lengths in LENGTHS.items() for tokens in lengths),
    *(pytest.param(DEEP, tokens, marks=pytest.mark.nightly) for tokens in (64, 128)),
]
WITHOUT_TRIAL = [
    *(sys.executable, "-P", "-c"),
    "import sys\n"
    "from engine.runtime import compile_program\n"
    "compile_program._prove = lambda *_: None\n"
    "sys.exit(compile_program.main())\n",
]
"""The program that compiles, but for its trial run: a run of the simulator takes seconds."""


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
def model(
    request, device: Device, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> OnBoth:
    if request.param == MINILM:
        spec = folder.read_installed(request.getfixturevalue("minilm_folder"))
    else:
        spec = folder.read(write_folder(tmp_path_factory.mktemp("deep"), FULL_DEPTH))
    assert isinstance(spec, EmbedderSpec)
    # The fixture is made more than once, and by each process of this run.
    folder_of_run = tmp_path_factory.getbasetemp()
    contexts = (folder_of_run if worker_id == "master" else folder_of_run.parent) / request.param
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
    """The longer shapes are tried here instead of where they are compiled, and compared as well."""
    bucket, file = Bucket(1, tokens), EncoderFile(model.spec.onnx_file, "model")
    opened = model.compile(program=compiling.PROGRAM if tokens == 32 else WITHOUT_TRIAL).open(
        file, bucket
    )
    assert opened.session.assignment == {"htp-simulator": 1}  # The whole graph is one context,
    facts = opened.context.facts
    assert min(facts.nodes, facts.operators) > 100  # and this many nodes were compiled into it.
    assert opened.context.disk_bytes < file.onnx_file.stat().st_size
    given = rows(tokens - 3)
    found = Encoder(model.spec, opened.session, 0).run(given, bucket)
    right = model.cpu.run(given, Bucket(1, tokens - 3))
    assert float((found * right).sum(axis=1).min()) >= 0.9995


def test_all_shapes_open_eight_times_as_fast_at_the_next_start(model: OnBoth) -> None:
    """The next start has no compiler; the time of the first is what is kept beside the contexts.

    Of three such starts the fastest counts: others may want the machine as well.
    """
    file = EncoderFile(model.spec.onnx_file, "model")
    shapes = [Bucket(1, tokens) for tokens in model.lengths]
    first = [model.compile().open(file, shape).context.facts.seconds for shape in shapes]

    def next_start() -> float:
        npu = model.compile(program=["no-compiler"])
        started = time.perf_counter()
        assert all(npu.open(file, shape).session.provider == npu.provider for shape in shapes)
        return time.perf_counter() - started

    assert min(next_start() for _ in range(3)) * 8 <= sum(first)


def test_the_shapes_that_are_compiled_end_with_the_models_own_length(
    model: OnBoth, tmp_path: Path
) -> None:
    compiled = CompiledEncoder(model.compile(), model.spec, tmp_path, 0)
    assert [bucket.tokens for bucket in compiled.buckets][-1] == model.spec.max_tokens
    assert set(model.lengths) <= {bucket.tokens for bucket in compiled.buckets}
