"""How fast the store takes chunks in and finds the nearest, by sqlite-vec and by numpy.

    python examples/benchmarks/search.py [--chunks 1000 10000 50000] [--rounds 5] [--json]

Synthetic documents of 20 chunks (about 1,000 characters each) with random unit vectors of 384
dimensions, the same ones every time; embedding is left out on both sides. Each round builds an
index of every size in a new file and then searches it 50 times for the 10 nearest; medians over
the rounds are shown. `first` is the first search after a change, when numpy loads all vectors into
memory. "smallest document" is one `replace` with one chunk in the full index.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from machine import machine

from engine.corpus import Chunk, Document, document_id_of
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store

DIMENSIONS = 384
CHUNKS_PER_DOCUMENT = 20
SEARCHES = 50
HITS = 10
TEXT = "The river bends around the old stone bridge and the mill behind it. " * 15
SPACE = EmbeddingSpace("synthetic", "synthetic", DIMENSIONS)

WAYS: tuple[Literal["fastest", "numpy"], ...] = ("fastest", "numpy")


@dataclass(frozen=True)
class Figure:
    """One way of searching at one size; of one round, or medians over the rounds."""

    chunks: int
    vector_search: str
    chunks_per_second: float
    smallest_document_ms: float
    first_ms: float
    p50_ms: float
    p95_ms: float
    megabytes: float


def _vectors(count: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((count, DIMENSIONS), np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def _document(number: int, size: int) -> tuple[Document, list[Chunk]]:
    path = f"/synthetic/{number:06}.md"
    chunks = [
        Chunk(n, TEXT, ("Synthetic",), n + 1, n + 1, n * len(TEXT), (n + 1) * len(TEXT), 250)
        for n in range(size)
    ]
    total = len(TEXT) * size
    return Document(document_id_of(path), path, "Synthetic", "0" * 64, total, 0, size, size), chunks


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def _fill(store: Store, vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), CHUNKS_PER_DOCUMENT):
        part = vectors[start : start + CHUNKS_PER_DOCUMENT]
        store.replace(*_document(start // CHUNKS_PER_DOCUMENT, len(part)), part)


def _measure(folder: Path, way: Literal["fastest", "numpy"], vectors: np.ndarray) -> Figure:
    store = open_store(folder / "index.sqlite", vector_search=way)
    store.use(SPACE)
    built = _milliseconds(lambda: _fill(store, vectors))
    queries = _vectors(SEARCHES, seed=1)
    smallest = _milliseconds(lambda: store.replace(*_document(999_999, 1), queries[:1]))
    first = _milliseconds(lambda: store.search(queries[0], HITS))
    times = [_milliseconds(lambda query=query: store.search(query, HITS)) for query in queries]
    found = store.statistics()
    store.close()
    return Figure(
        chunks=len(vectors),
        vector_search=found.vector_search,
        chunks_per_second=len(vectors) / built * 1000,
        smallest_document_ms=smallest,
        first_ms=first,
        p50_ms=float(np.percentile(times, 50)),
        p95_ms=float(np.percentile(times, 95)),
        megabytes=found.size_bytes / 1e6,
    )


def _median(rounds: list[Figure]) -> Figure:
    columns = {name: [asdict(one)[name] for one in rounds] for name in asdict(rounds[0])}
    return Figure(
        **{
            name: values[0] if name in ("chunks", "vector_search") else statistics.median(values)
            for name, values in columns.items()
        }
    )


def _print_table(figures: list[Figure], rounds: int) -> None:
    print(f"{machine()}; medians of {rounds} rounds; {DIMENSIONS} dimensions, {HITS} hits\n")
    print(
        f"{'chunks':>8}  {'by':<10} {'chunks/s':>9} {'1 chunk ms':>11} {'first ms':>9} "
        f"{'p50 ms':>7} {'p95 ms':>7} {'MB':>7}"
    )
    for one in figures:
        print(
            f"{one.chunks:>8,}  {one.vector_search:<10} {one.chunks_per_second:>9,.0f} "
            f"{one.smallest_document_ms:>11.1f} {one.first_ms:>9.1f} {one.p50_ms:>7.1f} "
            f"{one.p95_ms:>7.1f} {one.megabytes:>7.1f}"
        )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rounds: dict[tuple[int, str], list[Figure]] = {}
    for _ in range(arguments.rounds):
        for count in arguments.chunks:
            for way in WAYS:
                with tempfile.TemporaryDirectory() as folder:
                    figure = _measure(Path(folder), way, _vectors(count, seed=0))
                rounds.setdefault((count, way), []).append(figure)
    figures = [_median(found) for found in rounds.values()]
    if arguments.json:
        report = {"machine": machine(), "rounds": arguments.rounds}
        print(json.dumps(report | {"figures": [asdict(one) for one in figures]}, indent=2))
    else:
        _print_table(figures, arguments.rounds)


if __name__ == "__main__":
    main()
