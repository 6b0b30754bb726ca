"""The NPU, as its simulator: real graphs compiled, kept, opened again, and compared to the CPU."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from encoder_models import EncoderForm, write_fused, write_optimised, write_published
from onnx import numpy_helper

from engine.errors import NpuFailed
from engine.models.static_graph import static_graph
from engine.runtime.npu import EncoderFile, Npu, Opened
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

OPTIONS = NpuOptions(simulator=True)
FORM = EncoderForm()
STATES = ["last_hidden_state"]
TINY = Bucket(3, 16)
PLENTY = 1 << 30


@pytest.fixture(scope="module")
def device() -> Device:
    found = find(OPTIONS)
    if isinstance(found, Absence):
        pytest.skip(f"needs onnxruntime-qnn: {found.reason}")
    return found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EncoderFile:
    return EncoderFile(write_fused(tmp_path_factory.mktemp("tiny")), "tiny")


@pytest.fixture(scope="module")
def shared(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Npu:
    """For tests that leave its contexts alone."""
    return Npu(device, OPTIONS, ContextCache(tmp_path_factory.mktemp("contexts"), PLENTY))


@pytest.fixture
def npu(device: Device, tmp_path: Path) -> Npu:
    return started(device, tmp_path)


def started(device: Device, folder: Path) -> Npu:
    """An NPU as a process finds it at its start."""
    cache = ContextCache(folder / "contexts", PLENTY)
    return Npu(device, OPTIONS, cache, program=counting(folder))


def counting(folder: Path) -> list[str]:
    """The program that compiles, for `compilations` to count."""
    code = (
        f"import runpy; open({str(folder / 'compiled.txt')!r}, 'a').write('once\\n'); "
        "runpy.run_module('engine.runtime.compile_program', run_name='__main__')"
    )
    return [sys.executable, "-P", "-c", code]


def compilations(folder: Path) -> int:
    log = folder / "compiled.txt"
    return len(log.read_text("utf-8").splitlines()) if log.exists() else 0


def feeds_of(lengths: list[int], tokens: int, vocabulary: int = FORM.vocabulary):
    shape = len(lengths), tokens
    mask = (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int32)
    ids = np.random.default_rng(1).integers(1, vocabulary, shape, dtype=np.int32) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def run(session: Session, feeds: dict[str, np.ndarray]) -> np.ndarray:
    given = {n: feeds[n].astype(tensor.dtype) for n, tensor in session.inputs.items()}
    return session.run(given, STATES)[0]


def cosines(states: np.ndarray, others: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of each row's mean state to the other's."""

    def pooled(of: np.ndarray) -> np.ndarray:
        means = (of * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    return (pooled(states) * pooled(others)).sum(1)


def assert_parity(opened: Opened, onnx_file: Path, feeds: dict[str, np.ndarray], least: float):
    got, expected = run(opened.session, feeds), run(Session.open(onnx_file), feeds)
    assert cosines(got, expected, feeds["attention_mask"]).min() >= least


# The next start


def test_a_second_start_compiles_nothing_and_gives_the_same_bits(
    npu: Npu, device: Device, tiny: EncoderFile, tmp_path: Path
):
    """How much faster it is, and real models, are matters of `test_encoders_on_the_npu`."""
    feeds = feeds_of([16, 9, 2], 16)
    first = npu.open(tiny, TINY)
    again = started(device, tmp_path).open(tiny, TINY)
    assert compilations(tmp_path) == 1
    assert first.context == again.context
    np.testing.assert_array_equal(run(first.session, feeds), run(again.session, feeds))
    assert_parity(again, tiny.onnx_file, feeds, 0.999)


# Rows


def naive(graph: bytes) -> bytes:
    """Our graph with its work undone: the table of positions is added to all rows at once."""
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 3:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:1], tensor.name))
    return model.SerializeToString()


@pytest.mark.parametrize("write", [write_fused, write_optimised, write_published])
def test_the_second_row_is_right_and_would_be_wrong_without_our_work(
    write, device: Device, tmp_path: Path
):
    """If the naive graph passes here, the device's defect is gone: tell whoever reported it."""
    onnx_file, feeds = write(tmp_path / "model"), feeds_of([16, 16], 16)
    ours = static_graph(onnx_file, 2, 16)
    expected, found = run(Session.open(onnx_file), feeds), {}
    for name, graph in {"ours": ours, "naive": naive(ours)}.items():
        on_cpu = run(Session.open(onnx_file, graph=graph), feeds)
        np.testing.assert_allclose(on_cpu, expected, atol=2e-5)
        session = Session.compiled(graph, device, tmp_path / f"{name}.onnx")
        found[name] = cosines(run(session, feeds), expected, feeds["attention_mask"])
    assert found["ours"].min() >= 0.999
    assert found["naive"][0] >= 0.999
    assert found["naive"][1] < 0.9


def test_padding_single_tokens_and_neighbours_change_nothing(shared: Npu, tiny: EncoderFile):
    session = shared.open(tiny, TINY).session
    feeds = feeds_of([16, 0, 1], 16)
    states = run(session, feeds)
    assert np.isfinite(states).all()
    other = {name: array.copy() for name, array in feeds.items()}
    other["input_ids"][0] = 5
    np.testing.assert_array_equal(run(session, other)[2], states[2])
    full = feeds_of([16, 7, 1], 16)
    expected = run(Session.open(tiny.onnx_file), full)
    assert cosines(run(session, full), expected, full["attention_mask"]).min() >= 0.999


@pytest.mark.parametrize("opset", [11, 17])
def test_a_published_export_runs_wholly_on_the_device(opset: int, shared: Npu, tmp_path: Path):
    model = EncoderFile(write_published(tmp_path, opset=opset), f"published {opset}")
    opened = shared.open(model, TINY)
    assert opened.session.assignment == {"htp-simulator": 1}
    assert_parity(opened, model.onnx_file, feeds_of([16, 9, 2], 16), 0.999)


# What is on the disk


def test_only_the_context_is_written(npu: Npu, tiny: EncoderFile, tmp_path: Path):
    beside = set(tiny.onnx_file.parent.rglob("*"))
    context = npu.open(tiny, TINY).context
    assert {path.name for path in context.folder.iterdir()} == {
        "model_ctx.onnx",
        "model_ctx_qnn.bin",
        "context.json",
    }
    files = {path.parent for path in (tmp_path / "contexts").rglob("*.*") if path.is_file()}
    assert files == {context.folder, tmp_path / "contexts" / ".locks"}
    assert set(tiny.onnx_file.parent.rglob("*")) == beside


def test_a_truncated_context_is_compiled_again_once(npu: Npu, tiny: EncoderFile, tmp_path: Path):
    feeds = feeds_of([16, 9, 2], 16)
    opened = npu.open(tiny, TINY)
    before, folder = run(opened.session, feeds), opened.context.folder
    del opened  # Windows lets go of a file that is open only then.
    os.truncate(folder / "model_ctx_qnn.bin", 1000)
    npu.open(tiny, TINY)
    third = npu.open(tiny, TINY)
    assert compilations(tmp_path) == 2
    np.testing.assert_array_equal(run(third.session, feeds), before)


def test_a_context_that_does_not_open_is_compiled_again_once(
    npu: Npu, tiny: EncoderFile, tmp_path: Path
):
    cache = ContextCache(tmp_path / "contexts", PLENTY)
    facts = npu.open(tiny, TINY).context.facts
    with cache.draft(npu.key(tiny, TINY), lambda: True) as draft:
        assert draft is not None
        (draft.folder / "model_ctx.onnx").write_bytes(tiny.onnx_file.read_bytes()[:100])
        draft.publish(facts)
    assert compilations(tmp_path) == 1
    for _ in range(2):
        assert npu.open(tiny, TINY).session.provider == "htp-simulator"
    assert compilations(tmp_path) == 2


@pytest.mark.parametrize(
    ("model", "bucket", "changes"),
    [
        ("other", TINY, {}),
        ("tiny", Bucket(3, 32), {}),
        ("tiny", TINY, {"onnxruntime": "1.33.0"}),
        ("tiny", TINY, {"plugin": "2.8.0"}),
        ("tiny", TINY, {"qairt": "2.52.0"}),
        ("tiny", TINY, {"soc": "69"}),
        ("tiny", TINY, {"name": "HTP of another"}),
        ("tiny", TINY, {"hardware": "4d4f4351:0002"}),
        ("tiny", TINY, {"driver": "31.0.1"}),
        ("tiny", TINY, {"options": {"vtcm_mb": "8"}}),
    ],
)
def test_a_context_is_not_used_for_anything_else(
    model: str, bucket: Bucket, changes: dict, shared: Npu, tiny: EncoderFile
):
    other = Npu(dataclasses.replace(shared.device, **changes), OPTIONS, ContextCache(Path(), 0))
    key = other.key(EncoderFile(tiny.onnx_file, model), bucket)
    assert key.digest != shared.key(tiny, TINY).digest


OPEN = """
import sys
from pathlib import Path
from engine.runtime.npu import EncoderFile, Npu
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.shapes import Bucket

options = NpuOptions(simulator=True)
cache = ContextCache(Path(sys.argv[2]), 1 << 30)
npu = Npu(find(options), options, cache, program=sys.argv[3:])
print(npu.open(EncoderFile(Path(sys.argv[1]), "tiny"), Bucket(3, 16)).session.provider)
"""


def test_two_processes_that_want_the_same_compile_it_once(
    device: Device, tiny: EncoderFile, tmp_path: Path
):
    command = [sys.executable, "-c", OPEN, str(tiny.onnx_file), str(tmp_path / "contexts")]
    command += counting(tmp_path)
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].splitlines()[-1] for process in both]
    assert said == ["htp-simulator"] * 2
    assert compilations(tmp_path) == 1


def test_no_code_of_the_working_directory_is_run(
    device: Device, tiny: EncoderFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for file in (tmp_path / "engine" / "__init__.py", tmp_path / "json.py"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    npu = Npu(device, OPTIONS, ContextCache(tmp_path / "contexts", PLENTY))
    assert npu.open(tiny, TINY).session.provider == "htp-simulator"
    assert not (tmp_path / "ran").exists()


def test_a_context_that_is_forgotten_is_compiled_again(npu: Npu, tiny: EncoderFile, tmp_path: Path):
    npu.open(tiny, TINY)
    npu.forget(tiny, TINY)
    npu.forget(tiny, TINY)
    npu.open(tiny, TINY)
    assert compilations(tmp_path) == 2


# Failures


@pytest.fixture
def failure(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    def failing(npu: Npu, model: EncoderFile, bucket: Bucket = TINY) -> tuple[str, str]:
        with pytest.raises(NpuFailed) as caught:
            npu.open(model, bucket)
        assert list(tmp_path.rglob("model_ctx*")) == []
        return caught.value.code, str(caught.value)

    return failing


CRASH = """
import dataclasses, sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from engine.runtime.qnn.devices import find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session

table = np.random.default_rng(0).normal(size=(1, 16, 384))
arrays = {"c": table, "scale": np.ones(384), "bias": np.zeros(384)}
nodes = [
    helper.make_node("Add", ["x", "c"], ["sum"]),
    helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["y"]),
]
values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 16, 384]) for n in "xy"]
tensors = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
device = find(NpuOptions(simulator=True))
options = {**device.options, "htp_graph_finalization_optimization_mode": "1"}
device = dataclasses.replace(device, options=options)
session = Session.compiled(model.SerializeToString(), device, Path(sys.argv[1]) / "crash.onnx")
print("compiled", flush=True)
session.run({"x": np.ones((2, 16, 384), np.float32)}, ["y"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_compiler_that_crashes_costs_one_bucket_and_not_us(
    failure, device: Device, tiny: EncoderFile, tmp_path: Path
):
    """The plugin's own crash, at the first run: finalization mode 1, a table added to two rows."""
    cache = ContextCache(tmp_path, PLENTY)
    npu = Npu(device, OPTIONS, cache, program=[sys.executable, "-c", CRASH])
    code, sentence = failure(npu, tiny)
    assert code == "compile-crashed"
    assert sentence.endswith("crashed (SIGSEGV); it last said: compiled")
    assert Npu(device, OPTIONS, cache).open(tiny, TINY).session.provider == "htp-simulator"


def test_a_compiler_that_hangs_is_ended(failure, device: Device, tiny: EncoderFile, tmp_path: Path):
    npu = Npu(
        device,
        OPTIONS,
        ContextCache(tmp_path, PLENTY),
        timeout_seconds=0.3,
        program=[sys.executable, "-c", "import time; time.sleep(600)"],
    )
    assert failure(npu, tiny)[0] == "compile-timed-out"


def test_an_interrupted_npu_compiles_no_more(failure, npu: Npu, tiny: EncoderFile):
    npu.interrupt()
    assert failure(npu, tiny)[0] == "compile-stopped"


def test_a_graph_that_has_no_plain_form_is_refused_with_its_reason(
    failure, npu: Npu, tiny: EncoderFile
):
    code, sentence = failure(npu, tiny, Bucket(1, FORM.positions * 2))
    assert code == "graph-not-served"
    assert "cannot be prepared for the NPU" in sentence


FILL_AND_FAIL = """
import json, os, sys
from pathlib import Path

folder = json.loads((Path(sys.argv[1]) / "request.json").read_text("utf-8"))["folder"]
(Path(folder) / "context.json").mkdir()
(Path(sys.argv[1]) / "result.json").write_text('{"seconds": 1, "nodes": 1, "operators": 1}')
"""


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(
    failure, device: Device, tiny: EncoderFile, tmp_path: Path
):
    (tmp_path / "compiled").write_text("a file", "utf-8")
    code, sentence = failure(Npu(device, OPTIONS, ContextCache(tmp_path / "compiled", 0)), tiny)
    assert code == "cache-failed"
    assert f"cannot be kept in {tmp_path / 'compiled'} (" in sentence
    assert "choose another --data-dir" in sentence


def test_a_context_that_cannot_be_written_down_is_a_failure_of_the_cache(
    failure, device: Device, tiny: EncoderFile, tmp_path: Path
):
    """A folder where a file is to be written, as a full disk would refuse it."""
    program = [sys.executable, "-c", FILL_AND_FAIL]
    npu = Npu(device, OPTIONS, ContextCache(tmp_path, PLENTY), program=program)
    assert failure(npu, tiny)[0] == "cache-failed"
    assert [path for path in (tmp_path / ".staging").rglob("*") if path.is_file()] == []


def test_a_file_that_took_the_place_of_the_one_that_was_opened_is_not_compiled(
    failure, npu: Npu, tmp_path: Path
):
    onnx_file = write_fused(tmp_path / "model")
    opened = EncoderFile(onnx_file, "opened")
    shutil.copy(write_fused(tmp_path / "other", dataclasses.replace(FORM, seed=5)), onnx_file)
    code, sentence = failure(npu, opened)
    assert (code, str(onnx_file) in sentence) == ("model-changed", True)


def test_a_child_that_finds_another_device_compiles_nothing(
    failure, device: Device, tiny: EncoderFile, tmp_path: Path
):
    other = dataclasses.replace(device, soc="69")
    code, sentence = failure(Npu(other, OPTIONS, ContextCache(tmp_path, PLENTY)), tiny)
    assert (code, "another device" in sentence) == ("compile-failed", True)
