"""Finds the files a collection covers.

Knows nothing of what is indexed. Reads no file but .gitignore.
Rule: what is ignored is not entered, and a symbolic link is never followed: what it names inside
the folder is found at its own place, what lies outside stays outside.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.documents import ignoring, kinds
from engine.documents.contents import stamp_ns, why_too_large
from engine.documents.ignoring import Ignores
from engine.errors import InvalidInput

_PASSED_FOLDERS = {"node_modules", "__pycache__", "site-packages", "bower_components"}
# A folder that holds it is a virtual environment of Python.
_ENVIRONMENT_FILE = "pyvenv.cfg"
_WINDOWS_JUNCTION = 0xA0000003


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may be indexed."""

    path: str
    """Absolute, with symbolic links resolved."""
    size: int
    stamp_ns: int
    """See `Document.stamp_ns`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is left out, and why."""

    path: str
    """Fit to be shown: what is no Unicode in it is replaced."""
    reason: str
    unseen: bool = False
    """Whether it could not be looked at, so that what is indexed of it may still be true."""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    ignores: Ignores


def find(root: Path) -> Iterator[FoundFile | Skipped]:
    """Walks a folder in the order of names, or takes one file.

    A file named itself is what it is in its folder: left out there, it is skipped here.

    Args:
        root: As `resolved` gives it, so that what a caller has checked is what is walked.

    Raises:
        InvalidInput: There is nothing at `root`, it may not be looked into, or a link leads there.
    """
    path = str(root)
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            os.scandir(path).close()
        if os.path.realpath(path) != path:
            raise ValueError("a link leads there, or it is not absolute")
    except (OSError, ValueError) as error:
        raise _refused(root, error) from error
    is_folder = stat.S_ISDIR(info.st_mode)
    ignores, ignoring_file = ignoring.around(path, is_folder=is_folder)
    if ignoring_file:
        yield Skipped(_shown(path), f"{_shown(ignoring_file)} leaves it out")
    elif is_folder:
        yield from _walk(_Folder(path, ignoring.within(path, ignores)))
    else:
        yield _named(path, info)


def resolved(path: Path) -> Path:
    """A path made absolute, with symbolic links resolved, whether or not anything is there.

    Raises:
        InvalidInput: No path can be like that, or its links lead in a circle.
    """
    try:
        return Path(os.path.realpath(path, strict=True))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return Path(os.path.realpath(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: Exception) -> InvalidInput:
    reason = error.strerror if isinstance(error, OSError) else error
    return InvalidInput(
        f"{_shown(str(path))} cannot be looked into ({reason}); nothing in the index changed."
    )


def _walk(root: _Folder) -> Iterator[FoundFile | Skipped]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if os.path.realpath(folder.path) != folder.path:
            yield Skipped(_shown(folder.path), "it is behind a link now")
            continue
        try:
            with os.scandir(folder.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield _unseen(folder.path, error)
            continue
        inner: list[_Folder] = []
        for entry in entries:
            taken = _look(entry, folder, root.path)
            if isinstance(taken, _Folder):
                inner.append(taken)
            elif taken is not None:
                yield taken
        waiting += reversed(inner)


def _look(
    entry: "os.DirEntry[str]", folder: _Folder, root: str
) -> _Folder | FoundFile | Skipped | None:
    """What an entry is to the walk; None passes it over in silence."""
    if entry.name.startswith("."):
        return None
    try:
        info = entry.stat(follow_symlinks=False)
        is_link = entry.is_symlink() or _is_junction(info)
        is_folder = not is_link and stat.S_ISDIR(info.st_mode)
        if ignoring.ignored_by(entry.path, is_folder, folder.ignores):
            return None
        if is_link:
            return _link(entry.path, root)
        return _enter(entry, folder) if is_folder else _take(entry, info)
    except OSError as error:
        return _unseen(entry.path, error)


def _enter(entry: "os.DirEntry[str]", folder: _Folder) -> _Folder | None:
    if entry.name in _PASSED_FOLDERS:
        return None
    if os.path.lexists(os.path.join(entry.path, _ENVIRONMENT_FILE)):
        return None
    return _Folder(entry.path, ignoring.within(entry.path, folder.ignores))


def _take(entry: "os.DirEntry[str]", info: os.stat_result) -> FoundFile | Skipped | None:
    if reason := kinds.why_unread(entry.name):
        return Skipped(_shown(entry.path), reason)
    return _found(entry.path, info) if kinds.is_read(entry.name) else None


def _named(path: str, info: os.stat_result) -> FoundFile | Skipped:
    name = os.path.basename(path)
    if name.startswith("."):
        return Skipped(_shown(path), "it is hidden")
    reason = kinds.why_unread(name) or ("" if kinds.is_read(name) else "its kind is not indexed")
    return Skipped(_shown(path), reason) if reason else _found(path, info)


def _found(path: str, info: os.stat_result) -> FoundFile | Skipped:
    if not stat.S_ISREG(info.st_mode):
        return Skipped(_shown(path), "it is no regular file")
    if _shown(path) != path:
        return Skipped(_shown(path), "its name is no valid Unicode")
    if reason := why_too_large(info.st_size, kinds.kind_of(path).largest_bytes):
        return Skipped(path, reason)
    return FoundFile(path, info.st_size, stamp_ns(info))


def _link(path: str, root: str) -> Skipped | None:
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:
        return Skipped(_shown(path), "it is a link that leads nowhere")
    if Path(target).is_relative_to(root):
        return None
    return Skipped(_shown(path), "it is a link that leads out of the folder")


def _is_junction(info: os.stat_result) -> bool:
    return getattr(info, "st_reparse_tag", 0) == _WINDOWS_JUNCTION


def _unseen(path: str, error: OSError) -> Skipped:
    return Skipped(_shown(path), f"it cannot be read ({error.strerror})", unseen=True)


def _shown(path: str) -> str:
    return path.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
