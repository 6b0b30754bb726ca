"""A store in both ways of searching, and small documents to fill it with."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.corpus import Chunk, Document, document_id_of
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store

SPACE = EmbeddingSpace("tiny-model", "fingerprint-1", 16)

Open = Callable[..., Store]


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
def store(tmp_path, open_at, tier) -> Store:
    return open_at(tmp_path / "index.sqlite", vector_search=tier)


@pytest.fixture
def document() -> Callable[..., tuple[Document, list[Chunk]]]:
    """Makes a document of so many one-line chunks."""

    def make(path: str, chunks: int = 1, text: str = "line") -> tuple[Document, list[Chunk]]:
        made = [
            Chunk(n, f"{text} {n}\n", ("Top", "Sub > x"), n + 1, n + 1, 7 * n, 7 * n + 7, 2)
            for n in range(chunks)
        ]
        return Document(document_id_of(path), path, "Title", "ab", 7, 123, chunks, chunks), made

    return make


@pytest.fixture
def vectors() -> Callable[..., np.ndarray]:
    """Makes unit vectors, the same ones for the same seed."""

    def make(count: int, seed: int = 0, dimensions: int = 16) -> np.ndarray:
        made = np.random.default_rng(seed).standard_normal((count, dimensions))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    return make
