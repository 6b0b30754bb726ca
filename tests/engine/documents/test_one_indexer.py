"""One indexer per index: the second is told of the first, and a dead one stops nobody."""

import os
import subprocess
import sys
import threading

import pytest

from engine.documents.one_indexer import one_indexer
from engine.errors import IndexerBusy, StoreError

HOLDING = """
import sys
from pathlib import Path
from engine.documents.one_indexer import one_indexer
with one_indexer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holding(tmp_path):
    """Starts processes that hold the lock until they are ended."""
    started = []

    def start(index_file):
        child = subprocess.Popen(
            [sys.executable, "-c", HOLDING, str(index_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stdout.readline() == "held\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_a_second_indexer_is_told_the_process_of_the_first(tmp_path, holding):
    index_file = tmp_path / "index.sqlite"
    first = holding(index_file)
    with pytest.raises(IndexerBusy, match=rf"already running in process {first.pid};"):
        one_indexer(index_file).__enter__()
    with one_indexer(tmp_path / "other.sqlite"):
        pass
    first.communicate("")
    with one_indexer(index_file):
        pass


def test_the_lock_of_a_killed_indexer_is_taken_over_at_once(tmp_path, holding):
    index_file = tmp_path / "index.sqlite"
    first = holding(index_file)
    first.kill()
    first.communicate()
    assert (tmp_path / ".index.sqlite.indexing.pid").read_text() == str(first.pid)
    with one_indexer(index_file):
        assert (tmp_path / ".index.sqlite.indexing.pid").read_text() == str(os.getpid())


def test_a_second_indexer_may_wait_for_the_first(tmp_path, holding):
    index_file = tmp_path / "index.sqlite"
    first = holding(index_file)
    ending = threading.Timer(0.1, first.communicate, [""])
    ending.start()
    with one_indexer(index_file, wait_seconds=30):
        ending.join()
        assert first.returncode == 0


def test_two_in_one_process_are_two(tmp_path):
    index_file = tmp_path / "new" / "index.sqlite"
    with one_indexer(index_file), pytest.raises(IndexerBusy, match="in this process"):
        one_indexer(index_file).__enter__()
    with one_indexer(index_file):
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), one_indexer(tmp_path / "index.sqlite"):
            raise KeyError


def test_a_run_may_begin_in_one_thread_and_end_in_another(tmp_path):
    index_file = tmp_path / "index.sqlite"
    held = one_indexer(index_file)
    beginning = threading.Thread(target=held.__enter__)
    beginning.start()
    beginning.join()
    held.__exit__(None, None, None)
    with one_indexer(index_file):
        pass


def test_a_holder_whose_process_is_not_known_is_one_too(tmp_path):
    index_file = tmp_path / "index.sqlite"
    with one_indexer(index_file):
        (tmp_path / ".index.sqlite.indexing.pid").write_text("")
        with pytest.raises(IndexerBusy, match="already running elsewhere"):
            one_indexer(index_file).__enter__()


def test_where_no_lock_can_be_the_reason_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be taken"):
        one_indexer(tmp_path / "file" / "index.sqlite").__enter__()
