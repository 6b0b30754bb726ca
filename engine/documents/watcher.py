"""Yields the paths that changed, and an empty set when none did.

Knows nothing of what is indexed. Owns no thread; closing the generator stops.
Rule: a system's word of a change is a hint to look there. Hints get lost (network drives, full
queues, too many folders), so every root counts as changed once in a while.
"""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import watchfiles

from engine.documents import kinds
from engine.documents.finder import PASSED_FOLDERS
from engine.documents.ignoring import IGNORE_FILES
from engine.documents.progress import Seconds
from engine.paths import is_under

# How long the system waits for a change to be followed by another; ours is a longer wait.
_STEP_MS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """When changes are told, in seconds."""

    quiet: float = 1.0
    """After the last one: an editor or a checkout writes many files at once."""
    longest: float = 10.0
    """After the first one, though changes go on."""
    recheck: float = 600.0
    """Every root counts as changed so often."""
    recheck_unwatched: float = 30.0
    """The same, where the system tells nothing: a root is missing, or it has no watches left."""
    tick: float = 0.2
    """How often something is yielded, so that whoever asks can stop."""


@dataclass(slots=True)
class _Gathered:
    """Changes that wait until it is quiet."""

    options: WatchOptions
    paths: set[str] = field(default_factory=set[str])
    first: float = 0.0
    last: float = 0.0

    def add(self, paths: set[str], now: float) -> None:
        """Adds changes of this moment."""
        if paths:
            self.first = self.first if self.paths else now
            self.last = now
            self.paths |= paths

    def due(self, now: float) -> frozenset[str]:
        """All of them, once it is time; empty before."""
        quiet = now - self.last >= self.options.quiet
        if not self.paths or not (quiet or now - self.first >= self.options.longest):
            return frozenset()
        paths, self.paths = frozenset(self.paths), set()
        return paths


def changed_paths(
    roots: Sequence[str],
    options: WatchOptions | None = None,
    clock: Seconds = time.monotonic,
) -> Generator[frozenset[str]]:
    """Watches files and folders with all that is below them.

    Yields several times a second: paths that changed, are new or are gone, gathered until it is
    quiet, or nothing. An ignore file stands for its folder, a root that vanished or came back for
    itself.

    Args:
        roots: Absolute, with symbolic links resolved.
        options: When changes are told.
        clock: Seconds; never goes back.
    """
    options = options or WatchOptions()
    gathered = _Gathered(options)
    checked = clock()
    while True:
        there = _places(roots)
        for told in _told(list(there), options.tick):
            now = clock()
            gathered.add({path for one in told or () if (path := _relevant(one, roots))}, now)
            is_watched = told is not None and len(there) == len(roots)
            every = options.recheck if is_watched else options.recheck_unwatched
            moved = _places(roots) != there
            if moved or now - checked >= every:
                gathered.add(set(roots), now)
                checked = now
            yield gathered.due(now)
            if moved:
                break


def _places(roots: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The roots that are there, each with what it is: another may take its name."""
    places: dict[str, tuple[int, int]] = {}
    for root in roots:
        with suppress(OSError):
            info = os.stat(root)
            places[root] = info.st_dev, info.st_ino
    return places


def _told(roots: Sequence[str], tick: float) -> Iterator[set[str] | None]:
    """What the system tells of roots; None again and again where it tells nothing."""
    try:
        if roots:
            yield from _watch(roots, tick)
    except (OSError, RuntimeError):  # No watches left, or a root that is just going.
        pass
    while True:
        time.sleep(tick)
        yield None


def _watch(roots: Sequence[str], tick: float) -> Iterator[set[str]]:
    told = watchfiles.watch(
        *roots,
        watch_filter=None,
        debounce=round(1000 * tick),
        step=_STEP_MS,
        rust_timeout=round(1000 * tick),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    for changes in told:
        yield {path for _, path in changes}


def _relevant(path: str, roots: Sequence[str]) -> str:
    """What a change means; empty if a walk would not go there."""
    root = max((root for root in roots if is_under(path, root)), key=len, default="")
    if not root:
        return ""
    *folders, name = os.path.relpath(path, root).split(os.sep) if path != root else [root]
    if any(one.startswith(".") or one in PASSED_FOLDERS for one in folders):
        return ""
    if name in IGNORE_FILES:
        return os.path.dirname(path)
    if name.startswith(".") or name in PASSED_FOLDERS:
        return ""
    # What is gone may have been a folder, whatever its name.
    return path if kinds.is_read(name) or not os.path.isfile(path) else ""
