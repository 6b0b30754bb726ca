"""A store in both ways of searching, and small documents to fill it with."""

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
import numpy as np
import pytest

from engine.corpus import Chunk, Document, document_id_of
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store

CHILD = Path(__file__).with_name("store_child.py")

SPACE = EmbeddingSpace("tiny-model", "fingerprint-1", 16)

Open = Callable[..., Store]
Made = tuple[Document, list[Chunk]]


@pytest.fixture
def space() -> EmbeddingSpace:
    return SPACE


@pytest.fixture
def open_at() -> Iterator[Open]:
    """Opens stores and closes them after the test."""
    opened: list[Store] = []

    def open_one(path: Path, space: EmbeddingSpace | None = SPACE, **options) -> Store:
        opened.append(open_store(path, **options))
        if space:
            opened[-1].use(space)
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture(params=["sqlite-vec", "numpy"])
def tier(request) -> str:
    """What `open_store` is told so that it searches in one way and the other."""
    if request.param == "sqlite-vec" and importlib.util.find_spec("sqlite_vec") is None:
        pytest.skip("needs sqlite-vec")
    return "fastest" if request.param == "sqlite-vec" else "numpy"


@pytest.fixture
def path(tmp_path) -> Path:
    """Where the store is."""
    return tmp_path / "index.sqlite"


@pytest.fixture
def store(path, open_at, tier) -> Store:
    return open_at(path, vector_search=tier)


@pytest.fixture
def raw(path) -> Iterator[apsw.Connection]:
    """Another program's connection to the store's file."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    yield connection
    connection.close()


@pytest.fixture
def document() -> Callable[..., Made]:
    """Makes a document of so many chunks, or of these texts; no other path has the same ones."""

    def make(path: str, texts: int | Sequence[str] = 1, said: str = "line", **fields) -> Made:
        if isinstance(texts, int):
            texts = [f"{said} {n} of {path}\n" for n in range(texts)]
        made = [
            Chunk(n, text, ("Top", "Sub > x"), n + 1, n + 1, 7 * n, 7 * n + 7, 2)
            for n, text in enumerate(texts)
        ]
        values = {"title": "Title", "content_sha256": "ab", "size": 7, "stamp_ns": 123} | fields
        count = len(made)
        return Document(
            document_id_of(path), path, line_count=count, chunk_count=count, **values
        ), made

    return make


@pytest.fixture
def vectors() -> Callable[..., np.ndarray]:
    """Makes unit vectors, the same ones for the same seed."""

    def make(count: int, seed: int = 0, dimensions: int = 16) -> np.ndarray:
        made = np.random.default_rng(seed).standard_normal((count, dimensions))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    return make


def vector_of(text: str, dimensions: int = 16) -> np.ndarray:
    """The vector that these tests take for a text's, float32[dimensions]."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    made = np.random.default_rng(seed).standard_normal(dimensions)
    return (made / np.linalg.norm(made)).astype(np.float32)


@pytest.fixture
def meaning() -> Callable[..., np.ndarray]:
    return vector_of


@pytest.fixture
def embed() -> Callable[..., int]:
    """Gives every text that lacks one its vector; returns how many there were."""

    def fill(store: Store, dimensions: int = 16) -> int:
        lacking = store.lacking(100_000)
        if lacking:
            made = np.stack([vector_of(one.text, dimensions) for one in lacking])
            store.add_vectors([one.text_id for one in lacking], made)
        return len(lacking)

    return fill


@pytest.fixture
def add(document) -> Callable[..., Made]:
    """Stores a document whose chunks have these vectors."""

    def store_one(store: Store, path: str, given: np.ndarray, said: str = "line") -> Made:
        made, chunks = document(path, len(given), said)
        store.replace(made, chunks)
        store.add_vectors([one.text_id for one in store.lacking(len(given))], given)
        return made, chunks

    return store_one


@pytest.fixture
def places() -> Callable[..., list[tuple[str, int]]]:
    """Where the nearest texts are, as path and ordinal."""

    def find(store: Store, query: np.ndarray, limit: int, **options) -> list[tuple[str, int]]:
        hits = store.hits(store.nearest(query, limit, **options), **options)
        return [(hit.document.path, hit.chunk.ordinal) for hit in hits]

    return find


@pytest.fixture
def child() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts processes that do what `store_child` can."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [sys.executable, str(CHILD), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def outcome() -> Callable[["subprocess.Popen[str]"], str]:
    """What a process said, which must have ended well."""

    def wait(process: "subprocess.Popen[str]") -> str:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return out

    return wait


@pytest.fixture
def open_in_eight(child, outcome) -> Callable[[Sequence[Path]], None]:
    """Opens each of some indexes in eight processes at once."""

    def open_each(paths: Sequence[Path]) -> None:
        children = [child("open") for _ in range(8)]
        for path in paths:
            for one in children:
                one.stdin.write(f"{path}\n")
                one.stdin.flush()
            assert [one.stdout.readline() for one in children] == ["opened\n"] * 8
        assert [outcome(one) for one in children] == [""] * 8

    return open_each


@pytest.fixture
def integrity() -> Callable[[Path], str]:
    """What SQLite says of a file."""

    def check(path: Path) -> str:
        connection = apsw.Connection(str(path))
        try:
            return connection.pragma("integrity_check")
        finally:
            connection.close()

    return check
