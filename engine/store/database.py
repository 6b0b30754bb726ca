"""Database: connections to one SQLite file, whose every failure is a sentence.

Rule: everything runs inside `read` or `write`. One connection writes and begins IMMEDIATE, so it
waits for other processes at its start and never fails half way because of them. Reading has
connections of its own, as many as there are readers at once, and waits for nobody.
"""
# apsw's types name what Python 3.11 lacks (Buffer); they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import apsw

from engine.errors import InvalidInput, StoreError
from engine.store import connection
from engine.store.connection import Line, Patience, View, load, vector_library

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
    (apsw.InterruptError, "was not changed: the call was stopped"),
    (apsw.ConnectionClosedError, "has been closed"),
)


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
        self._idle: list[Line] = []
        self._busy = 0
        self._closing = False
        self._interruptions = 0
        self._library = ""
        with self._sentences(may_be_stopped=False):
            self._writer = self._first_line()

    @contextmanager
    def read(self) -> Generator[View]:
        """One consistent view of the database; waits for no writer."""
        with self._counted(), self._sentences():
            line = self._take()
            try:
                with self._transaction(line, "DEFERRED", connection.READER_SECONDS) as view:
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
            self._transaction(self._writer, "IMMEDIATE", connection.WRITER_SECONDS) as view,
        ):
            yield view

    def maintain(self, *statements: str) -> None:
        """Runs statements that no transaction may hold, such as VACUUM."""
        with self._counted(), self._writing, self._sentences():
            self._begin(self._writer, connection.WRITER_SECONDS)
            for statement in statements:
                self._writer.connection.execute(statement)

    def copy_to(self, target: Path) -> None:
        """Writes what is there now into a new file, without what is free; others may go on."""
        with self._counted(), self._sentences():
            line = self._line(writes=True)
            try:
                self._begin(line, connection.WRITER_SECONDS)
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
        line, patience = self._writer.connection, self._writer.patience
        if line.readonly("main"):
            return
        with self._writing, self._sentences():
            patience.begin(connection.WRITER_SECONDS)
            while line.pragma("journal_mode") != "wal":
                try:
                    line.pragma("journal_mode", "wal")
                    return
                except apsw.BusyError:
                    if not patience.may_wait(calls):
                        raise
                    calls += 1

    def load_vector_search(self) -> str:
        """Loads sqlite-vec; returns why it cannot be used, or nothing if it can."""
        library, reason = vector_library()
        if library:
            with self._writing, self._state, self._sentences():
                for line in (self._writer, *self._idle):
                    load(line.connection, library)
            self._library = library
        return reason

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return sum(file.stat().st_size for file in (self.path, self._log()) if file.exists())

    def interrupt(self) -> None:
        """Makes a call give up that waits for another program, or writes a document.

        Other calls that work go on.
        """
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

    def _first_line(self) -> Line:
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

    def _line(self, *, writes: bool) -> Line:
        patience = Patience(
            lambda before: self._closing or self._interruptions != before,
            lambda: self._interruptions,
        )
        return Line(self._address, patience, library=self._library, writes=writes)

    def _take(self) -> Line:
        with self._state:
            if self._idle:
                return self._idle.pop()
        return self._line(writes=False)

    def _put_back(self, line: Line) -> None:
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

    def _begin(self, line: Line, seconds: float) -> None:
        line.patience.begin(seconds)
        self._require_open()

    def _require_open(self) -> None:
        if self._closing:
            raise StoreError(f"The index {self.path} has been closed.")

    @contextmanager
    def _transaction(self, line: Line, kind: str, seconds: float) -> Generator[View]:
        self._begin(line, seconds)
        opened = line.connection
        opened.execute(f"BEGIN {kind}")
        try:
            yield View(opened, lambda: line.patience.is_interrupted)
            opened.execute("COMMIT")
        except BaseException:
            if not opened.get_autocommit():
                opened.execute("ROLLBACK")
            raise

    @contextmanager
    def _sentences(self, *, may_be_stopped: bool = True) -> Generator[None]:
        """Around all that SQLite does.

        Args:
            may_be_stopped: Whether the file is open, for only then there is what can be stopped.
        """
        try:
            yield
        except apsw.Error as error:
            said = next((text for kind, text in _SENTENCES if isinstance(error, kind)), "failed")
            if isinstance(error, apsw.BusyError) and may_be_stopped and self._was_stopped():
                said = "is in use by another program, and the call was stopped while it waited"
            raise StoreError(f"The index {self.path} {said} ({error}).") from error
        except UnicodeEncodeError as error:
            raise InvalidInput("A text holds half a character, which cannot be stored.") from error

    def _was_stopped(self) -> bool:
        return self._writer.patience.is_over
