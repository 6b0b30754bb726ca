"""What every engine in embed.py is asked to do, and how its process answers.

An engine is a program's way to make vectors of texts. It lives in a process of its own, is opened
once and measured once for every line it is sent, so that the engines take turns on one machine.
Knows the standard library alone: the peers' interpreter has nothing of ours.
"""

import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

Figures = dict[str, float]
Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Unit vectors of texts, in order."""

CALLERS = 16

# Common words, each one token in BERT's vocabulary.
_TEXT = """
    the of and to in is was for on that by with as at from it be are this an have which one were
    two been can more when out has first new after time other about world people city water house
    number study line group power field force light sound night paper river market model signal
"""
WORDS = _TEXT.split()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one engine is opened with."""

    engine: str
    model: str
    """Ours: a model's id or folder. Peers: a folder as on the hub, with onnx/model.onnx."""
    gguf: str
    pooling: str
    dimensions: int
    max_tokens: int
    threads: int
    texts: int = 200
    queries: int = 60
    queries_a_caller: int = 6

    def arguments(self) -> list[str]:
        """As a program takes it."""
        return [json.dumps(asdict(self))]


def texts(task: Task) -> list[str]:
    """Texts of log-normal length, median 90 words, as long as a model reads at most."""
    draw = random.Random(1)
    longest = task.max_tokens - 2
    lengths = [min(int(draw.lognormvariate(4.5, 0.8)) + 3, longest) for _ in range(task.texts)]
    return [" ".join(draw.choices(WORDS, k=length)) for length in lengths]


def token_counts(task: Task) -> list[int]:
    """Tokens of each text, the two special ones included."""
    return [len(text.split()) + 2 for text in texts(task)]


def queries(count: int, seed: int) -> list[str]:
    """Queries of 5 to 15 words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, 15))) for _ in range(count)]


def play(open_engine: Callable[[Task], Embed]) -> None:
    """A program's main: opens the engine, then answers every line with the figures of a round."""
    task = Task(**json.loads(sys.argv[1]))
    out = sys.stdout
    sys.stdout = sys.stderr
    embed = open_engine(task)
    first = [list(map(float, vector)) for vector in embed(texts(task)[:4])]
    print(json.dumps(first), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(_round(task, embed)), file=out, flush=True)


def _round(task: Task, embed: Embed) -> Figures:
    documents = texts(task)
    started = time.perf_counter()
    embed(documents)
    seconds = time.perf_counter() - started
    times = [_milliseconds(embed, query) for query in queries(task.queries, seed=2)]
    return {
        "bulk": sum(token_counts(task)) / seconds,
        "query_p50": statistics.median(times),
        "query_p95": statistics.quantiles(times, n=20)[18],
        **_concurrently(task, embed),
        "peak_bytes": float(_peak_bytes()),
    }


def _concurrently(task: Task, embed: Embed) -> Figures:
    barrier = threading.Barrier(CALLERS + 1)

    def ask(caller: int) -> list[float]:
        own = queries(task.queries_a_caller, seed=10 + caller)
        barrier.wait()
        return [_milliseconds(embed, query) for query in own]

    with ThreadPoolExecutor(CALLERS) as pool:
        asked = [pool.submit(ask, caller) for caller in range(CALLERS)]
        barrier.wait()
        started = time.perf_counter()
        times = [one for caller in asked for one in caller.result()]
        seconds = time.perf_counter() - started
    return {
        "callers_rate": len(times) / seconds,
        "callers_p50": statistics.median(times),
        "callers_p95": statistics.quantiles(times, n=20)[18],
    }


def _milliseconds(embed: Embed, query: str) -> float:
    started = time.perf_counter()
    embed([query])
    return (time.perf_counter() - started) * 1000


def _peak_bytes() -> int:
    """The most memory this process has had; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1024 if peaks else 0
