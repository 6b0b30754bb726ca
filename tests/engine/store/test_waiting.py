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
        self._thread.join(20)
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


def test_closing_gives_up_on_a_call_that_works(path, open_at, document):
    store = open_at(path)
    entered, leave = threading.Event(), threading.Event()

    class Slow(list):
        """Chunks that let nobody go on when they are gone through the second time: to be added."""

        looks = 0

        def __iter__(self):
            self.looks += 1
            if self.looks == 2:
                entered.set()
                leave.wait(20)
            return super().__iter__()

    made, chunks = document("/d/a")
    working = _Call(lambda: store.replace(made, Slow(chunks)))
    assert entered.wait(20)
    store.close(timeout=0.01)
    leave.set()
    assert working.finish() is None
    with pytest.raises(StoreError, match="closed"):
        store.documents()
    store.close()
