"""Opening an index: new, damaged, foreign, by many processes, with and without sqlite-vec."""

import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from engine.errors import NewerSchema, StoreError

CHILD = Path(__file__).with_name("store_child.py")


def _child(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(CHILD), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _integrity(path: Path) -> str:
    connection = apsw.Connection(str(path))
    try:
        return connection.pragma("integrity_check")
    finally:
        connection.close()


def test_file_and_folders_are_made(tmp_path, open_at):
    store = open_at(tmp_path / "new" / "folder" / "index.sqlite")
    assert store.documents() == []
    assert (tmp_path / "new" / "folder" / "index.sqlite").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file names")
def test_a_file_named_like_a_memory_database_is_a_file(tmp_path, open_at, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_at(Path(":memory:"))
    assert (tmp_path / ":memory:").exists()


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path, open_at):
    path = tmp_path / "index.sqlite"
    path.write_text("My notes, which nobody should overwrite. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not an SQLite database"):
        open_at(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_as_it_is(tmp_path, open_at):
    path = tmp_path / "browser.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE meta (key, value); INSERT INTO meta VALUES ('x', 1)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        open_at(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path, open_at):
    path = tmp_path / "index.sqlite"
    open_at(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema_version'")
    connection.close()
    with pytest.raises(NewerSchema, match=r"newer version.*schema 99"):
        open_at(path)


def test_a_damaged_index_is_refused_with_a_sentence(tmp_path, open_at, document, vectors):
    path = tmp_path / "index.sqlite"
    store = open_at(path)
    store.replace(*document("/d/a", 500), vectors(500))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = random.Random(0).randbytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="index the documents again"):
        open_at(path).documents()


@pytest.mark.parametrize("kept", [99, 100, 4095, 4096, 5000])
def test_a_truncated_index_is_refused_with_a_sentence(tmp_path, open_at, document, vectors, kept):
    path = tmp_path / "index.sqlite"
    store = open_at(path)
    store.replace(*document("/d/a", 50), vectors(50))
    store.close()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError) as refused:
        open_at(path).search(vectors(1)[0], 3)
    assert str(path) in str(refused.value)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path, open_at):
    with pytest.raises(StoreError, match="cannot be opened"):
        open_at(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, open_at):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="choose another place"):
        open_at(tmp_path / "file" / "index.sqlite")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_an_index_that_may_only_be_read_says_so(tmp_path, open_at, document, vectors):
    path = tmp_path / "folder" / "index.sqlite"
    store = open_at(path)
    store.replace(*document("/d/a"), vectors(1))
    store.close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        if _may_write(path):
            pytest.skip("needs a user other than root")
        with pytest.raises(StoreError, match=str(path)):
            open_at(path).replace(*document("/d/b"), vectors(1))
    finally:
        path.parent.chmod(0o700)


def _may_write(path: Path) -> bool:
    try:
        path.open("ab").close()
    except PermissionError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits of file size")
def test_a_full_disk_is_a_sentence_and_the_index_stays_sound(tmp_path, open_at):
    path = tmp_path / "index.sqlite"
    child = _child("fill", path)
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert str(path) in out
    assert _integrity(path) == "ok"
    assert len(open_at(path).documents()) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")
def test_an_open_index_that_another_program_shortens_is_a_sentence(tmp_path):
    path = tmp_path / "index.sqlite"
    child = _child("shorten", path)
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert str(path) in out


def test_a_missing_sqlite_vec_is_replaced_and_the_reason_kept(tmp_path):
    child = _child("without-sqlite-vec", tmp_path / "index.sqlite")
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert out.startswith("numpy sqlite-vec is not installed")


def test_a_broken_sqlite_vec_is_replaced_and_the_reason_kept(tmp_path, open_at, monkeypatch):
    sqlite_vec = pytest.importorskip("sqlite_vec", reason="needs sqlite-vec")
    (tmp_path / "broken.so").write_bytes(b"not a library")
    monkeypatch.setattr(sqlite_vec, "loadable_path", lambda: str(tmp_path / "broken.so"))
    statistics = open_at(tmp_path / "index.sqlite").statistics()
    assert statistics.vector_search == "numpy"
    assert "does not work here" in statistics.vector_search_reason


def test_eight_processes_may_open_a_new_index_at_once(tmp_path):
    children = [_child("open") for _ in range(8)]
    for turn in range(5):
        for child in children:
            child.stdin.write(f"{tmp_path / str(turn)}\n")
            child.stdin.flush()
        assert [child.stdout.readline() for child in children] == ["opened\n"] * 8
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    assert all(_integrity(tmp_path / str(turn)) == "ok" for turn in range(5))


def test_several_writing_processes_wait_for_each_other(tmp_path, open_at):
    path = tmp_path / "index.sqlite"
    children = [_child("write", path, number) for number in range(4)]
    for child in children:
        out, errors = child.communicate(timeout=120)
        assert (child.returncode, errors) == (0, "")
        assert out == "wrote 25\n"
    store = open_at(path)
    assert store.statistics().documents == 100
    assert _integrity(path) == "ok"


def test_an_older_index_is_brought_up_to_date(tmp_path, open_at, document, vectors):
    path = tmp_path / "index.sqlite"
    store = open_at(path)
    store.replace(*document("/d/a"), vectors(1))
    before = store.documents()
    store.close()
    connection = apsw.Connection(str(path))
    connection.execute("ALTER TABLE documents RENAME COLUMN stamp_ns TO mtime_ns")
    connection.execute("UPDATE meta SET value = 1 WHERE key = 'schema_version'")
    connection.close()
    assert open_at(path).documents() == before
