"""Database: connections to one SQLite file, whose every failure is a sentence.

Alone imports apsw and sqlite-vec. Knows nothing of documents or tables.
Rule: everything runs inside `read` or `write`. One connection writes and begins IMMEDIATE, so it
waits for other processes at its start and never fails half way because of them. Reading has
connections of its own, as many as there are readers at once, and waits for nobody.
"""
# apsw's types name what Python 3.11 lacks (Buffer); they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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

_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI

# Connections kept for readers to come; opening one takes a millisecond.
_IDLE_READERS = 8

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


class View:
    """What one transaction sees of the database; not to be used after it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        return self._connection.execute(sql, tuple(bindings)).fetchall()

    def stream(self, sql: str, bindings: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time."""
        return iter(self._connection.execute(sql, tuple(bindings)))

    def value(self, sql: str, bindings: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None where there is no row."""
        row = self._connection.execute(sql, tuple(bindings)).fetchone()
        return row[0] if row else None

    def run(self, statements: str) -> None:
        """Runs several statements that bind nothing."""
        self._connection.execute(statements)

    def run_many(self, sql: str, bindings: Iterable[Sequence[Any]]) -> None:
        """Runs a statement once for each set of bindings."""
        self._connection.executemany(sql, (tuple(one) for one in bindings))

    def changed_rows(self) -> int:
        """How many rows the last statement changed."""
        return self._connection.changes()


class _Patience:
    """How long one connection waits for other programs: SQLite's busy handler."""

    def __init__(self, gives_up: Callable[[int], bool], interruptions: Callable[[], int]) -> None:
        self._gives_up = gives_up
        self._interruptions = interruptions
        self._before = 0
        self._deadline = 0.0

    def begin(self) -> None:
        """A transaction begins: interruptions before it do not concern it."""
        self._before = self._interruptions()

    @property
    def is_over(self) -> bool:
        """Whether the transaction was interrupted, or the database is being closed."""
        return self._gives_up(self._before)

    def may_wait(self, calls: int) -> bool:
        """Waits a little for another program's lock; False gives up.

        Args:
            calls: How often the same lock was waited for before.
        """
        if calls == 0:
            self._deadline = time.monotonic() + _BUSY_SECONDS
        if self.is_over or time.monotonic() > self._deadline:
            return False
        time.sleep(min(0.001 * 2 ** min(calls, 10), _LONGEST_PAUSE))
        return not self.is_over


class _Line:
    """One connection, and its patience."""

    def __init__(self, address: str, patience: _Patience, *, library: str, writes: bool) -> None:
        self.patience = patience
        self.connection = apsw.Connection(address, flags=_FLAGS)
        self.connection.set_busy_handler(patience.may_wait)
        self.connection.execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL")
        # Mapped into memory, 50,000 vectors are searched in 20 ms, not in 32 (Linux x86-64, 2
        # cores), but another program that shortens the file kills this one.
        self.connection.execute("PRAGMA mmap_size = 0")
        self.connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)
        if library:
            _load(self.connection, library)
        if not writes:
            self.connection.execute("PRAGMA query_only = ON")


class Database:
    """The connections to one file; writing calls from several threads wait for each other."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Raises:
            StoreError: The file cannot be opened, or is no database.
        """
        self.path = path.absolute()
        self._address = str(self.path)
        self._writing = threading.Lock()
        self._state = threading.Condition()
        self._idle: list[_Line] = []
        self._busy = 0
        self._closing = False
        self._interruptions = 0
        self._library = ""
        with self._sentences():
            self._writer = self._first_line()

    @contextmanager
    def read(self) -> Generator[View]:
        """One consistent view of the database; waits for no writer."""
        with self._counted(), self._sentences():
            line = self._take()
            try:
                with self._transaction(line, "BEGIN DEFERRED") as view:
                    yield view
            finally:
                self._put_back(line)

    @contextmanager
    def write(self) -> Generator[View]:
        """All of what is done inside, or nothing of it."""
        with (
            self._counted(),
            self._writing,
            self._sentences(),
            self._transaction(self._writer, "BEGIN IMMEDIATE") as view,
        ):
            yield view

    def maintain(self, *statements: str) -> None:
        """Runs statements that no transaction may hold, such as VACUUM."""
        with self._counted(), self._writing, self._sentences():
            self._begin(self._writer)
            for statement in statements:
                self._writer.connection.execute(statement)

    def copy_to(self, target: Path) -> None:
        """Writes what is there now into a new file, without what is free; others may go on."""
        with self._counted(), self._sentences():
            line = self._line(writes=True)
            try:
                self._begin(line)
                line.connection.execute("VACUUM INTO ?", (str(target.absolute()),))
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            finally:
                line.connection.close()

    def use_write_ahead_log(self) -> None:
        """Lets readers go on while one process writes; the file remembers it.

        A file that may only be read stays as it is. SQLite does not wait for others at this one
        statement, so the waiting is done here.
        """
        calls = 0
        connection, patience = self._writer.connection, self._writer.patience
        if connection.readonly("main"):
            return
        with self._writing, self._sentences():
            while connection.pragma("journal_mode") != "wal":
                try:
                    connection.pragma("journal_mode", "wal")
                    return
                except apsw.BusyError:
                    if not patience.may_wait(calls):
                        raise
                    calls += 1

    def load_vector_search(self) -> str:
        """Loads sqlite-vec and tries it; returns why it cannot be used, or nothing if it can."""
        if sqlite_vec is None:
            return "sqlite-vec is not installed; it has no package for this platform."
        try:
            library = sqlite_vec.loadable_path()
            _try_vector_search(library)
            with self._writing, self._state:
                for line in (self._writer, *self._idle):
                    _load(line.connection, library)
        except (apsw.Error, AttributeError) as error:  # SQLite built without extensions.
            return f"sqlite-vec {sqlite_vec.__version__} does not work here: {error}."
        self._library = library
        return ""

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return sum(file.stat().st_size for file in (self.path, self._log()) if file.exists())

    def interrupt(self) -> None:
        """Makes a call that waits for another program give up at once; what works goes on."""
        self._interruptions += 1

    def close(self, timeout: float = -1) -> None:
        """Closes the file; may be called twice.

        Calls that wait for another program give up, and none is begun any more.

        Args:
            timeout: Seconds to wait for calls of other threads; the file stays open if they are not
                done by then. Negative waits for as long as it takes.
        """
        self._closing = True
        with self._state:
            if not self._state.wait_for(lambda: not self._busy, timeout if timeout >= 0 else None):
                return
            with self._sentences():
                for line in (*self._idle, self._writer):
                    line.connection.close()
            self._idle.clear()

    def _log(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    def _first_line(self) -> _Line:
        try:
            line = self._line(writes=True)
            line.connection.pragma("schema_version")
            return line
        except (apsw.ReadOnlyError, apsw.CantOpenError):
            if self._log().exists() or not self.path.is_file():
                raise
            # The folder may only be read, so it takes no write-ahead log, and none is there.
            self._address = f"{self.path.as_uri()}?immutable=1"
            return self._line(writes=True)

    def _line(self, *, writes: bool) -> _Line:
        patience = _Patience(
            lambda before: self._closing or self._interruptions != before,
            lambda: self._interruptions,
        )
        return _Line(self._address, patience, library=self._library, writes=writes)

    def _take(self) -> _Line:
        with self._state:
            if self._idle:
                return self._idle.pop()
        return self._line(writes=False)

    def _put_back(self, line: _Line) -> None:
        with self._state:
            if len(self._idle) < _IDLE_READERS:
                self._idle.append(line)
                return
        line.connection.close()

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Around every use of a connection, so that closing can wait for it."""
        with self._state:
            self._require_open()
            self._busy += 1
        try:
            yield
        finally:
            with self._state:
                self._busy -= 1
                self._state.notify_all()

    def _begin(self, line: _Line) -> None:
        line.patience.begin()
        self._require_open()

    def _require_open(self) -> None:
        if self._closing:
            raise StoreError(f"The index {self.path} has been closed.")

    @contextmanager
    def _transaction(self, line: _Line, begin: str) -> Generator[View]:
        self._begin(line)
        connection = line.connection
        connection.execute(begin)
        try:
            yield View(connection)
            connection.execute("COMMIT")
        except BaseException:
            if not connection.get_autocommit():
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _sentences(self) -> Generator[None]:
        try:
            yield
        except apsw.Error as error:
            said = next((text for kind, text in _SENTENCES if isinstance(error, kind)), "failed")
            if isinstance(error, apsw.BusyError) and self._was_stopped():
                said = "is in use by another program, and the call was stopped while it waited"
            raise StoreError(f"The index {self.path} {said} ({error}).") from error
        except UnicodeEncodeError as error:
            raise InvalidInput("A text holds half a character, which cannot be stored.") from error

    def _was_stopped(self) -> bool:
        return self._writer.patience.is_over


class WordTokenizer:
    """SQLite's own tokenizer for words, outside of any table; may be used from any thread."""

    def __init__(self, *arguments: str) -> None:
        """
        Args:
            arguments: As in the option `tokenize` of a table: a name, then its arguments.
        """
        self._connection = apsw.Connection(":memory:")
        self._lock = threading.Lock()
        self._tokenizer = self._connection.fts5_tokenizer(arguments[0], list(arguments[1:]))

    def spans(self, text: bytes) -> list[tuple[int, int, str]]:
        """Byte offsets and stem of each word of a text in UTF-8."""
        with self._lock:
            found = self._tokenizer(text, apsw.FTS5_TOKENIZE_DOCUMENT, None)
        return [(int(row[0]), int(row[1]), str(row[2])) for row in found]


def _casefold(*texts: Any) -> str:
    return str(texts[0]).casefold()


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
