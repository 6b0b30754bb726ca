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


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a file, and its time when reading began."""

    content: bytes
    mtime_ns: int


def read_contents(path: str) -> Contents:
    """Reads a file; once more if it changed meanwhile.

    Raises:
        Unreadable: It is no regular file, or too large.
        OSError: It is gone, may not be read, or is a link now.
    """
    first, changed = _read(path)
    return _read(path)[0] if changed else first


def why_too_large(size: int) -> str:
    """Why a file of so many bytes is left out; empty if it is not."""
    if size <= LARGEST_BYTES:
        return ""
    return f"it is larger than {LARGEST_BYTES // 1024**2} MB ({size / 1e6:.1f} MB)"


def _read(path: str) -> tuple[Contents, bool]:
    with open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable("it is no regular file")
        content = file.read(LARGEST_BYTES + 1)
        after = os.fstat(file.fileno())
    if reason := why_too_large(max(len(content), before.st_size)):
        raise Unreadable(reason)
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    return Contents(content, before.st_mtime_ns), changed
