"""Which folders an agent may have indexed, by the rules of Windows on every system.

The disk is a table: what Windows would say a path is once links, junctions, short names and drives
are resolved. On the disk of this machine: tools/test_documents.py.
"""

import ntpath
import posixpath

import pytest

from engine.errors import InvalidInput
from mcp_server.roots import place_of

ROOTS = [r"C:\Users\Ada\Notes", r"Z:\team", r"S:\\", r"\\nas\papers"]

LEADS_TO = {
    r"c:\users\ada\notes\link": r"D:\secret",
    r"c:\users\ada\notes\junction": r"C:\Windows\System32",
    r"c:\users\ada\notes\here": r"C:\Users\Ada\Notes\Deep",
    r"c:\users\ada\shortcut": r"C:\Users\Ada\Notes\Deep",
    r"c:\users\ada\notes~1": r"C:\Users\Ada\Notes",
    r"c:\users\ada\secret~1": r"C:\Users\Ada\Secrets of mine",
    r"z:": r"\\fileserver\shared",
    r"s:": r"C:\Users\Ada\Sources",
}


class Disk:
    """Resolves as Windows does, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, path: str) -> str:
        self.asked.append(path)
        path = ntpath.normpath(path.removeprefix("\\\\?\\"))
        for link in sorted(LEADS_TO, key=len, reverse=True):
            if path.lower() == link or path.lower().startswith(link + "\\"):
                return ntpath.normpath(LEADS_TO[link] + path[len(link) :])
        return path


INSIDE = {
    r"C:\Users\Ada\Notes": r"C:\Users\Ada\Notes",
    r"c:\users\ADA\notes\a": r"c:\users\ADA\notes\a",
    r"C:/Users/Ada\Notes/a": r"C:\Users\Ada\Notes\a",
    r"C:\Users\Ada\Notes\..\Notes\a": r"C:\Users\Ada\Notes\a",
    r"C:\Users\Ada\Notes\.\a": r"C:\Users\Ada\Notes\a",
    r"C:\Users\Ada\Notes\here\x": r"C:\Users\Ada\Notes\Deep\x",
    r"C:\Users\Ada\shortcut": r"C:\Users\Ada\Notes\Deep",
    r"C:\Users\Ada\NOTES~1\x": r"C:\Users\Ada\Notes\x",
    r"\\?\C:\Users\Ada\Notes\a": r"C:\Users\Ada\Notes\a",
    "C:\\Users\\Ada\\Notes\\" + "long" * 100: "C:\\Users\\Ada\\Notes\\" + "long" * 100,
    r"Z:\team\x": r"\\fileserver\shared\team\x",
    r"\\fileserver\shared\team\x": r"\\fileserver\shared\team\x",
    r"\\FILESERVER\Shared\Team\x": r"\\FILESERVER\Shared\Team\x",
    r"S:\engine": r"C:\Users\Ada\Sources\engine",
    r"C:\Users\Ada\Sources\engine": r"C:\Users\Ada\Sources\engine",
    r"\\nas\papers\2026": r"\\nas\papers\2026",
    "//nas/papers/2026": r"\\nas\papers\2026",
    r"\\nas\papers\..\x": r"\\nas\papers\x",  # Nothing is above a share.
}

OUTSIDE = [
    *(r"C:\Users\Ada", r"C:\Users\Ada\Notes2", r"C:\Users\Ada\Notes\..", "C:\\", r"D:\Users\Ada"),
    *(r"C:\Users\Ada\Notes\..\..\Bob", r"D:\Users\Ada\Notes", r"c:/windows", r"\\?\C:\Windows"),
    *(r"C:\Users\Ada\Notes\link", r"C:\Users\Ada\Notes\link\x", r"C:\Users\Ada\Notes\junction"),
    *(r"C:\Users\Ada\SECRET~1", r"Z:\others", r"\\fileserver\shared\others"),
]

ELSEWHERE = [
    *(r"\\evil\share\x", "//evil/share", r"\\?\UNC\evil\share", r"\\nas\paper", r"\\nas\papers2\x"),
    *(r"\\evil@SSL\DavWWWRoot\x", r"\\evil@8080\x\y", r"\\10.0.0.7\c$", r"\\nas.evil\papers"),
]

NO_FOLDER = [
    *(r"C:\Users\Ada\Notes\NUL", r"C:\Users\Ada\Notes\con.md", r"C:\Users\Ada\Notes\COM1"),
    *(r"C:\Users\Ada\Notes\a.md:hidden", r"C:\Users\Ada\Notes\a.md::$DATA"),
    *(r"C:\Users\Ada\Notes.", r"C:\Users\Ada\Notes \a", r"\\.\C:\Users\Ada\Notes", r"\\.\COM1"),
    *(r"\\?\GLOBALROOT\Device\HarddiskVolume1", r"C:\Users\Ada\Notes\*"),
]

RELATIVE = ["C:Notes", r"\Users\Ada\Notes", "/Users/Ada/Notes", "Notes", r"..\Notes", "~", ""]


@pytest.mark.parametrize(("path", "place"), INSIDE.items())
def test_what_lies_under_a_root_is_allowed_however_it_is_written(path, place):
    assert place_of(path, ROOTS, Disk(), ntpath) == place


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_lies_outside_is_refused_wherever_it_seems_to_lie(path):
    with pytest.raises(InvalidInput, match="is outside the allowed folders"):
        place_of(path, ROOTS, Disk(), ntpath)


@pytest.mark.parametrize("path", ELSEWHERE)
def test_another_machine_is_not_asked_for_a_path_that_no_root_is_on(path):
    disk = Disk()
    with pytest.raises(InvalidInput, match="is outside the allowed folders"):
        place_of(path, ROOTS, disk, ntpath)
    assert disk.asked == ROOTS


@pytest.mark.parametrize("path", NO_FOLDER)
def test_what_names_no_folder_is_refused_before_the_disk_is_asked(path):
    disk = Disk()
    with pytest.raises(InvalidInput, match=r"Windows|stream"):
        place_of(path, ROOTS, disk, ntpath)
    assert disk.asked == []


@pytest.mark.parametrize("path", RELATIVE)
def test_a_path_without_a_drive_is_refused(path):
    disk = Disk()
    with pytest.raises(InvalidInput, match="must be absolute"):
        place_of(path, ROOTS, disk, ntpath)
    assert disk.asked == []


def test_on_posix_the_same_names_are_files_like_any_other():
    def ask(path):
        return place_of(path, ["/notes"], posixpath.normpath, posixpath)

    for name in ("NUL", "con.md", "a.md:hidden", "a. ", "C:\\x", "?*", "\\\\server\\share"):
        assert ask(f"/notes/{name}") == f"/notes/{name}"
    for path in ("/Notes/a", "/notes/../x", "//notes2"):
        with pytest.raises(InvalidInput, match="is outside"):
            ask(path)
