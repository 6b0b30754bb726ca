"""What the walk makes of what only Windows has, told by what its calls answer there."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.corpus import Collection
from engine.documents import finder
from engine.documents.collecting import Part, as_known, parts
from engine.documents.contents import read_moment, stamp_ns
from engine.documents.finder import FoundFile, is_in_the_cloud

SECOND = 10**9
NORMAL = 0x80


def test_a_file_has_one_stamp_on_windows_whether_it_is_open_or_not():
    """CPython 3.12 gives st_ctime of a path as birth, of an open file as its last change."""
    named = SimpleNamespace(
        st_mtime_ns=5 * SECOND, st_ctime_ns=2 * SECOND, st_birthtime_ns=2 * SECOND
    )
    opened = SimpleNamespace(
        st_mtime_ns=5 * SECOND, st_ctime_ns=6 * SECOND, st_birthtime_ns=2 * SECOND
    )
    assert stamp_ns(named, "win32") == stamp_ns(opened, "win32") == 5 * SECOND
    # CPython 3.11 knows no birth, and gives it as st_ctime of both.
    older = SimpleNamespace(st_mtime_ns=5 * SECOND, st_ctime_ns=2 * SECOND)
    assert stamp_ns(older, "win32") == 5 * SECOND


def test_a_file_that_was_copied_over_with_its_old_time_is_another_on_windows():
    copied = SimpleNamespace(
        st_mtime_ns=5 * SECOND, st_ctime_ns=9 * SECOND, st_birthtime_ns=9 * SECOND
    )
    assert stamp_ns(copied, "win32") == 9 * SECOND


def test_elsewhere_the_last_change_of_anything_counts():
    changed = SimpleNamespace(
        st_mtime_ns=5 * SECOND, st_ctime_ns=9 * SECOND, st_birthtime_ns=2 * SECOND
    )
    assert stamp_ns(changed, "linux") == stamp_ns(changed, "darwin") == 9 * SECOND


def test_the_walk_and_the_reader_stamp_a_file_alike(tmp_path):
    (tmp_path / "a.md").write_text("text")
    root = str(tmp_path.resolve())
    [[found]] = finder.find(Part(root, Collection("c", root)))
    assert isinstance(found, FoundFile)
    assert read_moment(found.path).stamp_ns == found.stamp_ns


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (NORMAL, False),
        (0x00400000 | NORMAL, True),  # RECALL_ON_DATA_ACCESS
        (0x00401000 | 0x20, True),  # and OFFLINE, ARCHIVE: a file of OneDrive, online only
        (0x00080020, False),  # PINNED: always kept on this machine
        (0x00100020, False),  # UNPINNED, and still here
    ],
)
def test_a_file_that_is_in_the_cloud_alone_is_told_by_its_attributes(attributes, expected):
    assert is_in_the_cloud(SimpleNamespace(st_file_attributes=attributes)) is expected


def test_no_file_of_other_systems_is_in_the_cloud(tmp_path):
    (tmp_path / "a.md").write_text("text")
    assert not is_in_the_cloud(os.stat(tmp_path / "a.md"))


def test_a_path_joins_the_collection_that_it_lies_in_however_it_is_written():
    root = os.path.join(os.path.abspath(os.sep), "Notes")
    kept = Collection("notes", root)
    inside = Path(root, "deep", "a.md")
    assert as_known(inside, [kept]) == inside
    other = Path(root.upper(), "deep", "a.md")
    as_written = inside if sys.platform == "win32" else other
    assert as_known(other, [kept]) == as_written
    assert bool(parts([kept], str(as_known(other, [kept])))) is (sys.platform == "win32")
