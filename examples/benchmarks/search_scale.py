"""How a store of 10,000, 100,000 and a million chunks is built, opened and searched.

    python examples/benchmarks/search_scale.py [--chunks 10000 100000 1000000] [--folder DIR]
        [--peers PYTHON] [--subjects FILE.npy] [--one-core] [--numpy] [--cpu-time]
        [--index FILE] [--json]

Made-up texts and vectors (`search_scale_data`), documents of 20 chunks. Building leaves embedding
out: `replace` and `add_vectors`, as the indexer calls them. Another process then opens the index
and searches: by meaning and by words for 100 each, joined and read (`engine.search`), also with
filters that let 0.1, 1 and 50 % of the documents through, which are found out once for each filter
(among a million chunks in 9 ms: in the column "first"). Embedding the question is left out, and
of three times each question is asked the shortest counts, since machines have other work.
Memory is what that process needs beyond having the program loaded. Recall compares the ten nearest
with a comparison with all vectors. A million chunks take some minutes and 6 GB of disk.

PYTHON runs `search_scale_peers.py` on the same vectors: an interpreter that has sqlite-vec, usearch
or lancedb, whichever are to be compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from search_scale_data import (
    DIMENSIONS,
    QUESTIONS,
    Vocabulary,
    forget_peak,
    memory,
    nearest,
    subjects,
)

from engine.corpus import Chunk, Document, Filter, document_id_of
from engine.embed.embeddings import Embeddings
from engine.search.search import Mode, SearchRequest, search
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store

CHUNKS_PER_DOCUMENT = 20
ROUNDS = 3
HITS = 10
SPACE = EmbeddingSpace("made-up", "made-up", DIMENSIONS)
# Folders by the document's number modulo 1,000, and what part of all documents filters let through.
FOLDERS = {"few": range(1), "some": range(1, 10), "half": range(10, 500), "rest": range(500, 1000)}
FILTERS = {
    "0.1 %": Filter(roots=("/made-up/few",)),
    "1 %": Filter(roots=("/made-up/few", "/made-up/some")),
    "50 %": Filter(roots=("/made-up/few", "/made-up/some", "/made-up/half")),
}


@dataclass(frozen=True)
class Built:
    """How building went."""

    chunks_per_second: float
    vectors_per_second: float
    megabytes_on_disk: float


@dataclass(frozen=True)
class Searched:
    """How searching went in a fresh process. Times are pairs of p50 and p95, in ms."""

    way: str
    open_ms: float
    first_ms: dict[str, float]
    times: dict[str, tuple[float, float]]
    megabytes: float
    """Memory beyond the program's own."""
    recall_10: float


def main() -> None:
    """Measures and prints."""
    options = _options()
    if options.search:
        print(json.dumps(asdict(_searched(options.search, options.sizes[0], options))))
        return
    report: list[dict[str, Any]] = []
    for chunks in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = options.index or Path(folder) / "index.sqlite"
            built = None if path.exists() else _built(path, chunks, options.subjects)
            searched = _searched_apart(path, chunks, options)
            peers = _peers(Path(folder), chunks, options) if options.peers else []
        report.append(
            {"chunks": chunks, "built": built and asdict(built), **searched, "peers": peers}
        )
        if not options.json:
            _print(report[-1])
    if options.json:
        print(json.dumps({"machine": machine(), "sizes": report}, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", "--chunks", type=int, nargs="+", default=[10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--folder", type=Path, help="where there is room; default: for temporaries")
    parser.add_argument("--peers", help="an interpreter with what is to be compared")
    parser.add_argument("--subjects", type=Path, help="a .npy file of real vectors")
    parser.add_argument(
        "--one-core", action="store_true", help="searches on one core only, by taskset"
    )
    parser.add_argument("--numpy", action="store_true", help="leaves sqlite-vec alone")
    parser.add_argument("--cpu-time", action="store_true", help="of searches; on a busy machine")
    parser.add_argument("--index", type=Path, help="a file to keep, or to use again")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _built(path: Path, chunks: int, file: Path | None) -> Built:
    made = subjects(chunks, file)
    store = open_store(path)
    store.use(SPACE)
    number, reading = 0, 0.0
    for texts in Vocabulary().texts(chunks):
        start = time.perf_counter()
        for first in range(0, len(texts), CHUNKS_PER_DOCUMENT):
            store.replace(*_document(number, texts[first : first + CHUNKS_PER_DOCUMENT]))
            number += 1
        reading += time.perf_counter() - start
    embedding = sum(_embedded(store, block) for block in made.vectors(chunks))
    size = store.statistics().size_bytes
    store.close()
    return Built(chunks / reading, chunks / embedding, size / 1e6)


def _document(number: int, texts: list[str]) -> tuple[Document, list[Chunk]]:
    folder = next(name for name, part in FOLDERS.items() if number % 1000 in part)
    path = f"/made-up/{folder}/{number:06}.md"
    chunks = [Chunk(n, text, (), n + 1, n + 1, 0, 9, 250) for n, text in enumerate(texts)]
    document = Document(
        document_id_of(path), path, f"Document {number}", "0" * 64, 9, 0, len(texts), len(texts)
    )
    return document, chunks


def _embedded(store: Store, vectors: np.ndarray) -> float:
    """Adds vectors to the texts that came first; seconds of `add_vectors` alone."""
    seconds = 0.0
    for start in range(0, len(vectors), 1000):
        part = vectors[start : start + 1000]
        lacking = [one.text_id for one in store.lacking(len(part))]
        begun = time.perf_counter()
        store.add_vectors(lacking, part)
        seconds += time.perf_counter() - begun
    return seconds


def _searched_apart(path: Path, chunks: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--search", str(path), "--sizes", str(chunks)]
    if options.one_core:
        command = ["taskset", "-c", "0", *command]
    if options.subjects:
        command += ["--subjects", str(options.subjects)]
    command += ["--cpu-time"] * options.cpu_time + ["--numpy"] * options.numpy
    found = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(found.stdout)


def _searched(path: Path, chunks: int, options: argparse.Namespace) -> Searched:
    made, asked = subjects(chunks, options.subjects), Vocabulary().questions()
    clock = time.process_time if options.cpu_time else time.perf_counter
    questions = made.questions(QUESTIONS)
    forget_peak()
    before = memory("VmRSS")
    start = clock()
    store = open_store(path, vector_search="numpy" if options.numpy else "fastest")
    store.use(SPACE)
    opened = (clock() - start) * 1000
    ways: dict[str, Callable[[int], object]] = {
        "words": lambda n: _search(store, asked[n], None, "keyword", Filter()),
        "meaning": lambda n: store.nearest(questions[n], HITS),
        "both": lambda n: _search(store, asked[n], questions[n], "hybrid", Filter()),
    }
    for name, where in FILTERS.items():
        ways[f"meaning, {name}"] = lambda n, where=where: store.nearest(questions[n], HITS, where)
        ways[f"both, {name}"] = lambda n, where=where: _search(
            store, asked[n], questions[n], "hybrid", where
        )
    first = {name: _milliseconds(call, 0, clock) for name, call in ways.items()}
    times = {name: _percentiles(call, clock) for name, call in ways.items()}
    found = [{one.text_id - 1 for one in store.nearest(row, HITS)} for row in questions]
    megabytes = memory("VmHWM") - before
    way = store.statistics().vector_search
    store.close()
    expected = nearest(made, chunks, HITS)
    recall = sum(len(a & b) for a, b in zip(found, expected, strict=True)) / (HITS * QUESTIONS)
    return Searched(way, opened, first, times, megabytes, recall)


def _search(
    store: Store, words: str, question: np.ndarray | None, mode: Mode, where: Filter
) -> object:
    request = SearchRequest(query=words, limit=HITS, where=where, mode=mode)
    embedded = None
    if question is not None:
        embedded = Embeddings(
            vectors=question[None],
            token_counts=(9,),
            truncated=(),
            providers=("",),
            model_id="made-up",
        )
    return search(store, request, embedded)


def _percentiles(call: Callable[[int], object], clock: Callable[[], float]) -> tuple[float, float]:
    rounds = [
        [_milliseconds(call, number, clock) for number in range(QUESTIONS)] for _ in range(ROUNDS)
    ]
    times = np.min(rounds, axis=0)
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


def _milliseconds(call: Callable[[int], object], number: int, clock: Callable[[], float]) -> float:
    start = clock()
    call(number)
    return (clock() - start) * 1000


def _peers(folder: Path, chunks: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    command = [options.peers, str(Path(__file__).with_name("search_scale_peers.py"))]
    command += [str(chunks), str(folder)]
    if options.subjects:
        command += [str(options.subjects)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in found.stdout.splitlines()]


def _print(one: dict[str, Any]) -> None:
    print(f"\n{one['chunks']:,} chunks of {DIMENSIONS} dimensions, by {one['way']}; {machine()}")
    if built := one["built"]:
        print(
            f"  built: {built['chunks_per_second']:,.0f} chunks/s, then "
            f"{built['vectors_per_second']:,.0f} vectors/s; {built['megabytes_on_disk']:,.0f} MB"
        )
    print(
        f"  opened in {one['open_ms']:.0f} ms; {one['megabytes']:.0f} MB of memory; recall@10 "
        f"{one['recall_10']:.3f}"
    )
    print(f"  {'ms':<18} {'first':>8} {'p50':>8} {'p95':>8}")
    for name, (p50, p95) in one["times"].items():
        print(f"  {name:<18} {one['first_ms'][name]:>8.1f} {p50:>8.1f} {p95:>8.1f}")
    for peer in one["peers"]:
        if peer["absent"]:
            print(f"  {peer['name']}: {peer['absent']}")
            continue
        print(
            f"  {peer['name']:<28} recall@10 {peer['recall_10']:.3f}, p50 {peer['p50_ms']:.1f} ms, "
            f"p95 {peer['p95_ms']:.1f} ms; built in {peer['built_s']:.0f} s, "
            f"{peer['megabytes']:,.0f} MB of memory, {peer['megabytes_on_disk']:,.0f} MB on disk"
        )


if __name__ == "__main__":
    main()
