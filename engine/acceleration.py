"""CompiledEncoder: one embedding model on the NPU, as the embedder asks for it.

Joins a model's files, the NPU that was found and what is kept on disk; decides nothing.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from engine.models.spec import EmbedderSpec
from engine.runtime.npu import EncoderFile, Npu
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket, buckets


class CompiledEncoder:
    """An embedding model that is compiled for an NPU, shape by shape, as each is asked for."""

    def __init__(self, npu: Npu, spec: EmbedderSpec, folder: Path, threads: int) -> None:
        """Compiles nothing yet.

        Args:
            npu: Where it runs.
            spec: The model.
            folder: Keeps measured latencies from start to start.
            threads: Of the CPU's runs, whose latencies are kept beside the NPU's.
        """
        self.provider = npu.provider
        self.buckets = buckets(spec.max_tokens)
        self._npu = npu
        self._model = EncoderFile(spec.onnx_file, spec.fingerprint)
        parts = {**npu.device.key_parts(), "model": spec.fingerprint, "threads": str(threads)}
        self._latencies = folder / f"latencies-{_key(parts)}.json"

    def open(self, bucket: Bucket) -> Session:
        """A session of one shape, from the cache of compiled contexts or compiled now.

        Raises:
            NpuFailed: It cannot be compiled or opened.
        """
        return self._npu.open(self._model, bucket).session

    def interrupt(self) -> None:
        """Makes `open` give up."""
        self._npu.interrupt()

    def read_latencies(self) -> dict[str, object]:
        """What was measured of this model with this software on this machine; or nothing."""
        with suppress(OSError, ValueError):
            content: Any = json.loads(self._latencies.read_text(encoding="utf-8"))
            return cast("dict[str, object]", content) if isinstance(content, dict) else {}
        return {}

    def write_latencies(self, latencies: Mapping[str, object]) -> None:
        """Keeps latencies for the next start; where that cannot be written, it measures again."""
        with suppress(OSError):
            folder = self._latencies.parent
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=folder, delete=False, encoding="utf-8"
            ) as new:
                json.dump(latencies, new)
            os.replace(new.name, self._latencies)


def _key(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
