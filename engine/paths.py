"""Paths: when two are the same, what lies below what, and which of Windows name no file.

Pure: no disk is looked at. Each function takes the rules of a system: those of this one unless
others, `ntpath` or `posixpath`, are handed in.
Rule: what is compared was resolved before, see `documents.finder.resolved`. Only a disk knows what
a link, a junction, a short name (NOTES~1), a substituted or a mapped drive stands for, and that is
how a path is resolved. Folders of Windows that tell A from a are taken as if they did not.
"""

import os
from types import ModuleType

_STREAM, _ENDS = ":", (".", " ")
_NEVER = frozenset('<>"|?*') | frozenset(map(chr, range(32)))

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{name}{number}" for name in ("COM", "LPT") for number in "123456789\u00b9\u00b2\u00b3"}
)

_VERBATIM, _SHARE = "\\\\?\\", "\\\\?\\UNC\\"


def same(one: str, other: str, rules: ModuleType = os.path) -> bool:
    """Whether two absolute paths are one."""
    return one == other or rules.normcase(one) == rules.normcase(other)


def is_under(path: str, folder: str, rules: ModuleType = os.path) -> bool:
    """Whether an absolute path is at or below another."""
    path, folder = rules.normcase(path), rules.normcase(folder)
    return path == folder or path.startswith(folder.rstrip(rules.sep) + rules.sep)


def respelled(path: str, folder: str, rules: ModuleType = os.path) -> str:
    """A path at or below a folder, so that it begins as that is written."""
    below = rules.relpath(path, folder)
    return folder if below == rules.curdir else rules.join(folder, below)


def is_absolute(path: str, rules: ModuleType = os.path) -> bool:
    """Whether a path says where it begins: on Windows by a drive or a share, too."""
    if rules.sep == "/":
        return bool(rules.isabs(path))
    drive, rest = rules.splitdrive(plain(path, rules))
    return bool(drive) and (rest[:1] in ("\\", "/") or is_remote(path, rules))


def plain(path: str, rules: ModuleType = os.path) -> str:
    r"""A path without the prefix \\?\ of Windows, if there is another way to write it."""
    if rules.sep == "/":
        return path
    written = path.replace("/", "\\")
    if written.upper().startswith(_SHARE):
        return "\\\\" + written[len(_SHARE) :]
    behind = written.removeprefix(_VERBATIM)
    return behind if behind != written and behind[1:3] == ":\\" else path


def is_remote(path: str, rules: ModuleType = os.path) -> bool:
    """Whether it lies on another machine by its name, so that only asking for it tells that machine
    who asks; mapped drives are told apart by resolving alone."""
    if rules.sep == "/":
        return False
    return plain(path, rules).replace("/", "\\").startswith("\\\\")


def drive(path: str, rules: ModuleType = os.path) -> str:
    """The drive or share of a path, fit to be compared; empty where there are none."""
    return str(rules.normcase(rules.splitdrive(plain(path, rules))[0]))


def target(link: str, said: str, rules: ModuleType = os.path) -> str:
    """Where a link leads by what it says, without following it."""
    return str(rules.normpath(rules.join(rules.dirname(link), plain(said, rules))))


def objection(path: str, rules: ModuleType = os.path) -> str:
    """Why a path names no file or folder of Windows, as "names ..."; empty if it may.

    To ask the disk for one such is to open a device, or another file than the one that is named.
    """
    if rules.sep == "/":
        return ""
    path = plain(path, rules).replace("/", "\\")
    if path.startswith(("\\\\?\\", "\\\\.\\")):
        return "names a device of Windows, not a folder"
    for name in rules.splitdrive(path)[1].split("\\"):
        if reason := unfit(name, rules):
            return reason
    return ""


def unfit(name: str, rules: ModuleType = os.path) -> str:
    """The same for one name on the way."""
    if rules.sep == "/" or name in (".", ".."):
        return ""
    if _STREAM in name:
        return "names a stream of a file, not a file"
    if not _NEVER.isdisjoint(name):
        return f"has a name that no file of Windows can have: {name[:100]!r}"
    if name.endswith(_ENDS):
        return f"has a name whose end Windows would drop: {name[:100]!r}"
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return f"names a device of Windows, not a file: {name[:100]!r}"
    return ""
