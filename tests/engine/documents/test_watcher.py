"""Watching folders: what changes is told, gathered, and what a walk passes over is not."""

import itertools
import os
import shutil
import sys

import pytest

from engine.documents.watcher import WatchOptions, changed_paths

# Far more than any change takes to be told.
TICKS = 600
SOON = WatchOptions(quiet=0.1, longest=5, tick=0.05)


def _told(watching, wanted: set[str]) -> set[str]:
    """What is told until all that is wanted was."""
    told: set[str] = set()
    for changed in itertools.islice(watching, TICKS):
        told |= changed
        if wanted <= told:
            return told
    raise AssertionError(f"only {told} was told")


@pytest.fixture
def watching(folder):
    """Watches the folder; watches are set once it yields."""
    steps = changed_paths([str(folder)], SOON)
    assert next(steps) == frozenset()
    yield steps
    steps.close()


def test_new_changed_and_deleted_files_are_told(folder, watching):
    (folder / "sub").mkdir()
    (folder / "a.md").write_text("one")
    _told(watching, {str(folder / "a.md"), str(folder / "sub")})
    (folder / "sub" / "b.md").write_text("two")
    _told(watching, {str(folder / "sub" / "b.md")})
    (folder / "a.md").unlink()
    (folder / "sub" / "b.md").rename(folder / "c.md")
    _told(watching, {str(folder / name) for name in ("a.md", "sub/b.md", "c.md")})


def test_nothing_is_told_while_nothing_changes(watching):
    assert set(itertools.islice(watching, 3)) == {frozenset()}


def test_what_a_walk_passes_over_is_not_told(folder, watching):
    for name in (
        ".git/HEAD",
        "node_modules/x/y.js",
        "sub/__pycache__/z.pyc",
        ".hidden.md",
        "end.md",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    told = _told(watching, {str(folder / "end.md")})
    assert told <= {str(folder / "end.md"), str(folder / "sub")}


@pytest.mark.parametrize("name", [".gitignore", ".npugatewayignore"])
def test_an_ignore_file_stands_for_its_folder(folder, watching, name):
    (folder / "sub").mkdir()
    _told(watching, {str(folder / "sub")})
    (folder / "sub" / name).write_text("x")
    _told(watching, {str(folder / "sub")})


def test_changes_are_told_together_once_it_is_quiet(folder):
    seconds = itertools.count()
    steps = changed_paths(
        [str(folder)], WatchOptions(quiet=3, longest=100, tick=0.05), lambda: next(seconds)
    )
    next(steps)
    told = []
    for number in range(TICKS):
        if number < 6:
            (folder / f"{number}.md").write_text("x")
        told.append(next(steps))
        if told[-1]:
            break
    assert len(told[-1]) == 6
    assert set(told[:-1]) == {frozenset()}
    steps.close()


def test_changes_that_do_not_end_are_told_after_a_while(folder):
    seconds = itertools.count()
    steps = changed_paths(
        [str(folder)], WatchOptions(quiet=1e9, longest=9, tick=0.05), lambda: next(seconds)
    )
    next(steps)
    for number in range(TICKS):
        (folder / f"{number}.md").write_text("x")
        if next(steps):
            break
    assert 5 < number < TICKS - 1
    steps.close()


def test_a_root_that_vanishes_and_comes_back_is_told_each_time(folder, watching):
    shutil.rmtree(folder)
    _told(watching, {str(folder)})
    folder.mkdir()
    _told(watching, {str(folder)})
    assert next(watching) == frozenset()
    (folder / "a.md").write_text("x")
    _told(watching, {str(folder / "a.md")})


def test_every_root_counts_as_changed_once_in_a_while(folder, tmp_path):
    seconds = itertools.count()
    roots = [str(folder), str(tmp_path / "missing")]
    often = WatchOptions(quiet=0, recheck=20, recheck_unwatched=5, tick=0.05)
    steps = changed_paths(roots, often, lambda: next(seconds))
    told = [next(steps) for _ in range(12)]
    assert [number for number, some in enumerate(told) if some == set(roots)] == [4, 9]
    (tmp_path / "missing").mkdir()
    _told(steps, set(roots))
    told = [next(steps) for _ in range(45)]
    first, second = (number for number, some in enumerate(told) if some == set(roots))
    assert second - first == 20
    steps.close()


def test_one_file_may_be_watched(folder):
    file = folder / "a.md"
    file.write_text("one")
    steps = changed_paths([str(file)], SOON)
    next(steps)
    (folder / "b.md").write_text("two")
    file.write_text("three")
    assert _told(steps, {str(file)}) == {str(file)}
    steps.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links")
def test_a_root_that_becomes_another_folder_is_told(folder, watching):
    folder.rename(folder.with_name("old"))
    os.mkdir(folder)
    _told(watching, {str(folder)})
    (folder / "a.md").write_text("x")
    _told(watching, {str(folder / "a.md")})
