"""What the tests of the store do in processes of their own."""

import os
import sys
from pathlib import Path

if sys.argv[1] == "without-sqlite-vec":
    sys.modules["sqlite_vec"] = None  # What an import meets where there is no package.

import numpy as np

try:
    import resource
except ImportError:  # Windows, where the test that needs it is skipped.
    resource = None

from engine.corpus import Chunk, Document, document_id_of
from engine.errors import StoreError
from engine.store.interface import EmbeddingSpace
from engine.store.opening import open_store

SPACE = EmbeddingSpace("tiny-model", "fingerprint-1", 16)


def _open(path: Path):
    store = open_store(path)
    store.use(SPACE)
    return store


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _write(store, path: str, chunks: int) -> None:
    made = [Chunk(n, "text " * 50, (), 1, 1, 0, 250, 50) for n in range(chunks)]
    vectors = np.random.default_rng(1).standard_normal((chunks, 16)).astype(np.float32)
    store.replace(Document(document_id_of(path), path, "", "", 0, 0, 1, chunks), made, vectors)


def _open_each_named() -> None:
    for line in sys.stdin:
        _open(Path(line.strip())).close()
        _say("opened")


def _write_many(path: Path, name: str) -> None:
    store = _open(path)
    for number in range(25):
        _write(store, f"/{name}/{number}", 5)
    store.close()
    _say("wrote 25")


def _fill(path: Path) -> None:
    store = _open(path)
    _write(store, "/first", 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        for number in range(10_000):
            _write(store, f"/{number}", 20)
    except StoreError as error:
        _say(str(error))


def _shorten(path: Path) -> None:
    writing, store = _open(path), _open(path)
    for number in range(5):  # So much that SQLite moves it from its log into the file.
        _write(writing, f"/{number}", 2000)
    query = np.ones(16, np.float32)
    store.search(query, 5)
    os.truncate(path, path.stat().st_size // 2)
    try:
        store.search(query, 2000)
        store.chunks(document_id_of("/3"))
    except StoreError as error:
        _say(str(error))


match sys.argv[1:]:
    case ["open"]:
        _open_each_named()
    case ["write", path, name]:
        _write_many(Path(path), name)
    case ["fill", path]:
        _fill(Path(path))
    case ["shorten", path]:
        _shorten(Path(path))
    case ["without-sqlite-vec", path]:
        found = _open(Path(path)).statistics()
        _say(f"{found.vector_search} {found.vector_search_reason}")
