"""Reads one file's bytes as they are at one moment: a real file, small enough, not by a link."""

import hashlib
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

from engine import paths
from engine.documents.readers.interface import Unreadable

LARGEST_BYTES = 10 * 1024 * 1024
"""Of a file for which nothing else is said."""

_BLOCK_BYTES = 1024 * 1024

# Never follow a link put in the file's place, never wait for a pipe's writer, never translate.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


class Unsettled(Unreadable):
    """The file changes all the time: what was known of it may be as true as anything."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A file as it was from before it was read until after."""

    sha256: str
    """Of its content."""
    size: int
    """Bytes."""
    stamp_ns: int
    """See `stamp_ns`."""
    modified_ns: int
    """Modification time, nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a file at one moment."""

    content: bytes
    moment: Moment


def stamp_ns(info: os.stat_result, platform: str = sys.platform) -> int:
    """When a file last changed: the later of its times, since the first can be set back.

    The second is when it was made on Windows. CPython (3.12) gives that of a path there, but of an
    open file when anything of it was last changed, which would never be the same.
    """
    if platform == "win32":
        return max(info.st_mtime_ns, getattr(info, "st_birthtime_ns", info.st_ctime_ns))
    return max(info.st_mtime_ns, info.st_ctime_ns)


def read_contents(path: str, largest_bytes: int = LARGEST_BYTES) -> Contents:
    """Reads a file; once more if it changed meanwhile.

    Args:
        path: Absolute and without symbolic links, none in its folders either.
        largest_bytes: No more than that are read.

    Raises:
        Unsettled: It changed both times.
        Unreadable: It is no regular file, too large, or behind a link now.
        OSError: It is gone, may not be read, or is a link now.
    """
    for _ in range(2):
        content = bytearray()
        if moment := _read(path, largest_bytes, content.extend):
            return Contents(bytes(content), moment)
    raise Unsettled("it changed while it was read")


def read_moment(path: str, largest_bytes: int = LARGEST_BYTES) -> Moment:
    """As `read_contents`, of a file that is not to be held in memory."""
    for _ in range(2):
        if moment := _read(path, largest_bytes, _nothing):
            return moment
    raise Unsettled("it changed while it was read")


def why_too_large(size: int, largest_bytes: int = LARGEST_BYTES) -> str:
    """Why a file of so many bytes is left out; empty if it is not."""
    if size <= largest_bytes:
        return ""
    return f"it is larger than {largest_bytes // 1024**2} MB ({size / 1e6:.1f} MB)"


def _read(path: str, largest_bytes: int, take: Callable[[bytes], None]) -> Moment | None:
    """The moment it was read at, or None if it changed meanwhile."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable("it is no regular file")
        if not _leads_to(path, before):
            raise Unreadable("it is behind a link now")
        _refuse_large(before.st_size, largest_bytes)
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            _refuse_large(size, largest_bytes)
            digest.update(block)
            take(block)
        after = os.fstat(file.fileno())
    if (before.st_size, stamp_ns(before)) != (after.st_size, stamp_ns(after)):
        return None
    return Moment(digest.hexdigest(), size, stamp_ns(before), before.st_mtime_ns)


def _refuse_large(size: int, largest_bytes: int) -> None:
    if reason := why_too_large(size, largest_bytes):
        raise Unreadable(reason)


def _nothing(block: bytes) -> None:
    del block


def _leads_to(path: str, opened: os.stat_result) -> bool:
    """Whether an open file is what its path names, by no link even in a folder above it."""
    return os.path.samestat(os.stat(path), opened) and paths.same(os.path.realpath(path), path)
