"""sqlite-vec, usearch and LanceDB on the vectors of `search_scale`, which starts this.

    PYTHON examples/benchmarks/search_scale_peers.py CHUNKS FOLDER [FILE.npy]

One line of JSON each: the ten nearest of 100 questions on one thread, after one question to warm
up. Each is measured in a process of its own; memory is what that one needs for building and
searching, the vectors themselves left out where they are not handed over at once.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from search_scale_data import DIMENSIONS, QUESTIONS, forget_peak, memory, nearest, subjects

HITS = 10

Search = Callable[[np.ndarray], list[int]]


def main() -> None:
    chunks, folder = int(sys.argv[1]), Path(sys.argv[2])
    file = Path(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else None
    if len(sys.argv) > 4:
        print(json.dumps(measured(sys.argv[4], chunks, folder, file)))
        return
    for name in PEERS:
        command = [sys.executable, __file__, str(chunks), str(folder), str(file or ""), name]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def measured(name: str, chunks: int, folder: Path, file: Path | None) -> dict[str, object]:
    """One of them."""
    library, build = PEERS[name]
    try:
        version = getattr(importlib.import_module(library), "__version__", "")
    except ImportError as error:
        return {"name": name, "absent": f"not measured: {error}"}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    made = subjects(chunks, file)
    questions = made.questions(QUESTIONS)
    expected = nearest(made, chunks, HITS)
    forget_peak()
    before = memory("VmRSS")
    place = folder / library
    start = time.perf_counter()
    search = build(place, chunks, made)
    built = time.perf_counter() - start
    search(questions[0])
    times, found = [], 0
    for question, right in zip(questions, expected, strict=True):
        start = time.perf_counter()
        numbers = search(question)
        times.append((time.perf_counter() - start) * 1000)
        found += len(right & set(numbers))
    return {
        "name": f"{name} {version}".strip(),
        "absent": "",
        "built_s": built,
        "recall_10": found / (HITS * QUESTIONS),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "megabytes": memory("VmHWM") - before,
        "megabytes_on_disk": sum(one.stat().st_size for one in folder.rglob("*") if _of(one, place))
        / 1e6,
    }


def _of(file: Path, place: Path) -> bool:
    return file.is_file() and str(file).startswith(str(place))


def _sqlite_vec(place: Path, chunks: int, made) -> Search:
    apsw, sqlite_vec = map(importlib.import_module, ("apsw", "sqlite_vec"))
    connection = apsw.Connection(f"{place}.sqlite")
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, vector float[{DIMENSIONS}])"
    )
    start = 0
    for block in made.vectors(chunks):
        with connection:
            connection.executemany(
                "INSERT INTO v VALUES (?, ?)",
                ((start + row, vector.tobytes()) for row, vector in enumerate(block)),
            )
        start += len(block)
    sql = "SELECT id FROM v WHERE vector MATCH ? AND k = ?"
    return lambda question: [
        row[0] for row in connection.execute(sql, (question.tobytes(), HITS)).fetchall()
    ]


def _usearch(place: Path, chunks: int, made) -> Search:
    index = importlib.import_module("usearch.index").Index(ndim=DIMENSIONS, metric="ip")
    start = 0
    for block in made.vectors(chunks):
        index.add(np.arange(start, start + len(block)), block, threads=0)
        start += len(block)
    index.save(f"{place}.usearch")
    return lambda question: index.search(question, HITS, threads=1).keys.tolist()


def _lancedb(place: Path, chunks: int, made) -> Search:
    pyarrow, lancedb = map(importlib.import_module, ("pyarrow", "lancedb"))
    table, start = None, 0
    database = lancedb.connect(str(place))
    for block in made.vectors(chunks):
        vectors = pyarrow.FixedSizeListArray.from_arrays(block.ravel(), DIMENSIONS)
        numbers = pyarrow.array(np.arange(start, start + len(block)))
        rows = pyarrow.table({"number": numbers, "vector": vectors})
        table = database.create_table("v", rows) if table is None else (table.add(rows), table)[1]
        start += len(block)
    assert table is not None
    if chunks > LANCEDB_INDEXED:
        table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_PQ")
    return lambda question: (
        table.search(question)
        .distance_type("dot")
        .nprobes(20)
        .refine_factor(20)
        .limit(HITS)
        .select(["number"])
        .to_arrow()["number"]
        .to_pylist()
    )


# LanceDB's guide: an index pays from about so many rows; below, it compares with all.
LANCEDB_INDEXED = 50_000

PEERS = {
    "sqlite-vec, all compared": ("sqlite_vec", _sqlite_vec),
    "usearch, HNSW": ("usearch", _usearch),
    "LanceDB": ("lancedb", _lancedb),
}


if __name__ == "__main__":
    main()
