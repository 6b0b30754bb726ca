"""Acceleration: the NPU of this machine, if one is to be used, and embedding models on it.

Joins a model's files, the NPU that was found and what is kept on disk; what runs there is decided
by `embed.scheduling`, and whether it is right by `embed.accelerator`.
"""

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from engine.embed.scheduling import Policy
from engine.models.spec import EmbedderSpec
from engine.runtime.npu import EncoderFile, Npu
from engine.runtime.qnn import devices
from engine.runtime.qnn.context_cache import Context, ContextCache
from engine.runtime.qnn.devices import Absence, Device
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket, buckets

# What most machines are like, and nobody has to be told of who did not ask for an NPU.
_USUAL_ABSENCES = ("not-installed", "no-device")

_LIBRARY_BYTES = 75_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelerationOptions:
    """Whether and how an NPU is used."""

    policy: Policy = "auto"
    """With "cpu" none is looked for."""
    npu: NpuOptions = field(default_factory=NpuOptions)
    folder: Path
    """Keeps what is compiled for it, and measured."""
    limit_bytes: int
    """What that folder may hold; the least recently used leaves first."""
    threads: int = 0
    """Of the CPU's runs, which are measured beside the NPU's."""


class Acceleration:
    """The NPU, looked for when it is first asked for. Thread-safe."""

    def __init__(self, options: AccelerationOptions, warn: Callable[[str], None]) -> None:
        """Looks for nothing yet.

        Args:
            options: Whether and how it is used.
            warn: Told, once, why it is not used where that is a surprise, and if its files take
                more than they may.
        """
        self._options = options
        self._warn = warn
        self._finding = threading.Lock()
        self._found: Device | Absence | None = None
        self._cache = ContextCache(options.folder, options.limit_bytes, warn)

    def device(self) -> Device | Absence:
        """The NPU that may be used, or why there is none."""
        with self._finding:
            if self._found is None:
                self._found = devices.find(self._options.npu)
            return self._found

    def contexts(self) -> list[Context]:
        """What is compiled for an NPU and kept on disk, the last used first."""
        return self._cache.contexts()

    def encoder(self, spec: EmbedderSpec) -> "CompiledEncoder | None":
        """A model on the NPU, if there is one to be used."""
        if self._options.policy == "cpu":
            return None
        found = self.device()
        if isinstance(found, Absence):
            if self._options.policy == "npu" or found.code not in _USUAL_ABSENCES:
                self._warn(f"The CPU embeds all texts: {found.reason}")
            return None
        npu = Npu(found, self._options.npu, self._cache)
        return CompiledEncoder(npu, spec, self._options.folder, self._options.threads)

    def needed_bytes(self, spec: EmbedderSpec) -> int:
        """Memory that a model takes on the NPU that was found; 0 as long as none was.

        Each shape holds a copy of the weights in half their 32-bit size, and the NPU's libraries
        are loaded once. MiniLM on the HTP simulator: 46 MB a shape, and 70 MB. What has codes is
        as large there as in its file: 34 MB.
        """
        if self._options.policy == "cpu" or not isinstance(self._found, Device):
            return 0
        a_shape = spec.weight_bytes if spec.has_codes else spec.weight_bytes // 2
        return len(buckets(spec.max_tokens)) * a_shape + _LIBRARY_BYTES


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

    def forget(self, bucket: Bucket) -> None:
        """Takes the compiled context of one shape away, so that `open` compiles it anew."""
        self._npu.forget(self._model, bucket)

    def interrupt(self) -> None:
        """Makes `open` give up."""
        self._npu.interrupt()

    def read_latencies(self) -> dict[str, object]:
        """What was measured of this model with this software on this machine; or nothing."""
        with suppress(OSError, ValueError, RecursionError):
            content: Any = json.loads(self._latencies.read_text(encoding="utf-8"))
            return cast("dict[str, object]", content) if isinstance(content, dict) else {}
        return {}

    def write_latencies(self, latencies: Mapping[str, object]) -> None:
        """Keeps latencies for the next start; where that cannot be written, it measures again."""
        with suppress(OSError):
            folder = self._latencies.parent
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".latencies-") as made_in:
                new = Path(made_in) / self._latencies.name
                new.write_text(json.dumps(latencies), encoding="utf-8")
                os.replace(new, self._latencies)


def _key(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
