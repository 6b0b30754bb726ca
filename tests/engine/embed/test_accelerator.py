"""A provider with fixed shapes beside the CPU: proved, measured, taken out and back."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from devices import TinyDevice, broken

from engine.embed import accelerator, lanes
from engine.embed.embedder import Embedder, EmbedderOptions, Placement
from engine.errors import NpuFailed
from engine.models.spec import EmbedderSpec
from engine.runtime.shapes import Bucket

MakeSpec = Callable[..., EmbedderSpec]

SMALL, LARGE = Bucket(1, 6), Bucket(1, 12)
TEXTS = ["w1", "w2 w3", "w4 w5 w6 w7 w8 w9 w10", "w5 " * 30, "w6"]


class Opened:
    """An embedder with a device, and what it was warned of."""

    def __init__(self, spec: EmbedderSpec, device: TinyDevice, **options: Any) -> None:
        self.warnings: list[str] = []
        self.embedder = Embedder.open(
            spec, EmbedderOptions(**options), compiled=device, warn=self.warnings.append
        )

    def prepared(self) -> Placement:
        self.embedder.wait_until_prepared()
        return self.embedder.placement()

    def states(self) -> dict[str, str]:
        shapes = self.embedder.placement().shapes
        return {str(s.bucket): s.state for s in shapes if s.provider == TinyDevice.provider}


@pytest.fixture
def opened(tiny: MakeSpec):
    made: list[Opened] = []

    def open_(change: Callable[[TinyDevice], None] = lambda device: None, **options: Any):
        device = TinyDevice(tiny(), [SMALL, LARGE])
        change(device)
        made.append(Opened(tiny(), device, **options))
        return made[-1], device

    yield open_
    for each in made:
        each.embedder.close()


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.abs(left - right).max() <= 1e-6)


def test_every_vector_says_which_provider_made_it(opened, tiny: MakeSpec) -> None:
    there, device = opened(policy="npu")
    assert {s.state for s in there.prepared().shapes} == {"serving"}
    before = device.runs
    found = there.embedder.embed(TEXTS, "document")
    assert found.providers == ("tiny-npu",) * 5
    assert found.provider == "tiny-npu"
    assert device.runs == before + 5
    assert there.embedder.provider == "tiny-npu, cpu"
    assert same(found.vectors, Embedder.open(tiny()).embed(TEXTS, "document").vectors)
    assert there.warnings == []


def test_the_cpu_serves_what_no_shape_holds(tiny: MakeSpec) -> None:
    there = Opened(tiny(), TinyDevice(tiny(), [SMALL]), policy="npu")
    there.prepared()
    found = there.embedder.embed(TEXTS, "document")
    assert found.providers == ("tiny-npu", "tiny-npu", "cpu", "cpu", "tiny-npu")
    assert found.provider == "tiny-npu, cpu"
    there.embedder.close()


def test_the_policy_cpu_compiles_nothing(opened) -> None:
    there, device = opened(policy="cpu")
    assert there.embedder.embed(TEXTS, "document").provider == "cpu"
    assert (device.opened, there.embedder.provider) == ([], "cpu")


def test_the_cpu_serves_while_the_device_compiles(opened) -> None:
    there, _ = opened(lambda d: setattr(d, "compiling", lambda b: _wait(d)), policy="npu")
    assert there.embedder.embed(TEXTS, "document").provider == "cpu"
    assert set(there.states().values()) <= {"waiting", "preparing"}


def _wait(device: TinyDevice) -> None:
    """Compiles until it is interrupted."""
    device.interrupted.wait()
    raise NpuFailed("interrupted", "The server is shutting down.")


def test_wrong_vectors_never_serve(opened, tiny: MakeSpec) -> None:
    def spoil(states: np.ndarray) -> np.ndarray:
        return states if states.shape[1] == SMALL.tokens else states[..., ::-1]

    there, _ = opened(lambda device: setattr(device, "spoil", spoil), policy="npu")
    shapes = {str(s.bucket): s for s in there.prepared().shapes if s.provider == "tiny-npu"}
    assert (shapes["1x6"].state, shapes["1x12"].state) == ("serving", "quarantined")
    assert "cosine" in shapes["1x12"].reason
    found = there.embedder.embed(TEXTS, "document")
    assert found.providers == ("tiny-npu", "tiny-npu", "cpu", "cpu", "tiny-npu")
    assert same(found.vectors, Embedder.open(tiny()).embed(TEXTS, "document").vectors)
    (warning,) = there.warnings
    assert "1x12" in warning
    assert "cosine" in warning


def test_vectors_that_are_no_numbers_never_serve(opened) -> None:
    there, _ = opened(lambda device: setattr(device, "spoil", lambda a: a * np.nan), policy="npu")
    there.prepared()
    assert set(there.states().values()) == {"quarantined"}
    assert there.embedder.embed(["w1"], "query").provider == "cpu"


def test_a_compiler_that_takes_no_shape_is_told_of_once(opened) -> None:
    there, _ = opened(lambda device: setattr(device, "compiling", broken), policy="npu")
    there.prepared()
    assert there.embedder.embed(TEXTS, "document").provider == "cpu"
    (warning,) = there.warnings
    assert "1x6, 1x12" in warning
    assert "too much for this compiler" in warning
    assert there.embedder.provider == "cpu"


def test_failed_runs_are_done_elsewhere_in_the_same_call_and_three_take_a_shape_out(opened) -> None:
    there, device = opened(policy="npu")
    there.prepared()

    def fail(run: int) -> None:
        raise RuntimeError("the device is gone")

    device.before_run = fail
    found = there.embedder.embed(TEXTS, "document")
    assert found.providers == ("cpu",) * 5
    assert "quarantined" in there.states().values()
    assert there.warnings
    assert "3 runs failed in a row" in there.warnings[0]


def test_one_failed_run_takes_nothing_out(opened) -> None:
    there, device = opened(policy="npu")
    there.prepared()
    first = device.runs + 1

    def fail_once(run: int) -> None:
        if run == first:
            raise RuntimeError("a hiccup")

    device.before_run = fail_once
    assert len(there.embedder.embed(TEXTS, "document").vectors) == 5
    assert set(there.states().values()) == {"serving"}
    assert there.warnings == []


def test_latencies_are_measured_once_and_kept_for_the_next_start(tiny: MakeSpec) -> None:
    device = TinyDevice(tiny(), [SMALL, LARGE])
    first = Opened(tiny(), device)
    shapes = first.prepared().shapes
    first.embedder.close()
    assert {(s.provider, s.state) for s in shapes} == {("cpu", "serving"), ("tiny-npu", "serving")}
    assert all(s.median_ms > 0 and s.tail_ms >= s.median_ms for s in shapes)
    runs = device.runs
    second = Opened(tiny(), device)
    assert {s.median_ms > 0 for s in second.prepared().shapes} == {True}
    second.embedder.close()
    assert device.runs == runs + 4  # Two canaries a shape, and no measuring.


def test_closing_while_it_compiles_ends_the_thread(opened) -> None:
    there, device = opened(lambda d: setattr(d, "compiling", lambda b: _wait(d)))
    there.embedder.close()
    assert device.interrupted.is_set()
    assert there.warnings == []


def test_the_cpu_does_again_what_a_hung_device_never_answers(opened) -> None:
    there, device = opened(policy="auto")
    there.prepared()
    hung, before = threading.Event(), device.runs
    device.before_run = lambda run: hung.wait(60) and None
    try:
        for _ in range(20):
            found = there.embedder.embed(TEXTS * 20, "document")
            assert set(found.providers) == {"cpu"}
    finally:
        hung.set()
    assert device.runs == before + 1


def test_a_device_that_never_comes_back_is_given_up(
    opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_HUNG_MS", 200.0)
    there, device = opened(policy="npu")
    there.prepared()
    hung = threading.Event()
    device.before_run = lambda run: hung.wait(60) and None
    try:
        for _ in range(3):
            assert set(there.embedder.embed(TEXTS, "document").providers) == {"cpu"}
        assert set(there.states().values()) == {"quarantined"}
        (warning,) = there.warnings
        assert "did not end" in warning
    finally:
        hung.set()


def test_calibrating_measures_every_shape_of_every_provider_anew(opened) -> None:
    there, device = opened()
    before = {(s.provider, s.bucket): s.median_ms for s in there.prepared().shapes}
    device.before_run = lambda run: time.sleep(0.02)
    after = {(s.provider, s.bucket): s.median_ms for s in there.embedder.calibrate().shapes}
    assert after.keys() == before.keys()
    assert all(
        after["tiny-npu", shape] >= 20 > before["tiny-npu", shape] for shape in (SMALL, LARGE)
    )
    assert device.kept  # For the next start.


def test_a_shape_that_became_slow_is_measured_again_and_stays_in_service(opened) -> None:
    there, device = opened(policy="npu")
    there.prepared()
    device.before_run = lambda run: time.sleep(0.02)
    for _ in range(30):
        there.embedder.embed(["w1"], "query")
    assert device.opened.count(SMALL) == 1
    (small,) = [
        s for s in there.embedder.placement().shapes if s.bucket == SMALL and s.provider != "cpu"
    ]
    assert small.median_ms >= 20
    assert small.state == "serving"
    assert there.embedder.embed(["w1"], "query").provider == "tiny-npu"


def test_a_bug_while_preparing_leaves_the_cpu_in_service(
    tiny: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))

    def compiling(bucket: Bucket) -> None:
        raise ZeroDivisionError("nobody thought of this")

    device = TinyDevice(tiny(), [SMALL, LARGE])
    device.compiling = compiling
    there = Opened(tiny(), device, policy="npu")
    assert {s.state for s in there.prepared().shapes if s.provider != "cpu"} == {"quarantined"}
    assert there.embedder.embed(TEXTS, "document").provider == "cpu"
    assert "nobody thought of this" in there.warnings[0]
    there.embedder.close()
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_a_device_that_hangs_while_another_shape_compiles_is_given_up_too(
    opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_HUNG_MS", 200.0)
    compiled, hung = threading.Event(), threading.Event()

    def compile_large_late(device: TinyDevice) -> None:
        device.compiling = lambda bucket: bucket == SMALL or (compiled.wait(60) and None)

    there, device = opened(compile_large_late, policy="npu")
    while there.states()["1x6"] != "serving":
        time.sleep(0.01)
    device.before_run = lambda run: hung.wait(60) and None
    try:
        assert there.embedder.embed(["w1"], "query").provider == "cpu"
        compiled.set()
        there.embedder.wait_until_prepared()
        assert set(there.states().values()) == {"quarantined"}
    finally:
        compiled.set()
        hung.set()


def test_proving_one_shape_is_not_taken_for_a_stall_of_another(opened) -> None:
    compiled = threading.Event()

    def compile_large_late(device: TinyDevice) -> None:
        device.before_run = lambda run: time.sleep(0.01)
        device.compiling = lambda bucket: bucket == SMALL or (compiled.wait(60) and None)

    there, device = opened(compile_large_late, policy="npu")
    while there.states()["1x6"] != "serving":
        time.sleep(0.01)
    compiled.set()
    while there.states()["1x12"] != "serving":
        there.embedder.embed(["w1"], "query")
    latencies = there.embedder._pool.latencies
    assert latencies.slowdown(TinyDevice.provider) < 1.5
    assert device.runs > 10


def test_a_shape_whose_vectors_are_wrong_is_made_anew(opened) -> None:
    there, device = opened(lambda device: setattr(device, "spoil", lambda a: a[..., ::-1]))
    there.prepared()
    assert device.forgotten == [SMALL, LARGE]


def test_what_an_npu_can_never_run_is_not_tried_again(
    opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "_RETRY_SECONDS", 0.01)

    def refuse(bucket: Bucket) -> None:
        code = "graph-not-served" if bucket == SMALL else "compile-failed"
        raise NpuFailed(code, "It cannot be compiled.")

    there, device = opened(lambda device: setattr(device, "compiling", refuse))
    while device.opened.count(LARGE) < 3:
        time.sleep(0.01)
    assert device.opened.count(SMALL) == 1
    assert len(there.warnings) == 1
