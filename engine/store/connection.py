"""Database: one SQLite connection whose every failure is a sentence.

Alone imports apsw and sqlite-vec. Knows nothing of documents or tables.
Rule: everything runs inside `read` or `write`. A write begins IMMEDIATE, so it waits for other
processes at its start and never fails half way because of them.
"""
# apsw's types name what Python 3.11 lacks (Buffer); they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from engine.errors import InvalidInput, StoreError

try:
    import sqlite_vec
except ImportError:  # No wheel for Windows on ARM64.
    sqlite_vec = None

# How long to wait for another process before saying that the index is in use. A document's write
# takes well under a second; 30 s are for slow disks and many writers.
_BUSY_SECONDS = 30.0
_LONGEST_PAUSE = 0.05

_SENTENCES: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.NotADBError, "is not an SQLite database. Move it away, or choose another place"),
    (apsw.CorruptError, "is damaged. Move it away and index the documents again"),
    (apsw.BusyError, "has been in use by another program for too long. Try again when it is done"),
    (apsw.LockedError, "is in use by another program. Try again when it is done"),
    (apsw.FullError, "cannot grow: the disk is full. Free some space and try again"),
    (apsw.ReadOnlyError, "may only be read. Check the permissions of the file and its folder"),
    (apsw.PermissionsError, "may not be opened. Check the permissions of the file and its folder"),
    (apsw.CantOpenError, "cannot be opened. Check that its folder exists and may be written"),
    (apsw.IOError, "cannot be read or written. Check the disk and the space left on it"),
    (apsw.ConnectionClosedError, "has been closed"),
)


class Database:
    """A connection to one file; calls from several threads wait for each other."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; nothing is read yet.

        Raises:
            StoreError: The file cannot be opened.
        """
        self.path = path.absolute()
        self._lock = threading.RLock()
        self._closing = False
        self._give_up = threading.Event()
        self._deadline = 0.0
        with self._sentences():
            self._connection = apsw.Connection(str(self.path))
            self._connection.set_busy_handler(self._may_wait)
            self._connection.execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL")
            # Mapped into memory, 50,000 vectors are searched in 20 ms, not in 32 (Linux x86-64, 2
            # cores), but another program that shortens the file kills this one.
            self._connection.execute("PRAGMA mmap_size = 0")

    @contextmanager
    def read(self) -> Generator[None]:
        """One consistent view of the database."""
        with self._transaction("BEGIN DEFERRED"):
            yield

    @contextmanager
    def write(self) -> Generator[None]:
        """All of what is done inside, or nothing of it."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        return self._connection.execute(sql, tuple(bindings)).fetchall()

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time; to be drained in the same transaction."""
        return iter(self._connection.execute(sql))

    def value(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None where there is no row."""
        found = self.rows(sql, bindings)
        return found[0][0] if found else None

    def run_many(self, sql: str, bindings: Iterable[Sequence[Any]]) -> None:
        """Runs a statement once for each set of bindings."""
        self._connection.executemany(sql, (tuple(one) for one in bindings))

    def use_write_ahead_log(self) -> None:
        """Lets readers go on while one process writes; the file remembers it.

        SQLite does not wait for others at this one statement, so the waiting is done here.
        """
        calls = 0
        with self._lock, self._sentences():
            while self._connection.pragma("journal_mode") != "wal":
                try:
                    self._connection.pragma("journal_mode", "wal")
                    return
                except apsw.BusyError:
                    if not self._may_wait(calls):
                        raise
                    calls += 1

    def load_vector_search(self) -> str:
        """Loads sqlite-vec and tries it; returns why it cannot be used, or nothing if it can."""
        if sqlite_vec is None:
            return "sqlite-vec is not installed; it has no package for this platform."
        try:
            _try_vector_search(sqlite_vec.loadable_path())
            with self._lock:
                _load(self._connection, sqlite_vec.loadable_path())
        except (apsw.Error, AttributeError) as error:  # SQLite built without extensions.
            return f"sqlite-vec {sqlite_vec.__version__} does not work here: {error}."
        return ""

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def interrupt(self) -> None:
        """Makes a call that waits for another program give up at once; what works goes on."""
        self._give_up.set()

    def close(self, timeout: float = -1) -> None:
        """Closes the file; may be called twice.

        Calls that wait for another program give up, and none is begun any more.

        Args:
            timeout: Seconds to wait for a call of another thread; the file stays open if it is not
                done by then. Negative waits for as long as it takes.
        """
        self._closing = True
        self._give_up.set()
        if self._lock.acquire(timeout=timeout):
            try:
                with self._sentences():
                    self._connection.close()
            finally:
                self._lock.release()

    def _may_wait(self, calls: int) -> bool:
        """Waits a little for another program's lock; False gives up. SQLite's busy handler.

        Args:
            calls: How often the same lock was waited for before.
        """
        if calls == 0:
            self._deadline = time.monotonic() + _BUSY_SECONDS
        if time.monotonic() > self._deadline:
            return False
        return not self._give_up.wait(min(0.001 * 2 ** min(calls, 10), _LONGEST_PAUSE))

    def _begin(self, statement: str) -> None:
        self._give_up.clear()
        if self._closing:
            self._give_up.set()
            raise apsw.ConnectionClosedError("closed while it was waited for")
        self._connection.execute(statement)

    @contextmanager
    def _transaction(self, begin: str) -> Generator[None]:
        with self._lock, self._sentences():
            self._begin(begin)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if not self._connection.get_autocommit():
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _sentences(self) -> Generator[None]:
        try:
            yield
        except apsw.Error as error:
            said = next((text for kind, text in _SENTENCES if isinstance(error, kind)), "failed")
            if isinstance(error, apsw.BusyError) and self._give_up.is_set():
                said = "is in use by another program, and the call was stopped while it waited"
            raise StoreError(f"The index {self.path} {said} ({error}).") from error
        except UnicodeEncodeError as error:
            raise InvalidInput("A text holds half a character, which cannot be stored.") from error


def _load(connection: apsw.Connection, library: str) -> None:
    connection.enable_load_extension(True)
    try:
        connection.load_extension(library)
    finally:
        connection.enable_load_extension(False)


def _try_vector_search(library: str) -> None:
    """An import or a load can pass with a library that does not work: ask it something."""
    connection = apsw.Connection(":memory:")
    try:
        _load(connection, library)
        connection.execute(
            "CREATE VIRTUAL TABLE trial USING vec0(id INTEGER PRIMARY KEY, vector float[8])"
        )
        for number, text in enumerate(("[0,0,0,0,0,0,0,1]", "[1,0,0,0,0,0,0,0]"), 1):
            connection.execute("INSERT INTO trial VALUES (?, ?)", (number, text))
        found = connection.execute(
            "SELECT id, distance FROM trial WHERE vector MATCH '[1,0,0,0,0,0,0,0]' AND k = 2"
        ).fetchall()
        if [row[0] for row in found] != [2, 1] or found[0][1] != 0:
            raise apsw.Error(f"a trial search found {found}")
    finally:
        connection.close()
