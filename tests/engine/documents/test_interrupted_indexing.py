"""What kills, fills or forbids in the midst of indexing loses nothing but time."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import apsw
import pytest
from sample_corpus import embed, indexer, open_index, write_corpus

CHILD = Path(__file__).with_name("indexing_child.py")
KILLS = 50
DOCUMENTS = 45

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


class Processes:
    """Starts processes that index, one at a time."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def start(self, way: str, folder: Path, index: Path) -> int:
        """Starts one; its id."""
        self._child.stdin.write(f"{way}\t{folder}\t{index}\n")
        self._child.stdin.flush()
        return int(self._line())

    def steps(self) -> Iterator[str]:
        """What the process says until it ends."""
        while (line := self._line()) != "end":
            yield line

    def kill_somewhere(self, process: int, random: Random) -> None:
        """Kills some steps into the run and then some moments later."""
        steps = self.steps()
        for _ in range(random.randint(0, DOCUMENTS + 5)):
            next(steps, None)
        time.sleep(random.choice([0.0, random.uniform(0, 0.02)]))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        for _ in steps:
            pass

    def _line(self) -> str:
        return self._child.stdout.readline().rstrip("\n")


@pytest.fixture
def processes():
    child = subprocess.Popen(
        [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Processes(child)
    child.communicate()


def _content(index: Path) -> list[tuple]:
    """Every row that counts, in an order of its own, without times."""
    connection = apsw.Connection(str(index))
    try:
        documents = connection.execute(
            "SELECT document_id, path, title, content_sha256, size, line_count, chunk_count, "
            "encoding, kind, modified_ns FROM documents ORDER BY path"
        ).fetchall()
        chunks = connection.execute(
            "SELECT d.path, c.ordinal, c.text, c.heading_path, c.line_start, c.line_end, "
            "c.byte_start, c.byte_end, c.token_count, v.vector FROM chunks AS c "
            "JOIN documents AS d USING (document_key) LEFT JOIN vectors AS v USING (text_id) "
            "ORDER BY d.path, c.ordinal"
        ).fetchall()
    finally:
        connection.close()
    return [*documents, *chunks]


def _complete(folder: Path, index: Path) -> tuple[int, list, list]:
    """Finishes an index here; how many documents were there already, and what is found then."""
    store = open_index(index)
    assert store.verify() == []
    before = store.statistics().documents
    (*_, last) = indexer(store).run(folder)
    assert last.report.lacking_texts == 0
    assert store.verify() == []
    by_meaning = store.hits(store.nearest(embed(["stone lantern"])[0], 1000))
    by_words = store.hits(store.lexical(["stone", "lantern"], 1000))
    store.close()
    return (
        before,
        sorted((-hit.score, hit.chunk.text) for hit in by_meaning),
        sorted(hit.chunk.text for hit in by_words),
    )


def test_an_index_killed_at_any_moment_completes_to_the_same_content(tmp_path, processes):
    folder = tmp_path / "documents"
    write_corpus(folder, seed=1, count=DOCUMENTS)
    _complete(folder, tmp_path / "old.sqlite")
    write_corpus(folder, seed=2, count=DOCUMENTS)
    shutil.rmtree(folder / "part3")
    (folder / "part1").rename(folder / "moved")
    _, *clean_hits = _complete(folder, tmp_path / "clean.sqlite")
    clean = _content(tmp_path / "clean.sqlite")
    random = Random(2026)
    kept = set()
    for number in range(KILLS):
        index = tmp_path / f"{number}.sqlite"
        if number % 2:
            shutil.copyfile(tmp_path / "old.sqlite", index)
        processes.kill_somewhere(processes.start("any", folder, index), random)
        before, *hits = _complete(folder, index)
        kept.add(before)
        assert _content(index) == clean
        assert hits == clean_hits
    assert len(kept) > KILLS // 4


def test_a_full_disk_is_a_sentence_and_what_was_indexed_stays(tmp_path, processes):
    folder, index = tmp_path / "documents", tmp_path / "index.sqlite"
    write_corpus(folder)
    _, *clean_hits = _complete(folder, tmp_path / "clean.sqlite")
    processes.start("full disk", folder, index)
    *steps, error = processes.steps()
    assert error.startswith("StoreError: The index")
    assert "space" in error
    before, *hits = _complete(folder, index)
    assert len(steps) > 10
    assert before > 10
    assert hits == clean_hits


def test_an_index_that_may_only_be_read_is_refused_and_stays(processes):
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch, "documents"), Path(scratch, "index")
        write_corpus(folder, count=20)
        home.mkdir()
        _complete(folder, home / "index.sqlite")
        (folder / "new.md").write_text("new\n")
        for path in (Path(scratch), folder, *folder.rglob("*")):
            path.chmod(0o755)
        for path in home.iterdir():
            path.chmod(0o444)
        home.chmod(0o555)
        try:
            processes.start("read only", folder, home / "index.sqlite")
            (error,) = processes.steps()
        finally:
            home.chmod(0o755)
        assert error.startswith("StoreError:")
        assert "permissions" in error
        (home / "index.sqlite").chmod(0o644)
        before, *_ = _complete(folder, home / "index.sqlite")
        assert before == 20
