"""A provider with fixed shapes made of the tiny graph on the CPU, which can be made to fail."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from engine.errors import NpuFailed
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Array, Session
from engine.runtime.shapes import Bucket


class SessionOf:
    """A session in which every run first asks whether to fail, and may spoil what comes out."""

    def __init__(self, session: Session, device: "TinyDevice") -> None:
        self._session = session
        self._device = device
        self.inputs = session.inputs
        self.outputs = session.outputs
        self.provider = device.provider

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> list[Array]:
        with self._device.one_at_a_time:
            self._device.runs += 1
            self._device.before_run(self._device.runs)
            return [self._device.spoil(array) for array in self._session.run(feeds, outputs)]


class TinyDevice:
    """Compiles in no time; what goes wrong is set from outside."""

    provider = "tiny-npu"

    def __init__(self, spec: EmbedderSpec, buckets: Sequence[Bucket]) -> None:
        self.buckets = tuple(buckets)
        self.runs = 0
        self.opened: list[Bucket] = []
        self.forgotten: list[Bucket] = []
        self.one_at_a_time = threading.Lock()
        self.compiling: Callable[[Bucket], None] = lambda bucket: None
        self.before_run: Callable[[int], None] = lambda run: None
        self.spoil: Callable[[Array], Array] = lambda array: array
        self.kept: dict[str, object] = {}
        self.interrupted = threading.Event()
        self._spec = spec

    def open(self, bucket: Bucket) -> SessionOf:
        self.opened.append(bucket)
        self.compiling(bucket)
        return SessionOf(Session.open(self._spec.onnx_file, threads=1), self)

    def forget(self, bucket: Bucket) -> None:
        self.forgotten.append(bucket)

    def interrupt(self) -> None:
        self.interrupted.set()

    def read_latencies(self) -> dict[str, object]:
        return self.kept

    def write_latencies(self, latencies: dict[str, object]) -> None:
        self.kept = latencies


def failing(share: float, seed: int) -> Callable[[int], None]:
    """Fails that share of the runs, after some of the time a run takes."""
    drawn = random.Random(seed)

    def before_run(run: int) -> None:
        if run > 20 and drawn.random() < share:
            time.sleep(0.001)
            raise RuntimeError("the device lost this run")

    return before_run


def broken(bucket: Bucket) -> None:
    """A compiler that takes no shape."""
    raise NpuFailed("compile-failed", f"{bucket} is too much for this compiler.")
