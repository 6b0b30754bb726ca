"""Our own embedder as one of embed.py's engines, and how fast the cores multiply matrices."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from embed_task import Embed, Figures, Task, play

from engine.embed.embedder import Embedder, EmbedderOptions
from engine.models import installed
from engine.models.graph import GraphWriter
from engine.runtime.session import Session
from mcp_server.settings import Settings

_SIDE = 2048
_PASSES = 6


def open_own(task: Task) -> Embed:
    """The embedder as the server opens it, without an NPU."""
    spec = installed.choose("embed", Settings().models_folder, task.model or None).spec
    embedder = Embedder.open(spec, EmbedderOptions(threads=task.threads, policy="cpu"))

    def embed(texts: Sequence[str]) -> Any:
        kind = "document" if len(texts) > 1 else "query"
        return embedder.embed(texts, kind).vectors

    return embed


class Peak:
    """A product of two square matrices in float32, as ONNX Runtime computes it."""

    def __init__(self, threads: int) -> None:
        numbers = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
        self._numbers = numbers
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "product.onnx"
            with GraphWriter(file) as graph:
                x = graph.input("x", np.float32, ["rows", _SIDE])
                graph.node("MatMul", [x, graph.constant("w", numbers)], ["y"])
                graph.output("y", np.float32, ["rows", _SIDE])
            self._session = Session.open(file, threads=threads)

    def measure(self) -> Figures:
        """Floating-point operations a second: the best of some passes of the runtime, of numpy."""
        best = {}
        ways = {
            "runtime": lambda: self._session.run({"x": self._numbers}, ["y"]),
            "numpy": lambda: self._numbers @ self._numbers,
        }
        for name, way in ways.items():
            seconds = []
            for _ in range(_PASSES):
                started = time.perf_counter()
                way()
                seconds.append(time.perf_counter() - started)
            best[name] = 2 * _SIDE**3 / min(seconds)
        return best


if __name__ == "__main__":
    play(open_own)
