"""Whatever the NPU does, texts are embedded rightly, it is said once, and the status tells.

On the HTP simulator, with a random encoder that needs one shape.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_folders import write_folder

from engine.acceleration import CompiledEncoder
from engine.embed.compiled import ShapeStatus
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.engine import Engine, EngineOptions
from engine.models import folder
from engine.models.spec import EmbedderSpec
from engine.runtime.npu import Npu
from engine.runtime.qnn import plugin
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import Absence, find
from engine.runtime.qnn.options import NpuOptions

SIMULATOR = NpuOptions(simulator=True)
TEXTS = ["w1", "w2 w3 w4", " ".join(f"w{n}" for n in range(40))]


@pytest.fixture(scope="module", autouse=True)
def _simulator() -> None:
    if isinstance(found := find(SIMULATOR), Absence):
        pytest.skip(f"needs onnxruntime-qnn: {found.reason}")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def right(encoder: Path) -> np.ndarray:
    spec = folder.read(encoder)
    assert isinstance(spec, EmbedderSpec)
    return Embedder.open(spec).embed(TEXTS, "document").vectors


class Served:
    """An engine on the simulator, and what it was warned of."""

    def __init__(self, encoder: Path, data: Path, npu: NpuOptions) -> None:
        self.warnings: list[str] = []
        self.engine = Engine(
            EngineOptions(
                models_dir=data / "models",
                index_file=data / "index.sqlite",
                embedder=str(encoder),
                placement=EmbedderOptions(policy="npu"),
                npu=npu,
                compiled_dir=data / "compiled",
                warn=self.warnings.append,
            )
        )

    def embedded(self) -> tuple[np.ndarray, str, list[ShapeStatus]]:
        """Vectors once the NPU is as ready as it will be, who made them, and its shapes."""
        with self.engine.embedder.lease() as embedder:
            embedder.wait_until_prepared()
            found = embedder.embed(TEXTS, "document")
        placement = self.engine.models()[0].placement
        assert placement is not None
        shapes = [s for s in placement.shapes if s.provider != "cpu"]
        return found.vectors, found.provider, shapes


@pytest.fixture
def serve(encoder: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def serving(npu: NpuOptions = SIMULATOR) -> Served:
        made.append(Served(encoder, tmp_path, npu))
        return made[-1]

    yield serving
    for each in made:
        each.engine.close()


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1)


def test_the_simulator_makes_the_vectors_that_the_cpu_makes(serve, right: np.ndarray) -> None:
    served = serve()
    vectors, provider, (shape,) = served.embedded()
    assert (provider, shape.provider, shape.state) == ("htp-simulator",) * 2 + ("serving",)
    assert cosines(vectors, right).min() >= 0.9995
    assert shape.median_ms > 0
    assert served.warnings == []


def test_the_next_start_uses_what_was_compiled(serve, right: np.ndarray, tmp_path: Path) -> None:
    serve().embedded()
    (compiled,) = tmp_path.glob("compiled/*/*.bin")
    before = compiled.stat().st_mtime_ns
    vectors, provider, _ = serve().embedded()
    assert provider == "htp-simulator"
    assert cosines(vectors, right).min() >= 0.9995
    assert [f.stat().st_mtime_ns for f in tmp_path.glob("compiled/*/*.bin")] == [before]


def test_damaged_latencies_are_measured_again_and_nothing_is_left_beside_them(
    serve, tmp_path: Path
) -> None:
    serve().embedded()
    (kept,) = tmp_path.glob("compiled/latencies-*.json")
    kept.write_text("[" * 100_000)
    _, provider, (shape,) = serve().embedded()
    assert (provider, shape.median_ms > 0) == ("htp-simulator", True)
    assert kept.read_text().startswith("{")
    assert [path.name for path in tmp_path.glob("compiled/.latencies-*")] == []


def test_a_truncated_context_is_made_again(serve, right: np.ndarray, tmp_path: Path) -> None:
    serve().embedded()
    (compiled,) = tmp_path.glob("compiled/*/*.bin")
    whole = compiled.stat().st_size
    with compiled.open("r+b") as file:
        file.truncate(whole // 2)
    served = serve()
    vectors, provider, _ = served.embedded()
    assert (provider, served.warnings) == ("htp-simulator", [])
    assert cosines(vectors, right).min() >= 0.9995
    assert [file.stat().st_size for file in tmp_path.glob("compiled/*/*.bin")] == [whole]


def test_a_backend_that_is_not_there_leaves_the_cpu_in_service(serve, right: np.ndarray) -> None:
    options = {"backend_path": "/nowhere/libQnnHtp.so"}
    served = serve(replace(SIMULATOR, provider_options=options))
    vectors, provider, (shape,) = served.embedded()
    assert (provider, shape.state) == ("cpu", "quarantined")
    np.testing.assert_allclose(vectors, right, atol=1e-6)
    (warning,) = served.warnings
    assert shape.reason in warning
    assert "CPU" in shape.reason


@pytest.mark.parametrize(
    ("npu", "code", "said"),
    [
        (replace(SIMULATOR, library=Path("/nowhere/plugin.so")), "library-broken", "plugin"),
        (
            replace(SIMULATOR, provider_options={"htp_performance_mod": "burst"}),
            "bad-option",
            "did you mean htp_performance_mode",
        ),
        (NpuOptions(), "no-device", "no Qualcomm NPU"),
    ],
    ids=["missing library", "wrong option", "no device"],
)
def test_where_no_device_is_used_the_cpu_serves_and_says_why_once(
    serve, right: np.ndarray, npu: NpuOptions, code: str, said: str
) -> None:
    served = serve(npu)
    vectors, provider, shapes = served.embedded()
    assert (provider, shapes) == ("cpu", [])
    np.testing.assert_allclose(vectors, right, atol=1e-6)
    found = served.engine.npu()
    assert isinstance(found, Absence)
    assert (found.code, said in found.reason) == (code, True)
    (warning,) = served.warnings
    assert found.reason in warning


def test_what_does_not_work_is_said_once_however_often_the_model_is_loaded(serve) -> None:
    served = serve(replace(SIMULATOR, provider_options={"backend_path": "/nowhere/libQnnHtp.so"}))
    for _ in range(3):
        served.embedded()
        assert served.engine.embedder.free()
    assert len(served.warnings) == 1


def test_versions_that_do_not_match_leave_the_cpu_in_service(
    serve, right: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "_PAIRS", dict.fromkeys(plugin._PAIRS, False))
    served = serve()
    vectors, provider, _ = served.embedded()
    found = served.engine.npu()
    assert isinstance(found, Absence)
    assert (provider, found.code) == ("cpu", "versions-do-not-match")
    np.testing.assert_allclose(vectors, right, atol=1e-6)
    assert len(served.warnings) == 1


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
        ("import time; time.sleep(600)", "0.5 s"),
    ],
    ids=["segmentation fault", "hang"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_compiler_that_crashes_or_hangs_leaves_the_cpu_in_service(
    encoder: Path, right: np.ndarray, tmp_path: Path, program: str, said: str
) -> None:
    spec, device = folder.read(encoder), find(SIMULATOR)
    assert isinstance(spec, EmbedderSpec)
    assert not isinstance(device, Absence)
    npu = Npu(
        device,
        SIMULATOR,
        ContextCache(tmp_path, 1 << 30),
        timeout_seconds=0.5,
        program=[sys.executable, "-c", program],
    )
    warnings: list[str] = []
    embedder = Embedder.open(
        spec,
        EmbedderOptions(policy="npu"),
        compiled=CompiledEncoder(npu, spec, tmp_path, 0),
        warn=warnings.append,
    )
    embedder.wait_until_prepared()
    found = embedder.embed(TEXTS, "document")
    (shape,) = [s for s in embedder.placement().shapes if s.provider != "cpu"]
    embedder.close()
    assert (found.provider, shape.state) == ("cpu", "quarantined")
    np.testing.assert_allclose(found.vectors, right, atol=1e-6)
    (warning,) = warnings
    assert said in warning
    assert said in shape.reason


def test_compiled_shapes_count_where_memory_is_limited(encoder: Path, tmp_path: Path) -> None:
    on_cpu = Served(encoder, tmp_path, NpuOptions())
    on_both = Served(encoder, tmp_path, SIMULATOR)
    needed = [
        served.engine._claim(folder.read(encoder)).needed_bytes for served in (on_cpu, on_both)
    ]
    assert needed[0] == needed[1]
    for served in (on_cpu, on_both):
        served.engine.npu()
    needed = [
        served.engine._claim(folder.read(encoder)).needed_bytes for served in (on_cpu, on_both)
    ]
    assert needed[1] > needed[0]
