"""Killing the indexing process at any moment loses at most the document it was at."""

import subprocess
import sys
from pathlib import Path
from random import Random

import apsw
import pytest
from sample_corpus import embed, indexer, open_index, write_corpus

CHILD = Path(__file__).with_name("indexing_child.py")
KILLS = 20


def _start(folder: Path, index: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(index)], stdout=subprocess.PIPE, text=True
    )


def _kill_somewhere(child: "subprocess.Popen[str]", random: Random) -> None:
    """Kills a child some steps into its run and then some moments later."""
    for _ in range(random.randint(0, 180)):
        child.stdout.readline()
    try:
        child.wait(timeout=random.choice([0.0, random.uniform(0, 0.02)]))
    except subprocess.TimeoutExpired:
        child.kill()
    child.communicate(timeout=30)


def _content(index: Path) -> list[tuple]:
    """Every row that counts, in an order of its own, without times; checks integrity first."""
    connection = apsw.Connection(str(index))
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        documents = connection.execute(
            "SELECT document_id, path, title, content_sha256, size, line_count, chunk_count, "
            "encoding FROM documents ORDER BY path"
        ).fetchall()
        chunks = connection.execute(
            "SELECT c.document_id, c.ordinal, c.text, c.heading_path, c.line_start, c.line_end, "
            "c.byte_start, c.byte_end, c.token_count, v.vector FROM chunks AS c "
            "LEFT JOIN vectors AS v USING (chunk_id) ORDER BY c.document_id, c.ordinal"
        ).fetchall()
    finally:
        connection.close()
    return [*documents, *chunks]


def _complete(folder: Path, index: Path) -> tuple[int, list]:
    """Finishes an index in this process; how much was there already, and some hits of it."""
    store = open_index(index)
    before = store.statistics().documents
    for document in store.documents(limit=1000):
        assert len(store.chunks(document.document_id)) == document.chunk_count
    (*_, last) = indexer(store).run(folder)
    assert last.report.unchanged == before
    found = store.search(embed(["stone lantern"])[0], 4000)
    hits = sorted((-hit.score, hit.document.path, hit.chunk.ordinal) for hit in found)
    store.close()
    return before, hits


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_index_killed_at_any_moment_completes_to_the_same_content(tmp_path):
    folder = tmp_path / "documents"
    write_corpus(folder)
    _, clean_hits = _complete(folder, tmp_path / "clean.sqlite")
    clean = _content(tmp_path / "clean.sqlite")
    random = Random(2026)
    kept = []
    for number in range(KILLS):
        index = tmp_path / f"{number}.sqlite"
        _kill_somewhere(_start(folder, index), random)
        if index.exists():
            _content(index)
        before, hits = _complete(folder, index)
        kept.append(before)
        assert _content(index) == clean
        assert hits == clean_hits
    assert len({count for count in kept if 0 < count < 200}) > KILLS // 2
