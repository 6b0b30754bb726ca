"""What the tests of the store do in processes of their own."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

if sys.argv[1] == "without-sqlite-vec":
    sys.modules["sqlite_vec"] = None  # What an import meets where there is no package.

import apsw
import numpy as np

try:
    import resource
except ImportError:  # Windows, where the test that needs it is skipped.
    resource = None

from engine.corpus import Chunk, Document, document_id_of
from engine.errors import StoreError
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store

SPACE = EmbeddingSpace("tiny-model", "fingerprint-1", 16)


def _open(path: Path) -> Store:
    store = open_store(path)
    store.use(SPACE)
    return store


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _document(path: str, chunks: int, said: str = "text ") -> tuple[Document, list[Chunk]]:
    made = [Chunk(n, f"{path} {n} " + said * 50, (), 1, 1, 0, 250, 50) for n in range(chunks)]
    return Document(document_id_of(path), path, "", "", 0, 0, 1, chunks), made


def _embed(store: Store) -> None:
    if lacking := store.lacking(100_000):
        vectors = np.random.default_rng(1).standard_normal((len(lacking), 16)).astype(np.float32)
        store.add_vectors([one.text_id for one in lacking], vectors)


def _write(store: Store, path: str, chunks: int) -> None:
    store.replace(*_document(path, chunks))
    _embed(store)


def _open_each_named() -> None:
    for line in sys.stdin:
        _open(Path(line.strip())).close()
        _say("opened")


def _write_many(path: Path, name: str) -> None:
    store = _open(path)
    for number in range(15):
        _write(store, f"/{name}/{number}", 5)
    store.close()
    _say("wrote 15")


def _read_until_told(path: Path) -> None:
    """Reads on and on; every answer must be one of a whole document."""
    store = _open(path)
    query = np.ones(16, np.float32)
    _say("reads")
    turns = 0
    while turns < 5 or store.count() < 30:
        found = store.documents(limit=3)[-1]
        assert len(store.chunks(found.document_id)) == found.chunk_count
        assert store.lexical(['"text"'], 3)
        assert store.nearest(query, 3)
        turns += 1
    _say("done")


def _fill(path: Path) -> None:
    store = _open(path)
    _write(store, "/first", 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    said = ""
    try:
        for number in range(10_000):
            _write(store, f"/{number}", 20)
    except StoreError as error:
        said = str(error)
    assert store.nearest(np.ones(16, np.float32), 5)
    assert store.lexical(['"text"'], 5)
    assert len(store.chunks(document_id_of("/first"))) == 20
    assert store.verify() == []
    _say(said)


def _shorten(path: Path) -> None:
    writing, store = _open(path), _open(path)
    for number in range(5):
        _write(writing, f"/{number}", 400)
    writing.compact()  # Moves everything from SQLite's log into the file.
    query = np.ones(16, np.float32)
    store.nearest(query, 5)
    os.truncate(path, path.stat().st_size // 2)
    try:
        store.hits(store.nearest(query, 9000))
        for number in range(5):
            store.chunks(document_id_of(f"/{number}"))
    except StoreError as error:
        _say(str(error))


def _read_only(path: Path) -> None:
    """Reads what it may not write, as a user who is not root."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    store = _open(path)
    query = np.ones(16, np.float32)
    found = [store.nearest(query, 3), store.lexical(['"line"'], 3), store.documents()]
    assert [len(one) for one in found] == [3, 3, 1], found
    assert len(store.hits(found[0])) == 3
    assert store.verify() == []
    for refused in (
        lambda: store.replace(*_document("/b", 1)),
        lambda: store.delete([found[2][0].document_id]),
        store.clear,
    ):
        try:
            refused()
        except StoreError as error:
            _say(str(error))
    assert store.documents() == found[2]


def _in_a_copy(index: Path, work: Callable[[Path], None], killed_at: int) -> tuple[Path, bool]:
    """Works on a copy in a process that kills itself at a statement; False if it got through."""
    copy = index.with_name(f"{index.name}-{killed_at}")
    shutil.copyfile(index, copy)
    process = os.fork()
    if process == 0:
        _count_down(killed_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        work(copy)
        os._exit(0)
    return copy, os.WIFSIGNALED(os.waitpid(process, 0)[1])


def _count_down(statements: int, then: Callable[[], None]) -> None:
    """Does something before the statement of this number, on whatever connection."""
    left = [statements]

    def trace(*_) -> bool:
        left[0] -= 1
        if left[0] == 0:
            then()
        return True

    apsw.connection_hooks.append(lambda connection: setattr(connection, "exec_trace", trace))


def _kill_in_many_statements(index: Path, work: Callable[[Path], None]) -> None:
    """Says, for each copy that was worked on, whether the work got through."""
    for number in range(1, 10_000, 2):
        copy, killed = _in_a_copy(index, work, number)
        _say(f"{'killed' if killed else 'through'} {copy}")
        if not killed:
            return


def _change(path: Path) -> None:
    store = _open(path)
    store.replace(*_document("/a", 3, "other "))
    _embed(store)
    store.delete([document_id_of("/b")])


match sys.argv[1:]:
    case ["open"]:
        _open_each_named()
    case ["write", path, name]:
        _write_many(Path(path), name)
    case ["read", path]:
        _read_until_told(Path(path))
    case ["fill", path]:
        _fill(Path(path))
    case ["shorten", path]:
        _shorten(Path(path))
    case ["read-only", path]:
        _read_only(Path(path))
    case ["kill-while-opening", path]:
        _kill_in_many_statements(Path(path), lambda copy: _open(copy).close())
    case ["kill-while-changing", path]:
        _kill_in_many_statements(Path(path), _change)
    case ["without-sqlite-vec", path]:
        found = _open(Path(path)).statistics()
        _say(f"{found.vector_search} {found.vector_search_reason}")
