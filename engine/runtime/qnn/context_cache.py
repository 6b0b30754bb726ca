"""Compiled graphs on disk, remade when anything they rest on changes.

    contexts/<key>/model_ctx.onnx       one node that names the binary beside it
    contexts/<key>/model_ctx_qnn.bin    what the device loads, weights included
    contexts/<key>/context.json         what it was made of and from, sizes and hashes
    contexts/.staging, contexts/.locks  as `models.staging` says

Knows files, neither models nor devices: a key is fields and their hash. Rule: what is found is
whole to the byte; what is damaged is as if it were not there, and goes when it is replaced or old.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.models.staging import Staging, scratch_folders, size_of

CONTEXT_FILE = "model_ctx.onnx"
"""The file of a context that is opened."""

_FACTS_FILE = "context.json"
_VERSION = 1
_KEY_CHARACTERS = 32

# How long a wait for another process goes on without asking whether it is still wanted.
_TICK = 0.2


@dataclass(frozen=True, slots=True)
class Key:
    """All that a context rests on, by name."""

    fields: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The name of its folder."""
        text = json.dumps(dict(self.fields), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS]


@dataclass(frozen=True, slots=True)
class CompileFacts:
    """How a compilation went."""

    seconds: float
    """What the compiler took, without its process's start and the graph's preparation."""
    nodes: int
    """Nodes of the graph that the compiler was given; all of them run on the device."""
    operators: int
    """The device's own operators, after fusion; 0 where no trace tells."""
    unsupported: int = 0
    """Nodes that the device's own trace says it cannot run."""


@dataclass(frozen=True, slots=True)
class Context:
    """A compiled graph on disk."""

    folder: Path
    fields: Mapping[str, str]
    facts: CompileFacts
    disk_bytes: int

    @property
    def onnx_file(self) -> Path:
        """What a session is opened on."""
        return self.folder / CONTEXT_FILE


class Draft:
    """Empty folders for a context and what is needed to make it, and the right to publish it.

    Their names are new each time: a compiler that outlived its server writes into nobody's draft.
    """

    def __init__(self, cache: "ContextCache", key: Key, staging: Staging) -> None:
        self._cache = cache
        self._key = key
        self._staging = staging
        made_in = staging.new_folder(f"draft-{uuid.uuid4().hex[:8]}")
        self.folder, self.work_folder = made_in / "context", made_in / "work"
        self.folder.mkdir()
        self.work_folder.mkdir()

    def publish(self, facts: CompileFacts) -> Context:
        """Puts the folder in its place, in one rename, and makes room by taking old ones away.

        Raises:
            OSError: The cache's folder cannot be written, or is full.
        """
        described = {
            "version": _VERSION,
            "key": dict(self._key.fields),
            "facts": asdict(facts),
            "files": {path.name: _described(path) for path in sorted(self.folder.iterdir())},
        }
        text = json.dumps(described, indent=2)
        (self.folder / _FACTS_FILE).write_text(text, encoding="utf-8")
        self._staging.publish(self.folder)
        self._cache.prune(keep=self._key)
        folder = self._cache.folder / self._key.digest
        return Context(folder, self._key.fields, facts, size_of(folder))


class ContextCache:
    """The contexts in a folder; any number of processes may use it at once."""

    def __init__(
        self, folder: Path, limit_bytes: int, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        """Takes a folder, made when it is needed, and how much may be in it.

        What was found or published here stays even where that alone is more: it would only be
        compiled again and again.

        Args:
            folder: Of the contexts.
            limit_bytes: Of all files in it; the least recently used leave first.
            warn: Told once, in a sentence, if what is in use takes more.
        """
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._warn = warn
        self._in_use: set[str] = set()
        self._has_warned = False

    def find(self, key: Key) -> Context | None:
        """The context of that key, if every byte of it is there; it then counts as just used."""
        folder = self.folder / key.digest
        described = _read(folder)
        if described is None or described["key"] != dict(key.fields):
            return None
        if any(_described_or_none(folder / n) != d for n, d in described["files"].items()):
            return None
        self._in_use.add(key.digest)
        with contextlib.suppress(OSError):
            os.utime(folder / _FACTS_FILE)
        return _context(folder, described)

    def contexts(self) -> list[Context]:
        """All contexts, the last used first; their files are not looked at."""
        found = sorted(self._used(), reverse=True)
        described = [(folder, _read(folder)) for _, folder in found]
        return [_context(folder, facts) for folder, facts in described if facts is not None]

    @contextlib.contextmanager
    def draft(self, key: Key, wanted: Callable[[], bool]) -> Generator[Draft | None]:
        """Gives a folder to make a context in, once no other process makes the same.

        Whoever had to wait looks again: the other has probably made it.

        Args:
            key: Of the context.
            wanted: Asked several times a second while waiting.

        Yields:
            The draft; None if it is no longer wanted.

        Raises:
            OSError: The cache's folder cannot be written.
        """
        staging = Staging(self.folder, key.digest)
        while not staging.acquire(_TICK):
            if not wanted():
                yield None
                return
        try:
            self._sweep()
            yield Draft(self, key, staging)
        finally:
            staging.release()

    def remove(self, key: Key) -> None:
        """Takes a context away, unless another process is just making it or the disk says no."""
        self._in_use.discard(key.digest)
        with contextlib.suppress(OSError):
            self._remove(self.folder / key.digest)

    def prune(self, keep: Key) -> None:
        """Takes the contexts away that were not used for longest, until the rest fit.

        Args:
            keep: Stays, now and later, as all that was found here does.
        """
        self._in_use.add(keep.digest)
        used = sorted(self._used())
        total = sum(map(size_of, [folder for _, folder in used] + scratch_folders(self.folder)))
        for _, folder in used:
            if total <= self._limit_bytes:
                return
            if folder.name not in self._in_use:
                total -= size_of(folder)
                self._remove(folder)
        if total > self._limit_bytes and not self._has_warned:
            self._has_warned = True
            self._warn(
                f"What is compiled for the NPU and in use takes {total / 1e6:.0f} MB, more than "
                f"the {self._limit_bytes / 1e6:.0f} MB it may: raise --compiled-mb."
            )

    def _used(self) -> list[tuple[float, Path]]:
        """Every context's folder, after when it was last used; 0 for one without its facts."""
        if not self.folder.is_dir():
            return []
        folders = [p for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
        return [(_modified(folder / _FACTS_FILE), folder) for folder in folders]

    def _sweep(self) -> None:
        """Deletes what killed processes left of the contexts that they made."""
        for left in scratch_folders(self.folder):
            with self._held(left.name) as staging:
                if staging is not None:
                    staging.forget()

    def _remove(self, folder: Path) -> None:
        # One that is open stays where the system does not let go of open files.
        with self._held(folder.name) as staging, contextlib.suppress(OSError):
            if staging is not None:
                staging.withdraw()

    @contextlib.contextmanager
    def _held(self, name: str) -> Generator[Staging | None]:
        """What is made under a name, locked; None where somebody has locked it already."""
        staging = Staging(self.folder, name)
        if not staging.acquire(0):
            yield None
            return
        try:
            yield staging
        finally:
            staging.release()


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        described = json.loads((folder / _FACTS_FILE).read_text(encoding="utf-8"))
        usable = described["version"] == _VERSION and bool(described["files"])
        CompileFacts(**described["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return described if usable else None


def _context(folder: Path, described: dict[str, Any]) -> Context:
    facts = CompileFacts(**described["facts"])
    return Context(folder, described["key"], facts, size_of(folder))


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}


def _described_or_none(path: Path) -> dict[str, Any] | None:
    try:
        return _described(path)
    except OSError:
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
