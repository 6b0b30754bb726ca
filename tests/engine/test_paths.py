"""What paths of Windows mean, by tables that hold on every system; those of POSIX beside them."""

import ntpath
import os
import posixpath

import pytest

from engine import paths

NT, POSIX = ntpath, posixpath


@pytest.mark.parametrize(
    ("one", "other", "rules", "expected"),
    [
        (r"C:\notes", r"c:\notes", NT, True),
        (r"C:\Notes\A.md", r"c:\nOTES\a.MD", NT, True),
        (r"C:\notes", "C:/notes", NT, True),
        (r"\\Server\Share\x", r"\\server\share\X", NT, True),
        (r"C:\Größe", r"C:\GRÖßE", NT, True),
        (r"C:\notes", r"D:\notes", NT, False),
        (r"C:\notes", r"C:\notes2", NT, False),
        (r"C:\notes", r"\\server\notes", NT, False),
        ("/notes", "/Notes", POSIX, False),
        ("/a\\b", "/a/b", POSIX, False),
        ("/notes", "/notes", POSIX, True),
    ],
)
def test_two_paths_are_one_as_the_system_takes_them(one, other, rules, expected):
    assert paths.same(one, other, rules) is expected
    assert paths.same(other, one, rules) is expected


@pytest.mark.parametrize(
    ("path", "folder", "rules", "expected"),
    [
        (r"C:\notes\a.md", r"c:\NOTES", NT, True),
        (r"C:\notes", r"C:\Notes", NT, True),
        (r"C:/notes/deep\a.md", r"C:\notes", NT, True),
        (r"C:\notes\a.md", "C:\\", NT, True),
        (r"\\server\share\notes\a", r"\\SERVER\share", NT, True),
        (r"C:\notes2\a.md", r"C:\notes", NT, False),
        (r"C:\not", r"C:\notes", NT, False),
        (r"D:\notes\a.md", r"C:\notes", NT, False),
        (r"\\server\share2\a", r"\\server\share", NT, False),
        (r"\\?\C:\notes\a.md", r"C:\notes", NT, False),  # Such a path was not resolved.
        ("/notes/a", "/", POSIX, True),
        ("/Notes/a", "/notes", POSIX, False),
        ("/notes2", "/notes", POSIX, False),
    ],
)
def test_a_path_is_under_a_folder_as_the_system_takes_them(path, folder, rules, expected):
    assert paths.is_under(path, folder, rules) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (r"\\?\C:\notes\a.md", r"C:\notes\a.md"),
        ("//?/C:/notes", r"C:\notes"),
        (r"\\?\UNC\server\share\a", r"\\server\share\a"),
        (r"\\?\unc\server\share", r"\\server\share"),
        (r"\\?\Volume{1b3b1146-4076-11e1-84aa-806e6f6e6963}\a", None),
        (r"\\?\GLOBALROOT\Device\HarddiskVolume1\a", None),
        (r"\\.\C:\notes", None),
        (r"C:\notes", None),
        ("C:/notes", None),
        (r"\\server\share", None),
        (r"\\?\C:", None),
        ("", None),
    ],
)
def test_the_prefix_of_long_paths_goes_where_there_is_another_way_to_write_one(path, expected):
    assert paths.plain(path, NT) == (path if expected is None else expected)
    assert paths.plain(path, POSIX) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (r"C:\notes", True),
        ("c:/", True),
        (r"\\server\share\a", True),
        (r"\\server\share", True),
        (r"\\?\C:\notes", True),
        (r"\\?\UNC\server\share", True),
        ("C:", False),
        ("C:notes", False),
        (r"\notes", False),
        ("/notes", False),
        ("notes", False),
        (r"..\notes", False),
        (r"~\notes", False),
        ("file:///C:/notes", False),
        ("", False),
    ],
)
def test_an_absolute_path_of_windows_names_its_drive_or_share(path, expected):
    assert paths.is_absolute(path, NT) is expected


def test_an_absolute_path_of_posix_begins_with_a_slash():
    assert paths.is_absolute("/notes", POSIX)
    assert not paths.is_absolute(r"C:\notes", POSIX)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (r"\\server\share\a", True),
        ("//server/share", True),
        (r"\\?\UNC\server\share", True),
        (r"\\.\pipe\x", True),
        (r"\\server@SSL\DavWWWRoot\x", True),
        (r"C:\notes", False),
        (r"\\?\C:\notes", False),
    ],
)
def test_a_path_on_another_machine_is_known_by_its_name(path, expected):
    assert paths.is_remote(path, NT) is expected
    assert not paths.is_remote(path, POSIX)


REFUSED = {
    "device of Windows": [
        *(r"C:\notes\CON", r"C:\notes\con.md", r"C:\notes\NUL.txt", r"C:\NUL\a.md", "C:/aux"),
        *(r"C:\notes\COM1", r"C:\notes\com9.tar.gz", r"C:\notes\LPT3.md", "C:\\COM\u00b9"),
        *(r"C:\notes\PRN  .txt", r"C:\CONIN$", r"C:\conout$.md", r"\\server\share\nul"),
        *(r"\\.\C:\notes", r"\\.\PhysicalDrive0", r"\\.\pipe\x", r"\\?\GLOBALROOT\Device\x"),
        r"\\?\Volume{1b3b1146-4076-11e1-84aa-806e6f6e6963}\a",
    ],
    "stream of a file": [
        *(r"C:\notes\a.txt:hidden", r"C:\notes\a.txt::$DATA", r"C:\notes:x\a.txt"),
        *(r"C:\notes\sub:$I30:$INDEX_ALLOCATION\a", r"C:\notes\C:\a", r"\\?\C:\notes\a.txt:b"),
    ],
    "end Windows would drop": [
        *(r"C:\notes\a.md.", r"C:\notes\a.md ", r"C:\notes. \a.md", r"C:\notes...\a", r"C:\CON."),
    ],
    "no file of Windows can have": [
        *(r"C:\notes\a?.md", r"C:\no*es", "C:\\notes\\a\tb", 'C:\\"notes"', r"C:\<x>", r"C:\a|b"),
    ],
}

TAKEN = [
    *(r"C:\notes", "C:\\", r"C:\notes\.hidden", r"C:\notes\..\x", r"C:\.\x", "C:/notes/a b.md"),
    *(r"C:\console", r"C:\nullable.md", r"C:\COM10", r"C:\COM0.md", r"C:\aux-files", r"C:\com"),
    *(r"C:\a.CON", r"C:\notes\a.nul", r"C:\NOTES~1\A.MD", r"\\server\share\a", r"C:\Größe\日本.md"),
    "C:\\" + "\\".join(["x" * 200] * 10),
    "\\\\?\\C:\\" + "\\".join(["x" * 200] * 10),
]


@pytest.mark.parametrize(("said", "path"), [(k, one) for k, v in REFUSED.items() for one in v])
def test_what_names_no_file_of_windows_is_told_apart_without_asking_the_disk(said, path):
    assert said in paths.objection(path, NT)
    assert paths.objection(path, POSIX) == ""


@pytest.mark.parametrize("path", TAKEN)
def test_what_may_name_a_file_of_windows_is_left_to_the_disk(path):
    assert paths.objection(path, NT) == ""


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        (r"c:\NOTES\Deep\a.md", r"C:\Notes", r"C:\Notes\Deep\a.md"),
        (r"c:\notes", r"C:\Notes", r"C:\Notes"),
        (r"\\SERVER\share\A\b", r"\\server\Share\a", r"\\server\Share\a\b"),
        (r"c:\x", "C:\\", r"C:\x"),
    ],
)
def test_a_path_is_written_as_the_folder_above_it_is(path, folder, expected):
    assert paths.respelled(path, folder, NT) == expected


@pytest.mark.parametrize(
    ("link", "said", "expected"),
    [
        (r"C:\notes\a", r"..\other", r"C:\other"),
        (r"C:\notes\a", r"\\?\D:\x", r"D:\x"),
        (r"C:\notes\a", r"\\evil\share\x", r"\\evil\share\x"),
        (r"C:\notes\a", r"\\?\UNC\evil\share\x", r"\\evil\share\x"),
        (r"C:\notes\deep\a", r"..\b", r"C:\notes\b"),
        (r"C:\notes\a", r"\x", r"C:\x"),
    ],
)
def test_where_a_link_leads_is_read_off_it_without_following_it(link, said, expected):
    assert paths.target(link, said, NT) == expected


def test_the_rules_are_those_of_this_system_unless_others_are_given(tmp_path):
    place = str(tmp_path.resolve())
    assert paths.is_absolute(place)
    assert paths.is_under(os.path.join(place, "a"), place)
    assert paths.objection(place) == ""
    assert paths.plain(place) == place
