"""Finds the files a collection covers.

Knows nothing of what is indexed. Reads no file but ignore files.
Rule: what is ignored is not entered, and a symbolic link is never followed: what it names inside
the folder is found at its own place, what lies outside stays outside.
"""

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine import paths
from engine.documents import ignoring, kinds
from engine.documents.collecting import Part
from engine.documents.contents import stamp_ns, why_too_large
from engine.documents.ignoring import Globs, Ignores
from engine.errors import InvalidInput

PASSED_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages", "bower_components"})
# A folder that holds it is a virtual environment of Python.
_ENVIRONMENT_FILE = "pyvenv.cfg"
_WINDOWS_JUNCTION = 0xA0000003
# Of winnt.h: FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS; to read such a file is to download it.
_IN_THE_CLOUD = 0x00400000
# Systems of files that know no final names, as some of memory disks do, say one of these.
_NO_FINAL_NAMES = frozenset({1, 50, 87})


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
    is_named: bool = False
    """Whether it is only told because it was asked for: a walk passes it over in silence."""


Entry = FoundFile | Skipped


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    ignores: Ignores


@dataclass(frozen=True, slots=True)
class _Walk:
    """What holds in a whole collection."""

    root: str
    inner: frozenset[str]
    include: Globs | None
    exclude: Globs | None

    def why_passed(self, path: str, is_folder: bool, folder: _Folder) -> str:
        """Why an entry is passed over in silence; empty if it is looked at."""
        name = os.path.basename(path)
        if name.startswith("."):
            return "it is hidden"
        if os.path.normcase(path) in self.inner:
            return "it is a collection of its own"
        if self.exclude and self.exclude.match(path, is_folder=is_folder):
            return "its collection excludes it"
        if self.include and not is_folder and not self.include.match(path):
            return "its collection does not include it"
        if is_folder and (name in PASSED_FOLDERS or _holds_environment(path)):
            return "it holds installed packages"
        ignoring_file = ignoring.ignored_by(path, is_folder, folder.ignores)
        return f"{_shown(ignoring_file)} leaves it out" if ignoring_file else ""


def find(part: Part) -> Iterator[list[Entry]]:
    """Walks a folder, a list for each in the order of names, or takes one file.

    What is named itself is what it is in its collection: left out there, it is skipped here.

    Args:
        part: Its root as `resolved` gives it, so that what a caller has checked is what is walked.

    Raises:
        InvalidInput: There is nothing at the root, it may not be read, or a link leads there.
    """
    info = _examined(part.root)
    is_folder = stat.S_ISDIR(info.st_mode)
    walk = _walk_of(part)
    ignores, reason = _way_down(part, walk, is_folder)
    if reason:
        yield [Skipped(_shown(part.root), reason, is_named=True)]
    elif is_folder:
        yield from _walked(_Folder(part.root, ignoring.within(part.root, ignores)), walk)
    else:
        yield [_named(part.root, info)]


def resolved(path: Path) -> Path:
    """A path made absolute, with symbolic links resolved, whether or not anything is there.

    Raises:
        InvalidInput: No path can be like that, or its links lead in a circle.
    """
    written = paths.plain(str(path))
    try:
        try:
            return Path(os.path.realpath(written, strict=True))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return Path(os.path.realpath(written))
        except OSError as error:
            if getattr(error, "winerror", 0) not in _NO_FINAL_NAMES:
                raise
            return Path(os.path.realpath(written))
    except (OSError, ValueError, RuntimeError) as error:
        raise _refused(written, error) from error


def is_bare(root: str) -> bool:
    """Whether a folder shows nothing, as the place of a drive that is not there."""
    try:
        with os.scandir(root) as listing:
            return all(entry.name.startswith(".") for entry in listing)
    except OSError:
        return False


def _examined(path: str) -> os.stat_result:
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            os.scandir(path).close()
        if not paths.same(os.path.realpath(path), path):
            raise ValueError("a link leads there, or it is not absolute")
    except (OSError, ValueError) as error:
        raise _refused(path, error) from error
    return info


def _refused(path: str, error: Exception) -> InvalidInput:
    reason = error.strerror if isinstance(error, OSError) else error
    return InvalidInput(
        f"{_shown(path)} cannot be looked into ({reason}); nothing in the index changed."
    )


def _walk_of(part: Part) -> _Walk:
    root, globs = part.collection.root, (part.collection.include, part.collection.exclude)
    include, exclude = (Globs(root, patterns) if patterns else None for patterns in globs)
    return _Walk(root, frozenset(map(os.path.normcase, part.inner)), include, exclude)


def _way_down(part: Part, walk: _Walk, is_folder: bool) -> tuple[Ignores, str]:
    """What holds around a part by all that leads to it, and why it is left out, if it is."""
    if part.is_whole:
        ignores, ignoring_file = ignoring.around(part.root, is_folder=is_folder)
        return ignores, f"{_shown(ignoring_file)} leaves it out" if ignoring_file else ""
    ignores, _ = ignoring.around(walk.root, is_folder=True)
    folder = _Folder(walk.root, ignoring.within(walk.root, ignores))
    names = PurePath(os.path.relpath(part.root, walk.root)).parts
    for name in names[:-1]:
        path = os.path.join(folder.path, name)
        if reason := walk.why_passed(path, True, folder):
            return folder.ignores, f"it is in {_shown(path)}, and {reason}"
        folder = _Folder(path, ignoring.within(path, folder.ignores))
    return folder.ignores, walk.why_passed(part.root, is_folder, folder)


def _walked(top: _Folder, walk: _Walk) -> Iterator[list[Entry]]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            taken = [_look(entry, folder, walk) for entry in _listing(folder.path)]
        except (OSError, ValueError) as error:
            yield [_unseen(folder.path, error)]
            continue
        waiting += reversed([one for one in taken if isinstance(one, _Folder)])
        yield [one for one in taken if isinstance(one, Entry)]


def _listing(folder: str) -> list["os.DirEntry[str]"]:
    """What is in a folder, by name.

    Raises:
        ValueError: It was swapped for a link.
        OSError: It is gone or may not be read.
    """
    if not paths.same(os.path.realpath(folder), folder):
        raise ValueError("it is behind a link now")
    with os.scandir(folder) as listing:
        return sorted(listing, key=lambda entry: entry.name)


def _look(
    entry: "os.DirEntry[str]", folder: _Folder, walk: _Walk
) -> _Folder | FoundFile | Skipped | None:
    """What an entry is to the walk; None passes it over in silence."""
    if entry.name.startswith("."):
        return None
    try:
        info = entry.stat(follow_symlinks=False)
        is_link = entry.is_symlink() or _is_junction(info)
        is_folder = not is_link and stat.S_ISDIR(info.st_mode)
        if walk.why_passed(entry.path, is_folder, folder):
            return None
        if is_link:
            return _link(entry.path, walk.root)
        if is_folder:
            return _Folder(entry.path, ignoring.within(entry.path, folder.ignores))
        return _take(entry.path, info)
    except OSError as error:
        return _unseen(entry.path, error)


def _take(path: str, info: os.stat_result) -> FoundFile | Skipped | None:
    name = os.path.basename(path)
    if reason := kinds.why_unread(name):
        return Skipped(_shown(path), reason)
    return _found(path, info) if kinds.is_read(name) else None


def _named(path: str, info: os.stat_result) -> FoundFile | Skipped:
    if os.path.basename(path).startswith("."):
        return Skipped(_shown(path), "it is hidden", is_named=True)
    unknown = Skipped(_shown(path), "its kind is not indexed", is_named=True)
    return _take(path, info) or unknown


def _found(path: str, info: os.stat_result) -> FoundFile | Skipped:
    if not stat.S_ISREG(info.st_mode):
        return Skipped(_shown(path), "it is no regular file")
    if _shown(path) != path:
        return Skipped(_shown(path), "its name is no valid Unicode")
    if reason := paths.unfit(os.path.basename(path)):
        return Skipped(path, f"it {reason}")
    if is_in_the_cloud(info):
        return Skipped(path, "it is in the cloud and not on this machine", unseen=True)
    if reason := why_too_large(info.st_size, kinds.kind_of(path).largest_bytes):
        return Skipped(path, reason)
    return FoundFile(path, info.st_size, stamp_ns(info))


def _link(path: str, root: str) -> Skipped | None:
    try:
        # On Windows following one may tell another machine who is logged in.
        said = os.readlink(path) if sys.platform == "win32" else ""
        target = paths.target(path, said) if said else os.path.realpath(path, strict=True)
    except OSError:
        return Skipped(_shown(path), "it is a link that leads nowhere")
    if paths.is_under(target, root):
        return None
    return Skipped(_shown(path), "it is a link that leads out of the folder")


def is_in_the_cloud(info: os.stat_result) -> bool:
    """Whether only the name of a file is on this machine, as OneDrive leaves it on Windows."""
    return bool(getattr(info, "st_file_attributes", 0) & _IN_THE_CLOUD)


def _holds_environment(path: str) -> bool:
    return os.path.lexists(os.path.join(path, _ENVIRONMENT_FILE))


def _is_junction(info: os.stat_result) -> bool:
    return getattr(info, "st_reparse_tag", 0) == _WINDOWS_JUNCTION


def _unseen(path: str, error: OSError | ValueError) -> Skipped:
    if isinstance(error, OSError):
        return Skipped(_shown(path), f"it cannot be read ({error.strerror})", unseen=True)
    return Skipped(_shown(path), str(error))


def _shown(path: str) -> str:
    return path.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
