"""Line: one SQLite connection and how long it waits for other programs; View: a transaction on it.

Alone imports sqlite-vec, and with `database` apsw. Knows nothing of documents or tables.
"""
# apsw's types name what Python 3.11 lacks (Buffer); they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import apsw

try:
    import sqlite_vec
except ImportError:  # No wheel for Windows on ARM64.
    sqlite_vec = None

WRITER_SECONDS = 30.0
"""How long to write waits for other programs. A step of their work takes well under a second; the
rest is for slow disks and many writers."""

READER_SECONDS = 4.0
"""The same to read, and to open: only a program that keeps all others out is in the way, for a
moment, as when it repairs what a crash left, or for as long as it likes."""

_LONGEST_PAUSE = 0.05

T = TypeVar("T")

_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI


class View:
    """What one transaction sees of the database; not to be used after it."""

    def __init__(self, connection: apsw.Connection, is_interrupted: Callable[[], bool]) -> None:
        self._connection = connection
        self._is_interrupted = is_interrupted

    def heeding(self, steps: Iterable[T]) -> Iterator[T]:
        """The steps of something long, broken off where somebody interrupts it."""
        for step in steps:
            if self._is_interrupted():
                raise apsw.InterruptError("interrupted")
            yield step

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


class Patience:
    """How long one connection waits for other programs: SQLite's busy handler."""

    def __init__(self, gives_up: Callable[[int], bool], interruptions: Callable[[], int]) -> None:
        self._gives_up = gives_up
        self._interruptions = interruptions
        self._before = 0
        self._seconds = READER_SECONDS
        self._deadline = 0.0

    def begin(self, seconds: float) -> None:
        """A transaction begins: interruptions before it do not concern it.

        Args:
            seconds: To wait for each lock, at most.
        """
        self._before, self._seconds = self._interruptions(), seconds

    @property
    def is_interrupted(self) -> bool:
        """Whether the transaction was interrupted."""
        return self._interruptions() != self._before

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
            self._deadline = time.monotonic() + self._seconds
        if self.is_over or time.monotonic() > self._deadline:
            return False
        time.sleep(min(0.001 * 2 ** min(calls, 10), _LONGEST_PAUSE))
        return not self.is_over


class Line:
    """One connection, and its patience."""

    def __init__(self, address: str, patience: Patience, *, library: str, writes: bool) -> None:
        self.patience = patience
        self.connection = apsw.Connection(address, flags=_FLAGS)
        self.connection.set_busy_handler(patience.may_wait)
        self.connection.execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL")
        # Mapped into memory, 50,000 vectors are searched in 20 ms, not in 32 (Linux x86-64, 2
        # cores), but another program that shortens the file kills this one.
        self.connection.execute("PRAGMA mmap_size = 0")
        self.connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)
        if library:
            load(self.connection, library)
        if not writes:
            self.connection.execute("PRAGMA query_only = ON")


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


def load(connection: apsw.Connection, library: str) -> None:
    """Loads an extension of SQLite."""
    connection.enable_load_extension(True)
    try:
        connection.load_extension(library)
    finally:
        connection.enable_load_extension(False)


def vector_library() -> tuple[str, str]:
    """The file of sqlite-vec, tried out; and why it cannot be used, or nothing if it can."""
    if sqlite_vec is None:
        return "", "sqlite-vec is not installed; it has no package for this platform."
    try:
        library = sqlite_vec.loadable_path()
        _try_vector_search(library)
    except (apsw.Error, AttributeError) as error:  # SQLite built without extensions.
        return "", f"sqlite-vec {sqlite_vec.__version__} does not work here: {error}."
    return library, ""


def _try_vector_search(library: str) -> None:
    """An import or a load can pass with a library that does not work: ask it something."""
    connection = apsw.Connection(":memory:")
    try:
        load(connection, library)
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
