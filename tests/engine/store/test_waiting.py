"""Calls that wait for another program or thread, and what ends their waiting."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import apsw
import pytest

from engine.errors import StoreError
from engine.store import connection


@contextmanager
def _another_program(path) -> Iterator[apsw.Connection]:
    """A connection that holds the lock for writing."""
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.close()


class _Call:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: StoreError | None = None
        self._thread = threading.Thread(target=self._run, args=[call])
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            call()
        except StoreError as error:
            self.error = error

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def finish(self) -> StoreError | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.error

    def finish_by(self, action: Callable[[], None]) -> StoreError | None:
        """Repeats an action until the call has ended."""
        while self._thread.is_alive():
            action()
            self._thread.join(0.02)
        return self.finish()


def test_an_interrupted_call_gives_up_with_a_sentence_and_the_next_one_works(
    path, open_at, document
):
    store = open_at(path)
    with _another_program(path):
        waiting = _Call(lambda: store.replace(*document("/d/a")))
        error = waiting.finish_by(store.interrupt)
    assert "in use by another program, and the call was stopped" in str(error)
    assert store.documents() == []
    store.replace(*document("/d/a"))
    assert len(store.documents()) == 1


def test_an_index_that_another_program_never_leaves_cannot_be_opened(path, open_at, monkeypatch):
    open_at(path).close()
    monkeypatch.setattr(connection, "READER_SECONDS", 0.0)
    # To write one may wait for long, to open one need not.
    monkeypatch.setattr(connection, "WRITER_SECONDS", 10_000.0)
    with closing(apsw.Connection(str(path))) as other:
        other.execute("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE").fetchall()
        with pytest.raises(StoreError, match="has been in use by another program for too long"):
            open_at(path)


def test_an_interruption_before_a_call_does_not_concern_it(path, open_at, document):
    store = open_at(path)
    store.interrupt()
    with _another_program(path) as other:
        waiting = _Call(lambda: store.replace(*document("/d/a")))
        waiting.join(0.1)
        other.execute("ROLLBACK")
        assert waiting.finish() is None
    assert len(store.documents()) == 1


def test_closing_ends_a_call_that_waits_for_another_program(path, open_at, document):
    store = open_at(path)
    with _another_program(path):
        waiting = _Call(lambda: store.replace(*document("/d/a")))
        assert isinstance(waiting.finish_by(store.close), StoreError)
    with pytest.raises(StoreError, match="closed"):
        store.documents()


class _Slow(list):
    """Chunks that let nobody go on when they are gone through the second time: to be added."""

    def __init__(self, chunks) -> None:
        super().__init__(chunks)
        self.entered, self.leave = threading.Event(), threading.Event()
        self._looks = 0

    def __iter__(self):
        self._looks += 1
        if self._looks == 2:
            self.entered.set()
            self.leave.wait(60)
        return super().__iter__()


def test_a_document_whose_writing_is_interrupted_is_as_it_was_before(path, open_at, document):
    store, reader = open_at(path), open_at(path)
    store.replace(*document("/d/a", ["first words\n", "second words\n"]))
    made, chunks = document("/d/a", ["other words\n"] * 3)
    slow = _Slow(chunks)
    working = _Call(lambda: store.replace(made, slow))
    assert slow.entered.wait(60)
    store.interrupt()
    assert len(reader.chunks(made.document_id)) == 2
    slow.leave.set()
    assert "was not changed: the call was stopped" in str(working.finish())
    assert [chunk.text for chunk in store.chunks(made.document_id)] == [
        "first words\n",
        "second words\n",
    ]
    assert store.verify() == []
    store.replace(made, chunks)
    assert len(reader.chunks(made.document_id)) == 3


def test_closing_gives_up_on_a_call_that_works(path, open_at, document):
    store = open_at(path)
    made, chunks = document("/d/a")
    slow = _Slow(chunks)
    working = _Call(lambda: store.replace(made, slow))
    assert slow.entered.wait(60)
    store.close(timeout=0.01)
    slow.leave.set()
    assert working.finish() is None
    with pytest.raises(StoreError, match="closed"):
        store.documents()
    store.close()
