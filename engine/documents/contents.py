"""Reads one file's bytes as they are at one moment: a real file, small enough, not by a link."""

import os
import stat
from dataclasses import dataclass

from engine.documents.readers.interface import Unreadable

LARGEST_BYTES = 2 * 1024 * 1024
"""Of a file that is indexed: some 500 pages of text. What is larger is data rather than prose."""

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
class Contents:
    """The bytes of a file, and its stamp before and after."""

    content: bytes
    stamp_ns: int


def stamp_ns(info: os.stat_result) -> int:
    """When a file last changed: the later of its times, since the first can be set back."""
    return max(info.st_mtime_ns, info.st_ctime_ns)


def read_contents(path: str) -> Contents:
    """Reads a file; once more if it changed meanwhile.

    Args:
        path: Absolute and without symbolic links, none in its folders either.

    Raises:
        Unsettled: It changed both times.
        Unreadable: It is no regular file, too large, or behind a link now.
        OSError: It is gone, may not be read, or is a link now.
    """
    contents = _read(path) or _read(path)
    if contents is None:
        raise Unsettled("it changed while it was read")
    return contents


def why_too_large(size: int) -> str:
    """Why a file of so many bytes is left out; empty if it is not."""
    if size <= LARGEST_BYTES:
        return ""
    return f"it is larger than {LARGEST_BYTES // 1024**2} MB ({size / 1e6:.1f} MB)"


def _read(path: str) -> Contents | None:
    """The contents, or None if they changed meanwhile."""
    with open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable("it is no regular file")
        if not _leads_to(path, before):
            raise Unreadable("it is behind a link now")
        content = file.read(LARGEST_BYTES + 1)
        after = os.fstat(file.fileno())
    if reason := why_too_large(max(len(content), before.st_size)):
        raise Unreadable(reason)
    if (before.st_size, stamp_ns(before)) != (after.st_size, stamp_ns(after)):
        return None
    return Contents(content, stamp_ns(before))


def _leads_to(path: str, opened: os.stat_result) -> bool:
    """Whether an open file is what its path names, by no link even in a folder above it."""
    return os.path.samestat(os.stat(path), opened) and os.path.realpath(path) == path
