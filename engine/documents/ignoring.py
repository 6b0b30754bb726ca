"""Which files and folders are left out, by the ignore files in and above their folder.

Rule: the walk enters no ignored folder, so a pattern is only asked about an entry itself; whether
it matches a folder above was decided there, and a later pattern cannot undo it. What our own ignore
files say counts for more than any .gitignore.
"""
# pathspec leaves open whether its expressions are of text or bytes; that ends at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

import pathspec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from engine.documents.contents import read_contents
from engine.documents.matching import quick
from engine.documents.readers.interface import Unreadable, decode
from engine.errors import InvalidInput

OWN_FILE = ".npugatewayignore"
IGNORE_FILES = (".gitignore", OWN_FILE)

_REPOSITORY = ".git"

IGNORES_CASE = sys.platform in ("win32", "darwin")
"""Whether A is a to git, as it sets up repositories on this system (core.ignoreCase)."""

# The group by which pathspec's expressions say that they match a folder above the path.
_FOLDER_ABOVE = "ps_d"


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: "re.Pattern[str]"
    ignores: bool
    """False takes back what an earlier pattern ignored."""

    def matches(self, name: str) -> bool:
        return any(
            match.groupdict().get(_FOLDER_ABOVE) is None or match.end(_FOLDER_ABOVE) == len(name)
            for match in self.regex.finditer(name)
        )


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """What one ignore file says."""

    folder: str
    name: str
    patterns: tuple[_Pattern, ...]
    """The last one first: it decides."""


Ignores = tuple[IgnoreFile, ...]
"""The ignore files that hold in a folder, the outermost first and our own behind the others: the
last that says anything decides."""


class Globs:
    """Patterns as in .gitignore, about the files below one folder."""

    def __init__(self, folder: str, patterns: Iterable[str]) -> None:
        """Compiles.

        Raises:
            InvalidInput: One of the patterns is none.
        """
        self._start = len(folder.rstrip(os.sep)) + 1
        compiled = [one for pattern in patterns for one in _checked(pattern)]
        self._spec = pathspec.GitIgnoreSpec(compiled, backend="simple")

    def match(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether they match a path below the folder, or a folder above it."""
        name = path[self._start :].replace(os.sep, "/")
        return self._spec.match_file(name + "/" if is_folder else name)


def within(folder: str, outer: Ignores) -> Ignores:
    """What holds in a folder: what holds around it, and its own ignore files."""
    read = [_read(folder, name) for name in IGNORE_FILES]
    here = [file for file in read if file]
    return tuple(sorted((*outer, *here), key=lambda file: file.name == OWN_FILE)) if here else outer


def around(path: str, *, is_folder: bool) -> tuple[Ignores, str]:
    """What holds around a path in its repository, and which ignore file ignores the path, if any.

    An ignore file above a folder holds only if it belongs to a repository that the folder is in.
    """
    ignores: Ignores = ()
    for folder, inner in _way_to(path, is_folder):
        ignores = within(folder, ignores)
        if ignoring := ignored_by(inner, is_folder or inner != path, ignores):
            return ignores, ignoring
    return ignores, ""


def ignored_by(path: str, is_folder: bool, ignores: Ignores) -> str:
    """The file that ignores an entry, or nothing.

    As git decides: the innermost that says anything about it is right.
    """
    for file in reversed(ignores):
        name = path[len(file.folder.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
        name += "/" if is_folder else ""
        for pattern in file.patterns:
            if pattern.matches(name):
                return os.path.join(file.folder, file.name) if pattern.ignores else ""
    return ""


def _read(folder: str, name: str) -> IgnoreFile | None:
    try:
        text = decode(read_contents(os.path.join(folder, name)).content)[0]
    except (OSError, Unreadable):
        return None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    patterns = [
        _Pattern(one.regex, bool(one.include))
        for line in lines
        for one in compiled(line)
        if one.regex is not None
    ]
    return IgnoreFile(folder, name, tuple(reversed(patterns)))


def _way_to(path: str, is_folder: bool) -> Iterator[tuple[str, str]]:
    """Each folder from the repository's top down to above a path, and its entry on the way."""
    if is_folder and os.path.lexists(os.path.join(path, _REPOSITORY)):
        return
    inner = path
    way: list[tuple[str, str]] = []
    for folder in map(str, PurePath(path).parents):
        way.append((folder, inner))
        if os.path.lexists(os.path.join(folder, _REPOSITORY)):
            yield from reversed(way)
            return
        inner = folder
    if not is_folder:
        yield way[0]


def compiled(line: str, *, ignores_case: bool = IGNORES_CASE) -> list[GitIgnoreSpecPattern]:
    """The pattern of a line; none of a comment or of what git cannot read either."""
    flags = re.IGNORECASE if ignores_case else re.NOFLAG
    try:
        read = pathspec.GitIgnoreSpec.from_lines([line]).patterns
        for pattern in read:
            if pattern.regex is not None:
                pattern.regex = re.compile(quick(pattern.regex.pattern), flags)
    except (ValueError, re.error):
        return []
    return [pattern for pattern in read if pattern.include is not None]


def _checked(pattern: str) -> list[GitIgnoreSpecPattern]:
    found = [] if "\0" in pattern or "\n" in pattern else compiled(pattern)
    if not found:
        raise InvalidInput(
            f'"{pattern[:100]}" is no pattern for file names; write them as in .gitignore, '
            "for instance *.md or drafts/."
        )
    return found
