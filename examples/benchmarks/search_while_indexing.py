"""How long a search takes while a folder is indexed, beside the same search before.

    python examples/benchmarks/search_while_indexing.py [--models DIR] [--files 600] [--seconds 20]
        [--readers 1] [--json]

A folder of made-up prose is indexed in one thread while another, or so many, search it, each one
question after the other, with all that a question needs: embedding it, finding and ranking. Once
indexing may use all cores, as the command `index` does, and once it leaves a core free, as a server
does. Shown are p50 and p95 in milliseconds, searching alone and meanwhile, and the texts embedded a
second. An index that says it is locked, or cannot be read, ends the script.
"""

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from machine import machine

from engine.documents.progress import IndexProgress
from engine.engine import Engine, EngineOptions
from engine.library import Library
from engine.search.search import SearchRequest
from mcp_server.settings import Settings

WORDS = 4_000
LETTERS = "bdfgklmnprst"
PARAGRAPHS = 12


def main() -> None:
    options = _options()
    figures = {
        name: _measured(options, leaves_core_free=free)
        for name, free in (("all cores", False), ("a core left free", True))
    }
    if options.json:
        print(json.dumps({"machine": machine(), "figures": figures}, indent=2))
        return
    print(machine())
    columns = ("alone p50", "alone p95", "meanwhile p50", "meanwhile p95", "searches", "texts/s")
    print(f"{'':<18}" + "".join(f"{column:>15}" for column in columns))
    for name, row in figures.items():
        print(f"{name:<18}" + "".join(f"{row[column]:>15,.1f}" for column in columns))


def _measured(options: argparse.Namespace, *, leaves_core_free: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "documents").resolve()
        _write(folder / "first", 50, seed=1)
        engine = Engine(
            EngineOptions(
                models_dir=options.models,
                index_file=Path(scratch, "index.sqlite"),
                leaves_core_free=leaves_core_free,
            )
        )
        try:
            list(engine.library.index(folder))
            for _ in range(20):
                _search(engine.library)
            end = time.perf_counter() + options.seconds / 2
            alone = _searches(engine.library, lambda: time.perf_counter() < end, options.readers)
            _write(folder / "second", options.files, seed=2)
            return _percentiles("alone", alone) | _meanwhile(engine.library, folder, options)
        finally:
            engine.close()


def _meanwhile(library: Library, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Searches while the second part of the folder is embedded."""
    embeds, ended = threading.Event(), threading.Event()
    seen: list[tuple[float, int]] = []

    def index() -> None:
        for step in library.index(folder):
            _note(step, seen, embeds)
            if ended.is_set():
                break
        embeds.set()
        ended.set()

    thread = threading.Thread(target=index)
    thread.start()
    embeds.wait()
    end = time.perf_counter() + options.seconds
    try:
        taken = _searches(
            library, lambda: time.perf_counter() < end and not ended.is_set(), options.readers
        )
    finally:
        ended.set()
        thread.join()
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    rate = (last - first) / max(last_at - first_at, 1e-9)
    return _percentiles("meanwhile", taken) | {"searches": len(taken), "texts/s": rate}


def _note(step: IndexProgress, seen: list[tuple[float, int]], embeds: threading.Event) -> None:
    if step.phase == "embedding" and step.texts_done:
        seen.append((time.perf_counter(), step.texts_done))
        embeds.set()


def _searches(library: Library, goes_on: Callable[[], bool], readers: int) -> list[float]:
    """Milliseconds of each search by so many at once."""
    with ThreadPoolExecutor(readers) as threads:
        taken = [threads.submit(_one_reader, library, goes_on) for _ in range(readers)]
    return [each for one in taken for each in one.result()]


def _one_reader(library: Library, goes_on: Callable[[], bool]) -> list[float]:
    taken: list[float] = []
    while goes_on():
        started = time.perf_counter()
        _search(library)
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def _search(library: Library) -> None:
    words = " ".join(random.choices(_vocabulary(), k=6))
    library.search(SearchRequest(query=words, limit=8))


def _percentiles(name: str, taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        f"{name} p50": statistics.median(ordered),
        f"{name} p95": ordered[int(0.95 * len(ordered))],
    }


@lru_cache
def _vocabulary() -> list[str]:
    draw = random.Random(7)
    return [
        "".join(draw.choice(LETTERS) + draw.choice("aeiou") for _ in range(3)) for _ in range(WORDS)
    ]


def _write(folder: Path, files: int, seed: int) -> None:
    folder.mkdir(parents=True)
    draw, words = random.Random(seed), _vocabulary()
    for number in range(files):
        paragraphs = (" ".join(draw.choices(words, k=90)) for _ in range(PARAGRAPHS))
        (folder / f"{number}.txt").write_text(".\n\n".join(paragraphs) + ".\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=Settings().models_folder)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--readers", type=int, default=1, help="that search at once")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
