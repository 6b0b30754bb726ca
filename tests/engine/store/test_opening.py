"""Opening an index: new, damaged, foreign, read-only, by many processes, without sqlite-vec."""

import random
import shutil
import sys
import tempfile
from pathlib import Path

import apsw
import pytest

from engine.errors import StoreError


@pytest.fixture
def filled(path, open_at, document, embed):
    """An index with one document of so many chunks, closed again."""

    def fill(chunks=1, at=path):
        store = open_at(at)
        store.replace(*document("/d/a", chunks))
        embed(store)
        store.close()
        return at

    return fill


def test_file_and_folders_are_made(tmp_path, open_at):
    store = open_at(tmp_path / "new" / "folder" / "index.sqlite")
    assert store.documents() == []
    assert (tmp_path / "new" / "folder" / "index.sqlite").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file names")
@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory", "a b%20c#d?e", "日本\n"])
def test_a_file_of_any_name_is_a_file(tmp_path, open_at, document, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    store = open_at(Path(name))
    store.replace(*document("/d/a"))
    assert (tmp_path / name).exists()
    assert open_at(tmp_path / name).count() == 1
    store.backup(Path(name + "-copy"))
    assert open_at(tmp_path / f"{name}-copy").count() == 1


def test_a_file_that_is_no_database_is_left_as_it_is(path, open_at):
    path.write_text("My notes, which nobody should overwrite. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not an SQLite database"):
        open_at(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_as_it_is(path, open_at, raw):
    raw.execute("CREATE TABLE meta (key, value); INSERT INTO meta VALUES ('x', 1)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        open_at(path)
    assert path.read_bytes() == before


def test_a_damaged_index_is_refused_with_a_sentence(path, open_at, filled):
    content = bytearray(filled(500).read_bytes())
    content[4096:] = random.Random(0).randbytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="index the documents again"):
        open_at(path).documents()


@pytest.mark.parametrize("kept", [99, 100, 4095, 4096, 5000])
def test_a_truncated_index_is_refused_with_a_sentence(path, open_at, filled, vectors, kept):
    path.write_bytes(filled(50).read_bytes()[:kept])
    with pytest.raises(StoreError) as refused:
        open_at(path).nearest(vectors(1)[0], 3)
    assert str(path) in str(refused.value)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path, open_at):
    with pytest.raises(StoreError, match="cannot be opened"):
        open_at(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, open_at):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="choose another place"):
        open_at(tmp_path / "file" / "index.sqlite")


@pytest.fixture
def for_anybody():
    """A folder that other users may get to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
@pytest.mark.parametrize("folder_mode", [0o777, 0o555], ids=["file", "folder"])
@pytest.mark.parametrize("is_backup", [False, True], ids=["index", "backup"])
def test_what_may_only_be_read_is_read_and_says_so_when_written(
    for_anybody, open_at, filled, child, outcome, folder_mode, is_backup
):
    path = filled(3, for_anybody / "made.sqlite")
    if is_backup:
        open_at(path).backup(for_anybody / "index.sqlite")
        path = for_anybody / "index.sqlite"
    path.chmod(0o444)
    for_anybody.chmod(folder_mode)
    said = outcome(child("read-only", path)).splitlines()
    assert len(said) == 3
    assert all("may only be read. Check the permissions" in line for line in said)
    assert all(str(path) in line for line in said)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits of file size")
def test_a_full_disk_is_a_sentence_and_reading_goes_on(path, open_at, child, outcome, integrity):
    said = outcome(child("fill", path))
    assert str(path) in said
    assert integrity(path) == "ok"
    store = open_at(path)
    assert store.count() > 0
    assert store.verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")
def test_an_open_index_that_another_program_shortens_is_a_sentence(path, child, outcome):
    assert str(path) in outcome(child("shorten", path))


def test_a_missing_sqlite_vec_is_replaced_and_the_reason_kept(path, child, outcome):
    said = outcome(child("without-sqlite-vec", path))
    assert said.startswith("numpy sqlite-vec is not installed")


def test_a_broken_sqlite_vec_is_replaced_and_the_reason_kept(tmp_path, open_at, monkeypatch):
    sqlite_vec = pytest.importorskip("sqlite_vec", reason="needs sqlite-vec")
    (tmp_path / "broken.so").write_bytes(b"not a library")
    monkeypatch.setattr(sqlite_vec, "loadable_path", lambda: str(tmp_path / "broken.so"))
    statistics = open_at(tmp_path / "index.sqlite").statistics()
    assert statistics.vector_search == "numpy"
    assert "does not work here" in statistics.vector_search_reason


def test_readers_and_writer_have_sqlite_vec_alike(path, open_at, add, vectors, places):
    pytest.importorskip("sqlite_vec", reason="needs sqlite-vec")
    add(open_at(path), "/d/a", vectors(3))
    store = open_at(path)  # Its first reader is as old as the store.
    assert places(store, vectors(3)[1], 1) == [("/d/a", 1)]


def test_eight_processes_may_open_a_new_index_at_once(tmp_path, open_in_eight, integrity):
    paths = [tmp_path / str(turn) for turn in range(20)]
    open_in_eight(paths)
    assert [integrity(path) for path in paths] == ["ok"] * 20


def test_several_writing_processes_wait_for_each_other(path, open_at, child, outcome):
    children = [child("write", path, number) for number in range(4)]
    assert [outcome(one) for one in children] == ["wrote 15\n"] * 4
    store = open_at(path)
    assert store.statistics().documents == 60
    assert store.coverage().is_complete
    assert store.verify() == []


def test_an_index_opens_while_another_program_writes(path, open_at, filled, raw):
    filled(2)
    raw.execute("BEGIN IMMEDIATE")
    raw.execute("DELETE FROM chunks")
    store = open_at(path)
    assert store.statistics().chunks == 2
    assert len(store.lexical(['"line"'], 5)) == 2


def test_an_index_that_is_not_in_write_ahead_mode_becomes_so(path, open_at, filled):
    filled()
    connection = apsw.Connection(str(path))
    assert connection.pragma("journal_mode", "delete") == "delete"
    connection.close()
    open_at(path).close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("journal_mode") == "wal"
    connection.close()
