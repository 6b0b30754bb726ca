"""Npu: opens an encoder on the NPU for one fixed shape, from the cache or compiled.

Knows models by their file and fingerprint, and buckets; nothing of texts, vectors or who waits.
Rule: it gives a session that runs wholly on the device, or raises NpuFailed; it never falls back.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import NpuFailed
from engine.runtime.qnn import compiling
from engine.runtime.qnn.compiling import Request
from engine.runtime.qnn.context_cache import Context, ContextCache, Draft, Key
from engine.runtime.qnn.devices import Device
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

# The simulator takes 13 s for 12 layers of 512 tokens; a compiler that needs this long hangs.
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """A model that may run on the NPU."""

    onnx_file: Path
    fingerprint: str
    """Changes whenever the file, its external data included, would give other states."""
    stamp: str = field(init=False)
    """Of the file as it is now; no other that takes its place is compiled under its name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", compiling.stamp(self.onnx_file))


@dataclass(frozen=True, slots=True)
class Opened:
    """A model opened on the device for one shape."""

    session: Session
    """int32 in, float32 token states out, shapes as the bucket's."""
    context: Context


class Npu:
    """A device and its cache; thread-safe. One process compiles one thing at a time."""

    def __init__(
        self,
        device: Device,
        options: NpuOptions,
        cache: ContextCache,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        program: Sequence[str] = compiling.PROGRAM,
    ) -> None:
        """Takes the device and the options with which it was found.

        Args:
            device: As `devices.find` gave it.
            options: With which the process that compiles finds it again.
            cache: Where contexts are kept.
            timeout_seconds: The longest that one compilation may take.
            program: What compiles; tests have others.
        """
        self.device = device
        self._options = options
        self._cache = cache
        self._timeout_seconds = timeout_seconds
        self._program = program
        self._stopped = threading.Event()
        self._compiling = threading.Lock()

    @property
    def provider(self) -> str:
        """ "npu" or "htp-simulator"."""
        return self.device.provider

    def key(self, model: EncoderFile, bucket: Bucket) -> Key:
        """All that a context of this model and shape rests on here."""
        fields = {
            "model": model.fingerprint,
            "bucket": str(bucket),
            "rules": str(compiling.RULES),
            **self.device.key_parts(),
        }
        return Key(fields)

    def open(self, model: EncoderFile, bucket: Bucket) -> Opened:
        """Opens a model for runs of exactly that shape.

        A context that the device does not take is compiled again, once.

        Raises:
            NpuFailed: With the code of whatever failed; "cache-failed" if contexts cannot be kept.
        """
        try:
            return self._open(model, bucket)
        except OSError as error:
            raise NpuFailed(
                "cache-failed",
                f"What is compiled for the {self.provider} cannot be kept in {self._cache.folder} "
                f"({error.strerror or error}): make that folder writable and free some room there, "
                "or choose another --data-dir.",
            ) from error

    def _open(self, model: EncoderFile, bucket: Bucket) -> Opened:
        key = self.key(model, bucket)
        context = self._cache.find(key)
        session = self._opened(context)
        if context is None or session is None:
            if context is not None:
                self._cache.remove(key)
            context = self._make(key, model, bucket)
            session = Session.open_compiled(context.onnx_file, self.device)
        return Opened(session, context)

    def forget(self, model: EncoderFile, bucket: Bucket) -> None:
        """Takes a context away that turned out to be wrong; the next `open` compiles it."""
        self._cache.remove(self.key(model, bucket))

    def interrupt(self) -> None:
        """Ends a running compilation, in whatever thread, and all later ones, for good."""
        self._stopped.set()

    def _opened(self, context: Context | None) -> Session | None:
        try:
            return context and Session.open_compiled(context.onnx_file, self.device)
        except NpuFailed:
            return None

    def _make(self, key: Key, model: EncoderFile, bucket: Bucket) -> Context:
        with self._compiling, self._cache.draft(key, self._is_wanted) as draft:
            if draft is None or not self._is_wanted():
                raise NpuFailed("compile-stopped", "Compiling for the NPU was stopped.")
            # Another process may have made it while we waited for the right to.
            if context := self._cache.find(key):
                return context
            return self._compile(draft, model, bucket)

    def _compile(self, draft: Draft, model: EncoderFile, bucket: Bucket) -> Context:
        request = Request(
            model.onnx_file,
            model.stamp,
            bucket,
            self._options,
            self.device.key_parts(),
            self._timeout_seconds,
        )
        facts = compiling.compile_context(
            request,
            draft.folder,
            draft.work_folder,
            wanted=self._is_wanted,
            program=self._program,
        )
        return draft.publish(facts)

    def _is_wanted(self) -> bool:
        return not self._stopped.is_set()
