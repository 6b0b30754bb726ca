"""How fast texts are embedded by batch budget, and how long the longest run is.

    python examples/benchmarks/embed_batching.py [--embedder MODEL] [--rounds 5] [--threads 0]
        [--json]

Without a model (an id or a folder) the best installed embedder is taken. The bulk
is 200 texts of log-normal length (median 90 tokens, a tenth above 250, cut at the model's
`max_tokens`), the same ones every time. Each round runs every way of batching once, so that a busy
machine slows all of them alike; medians over the rounds are shown. Tokens are the model's own, the
special ones included and padding left out. A query is 5 to 15 words.

What it said of all-MiniLM-L6-v2 on Linux x86-64 with 2 cores, ONNX Runtime 1.32, in tokens/s:

    tokens x rows a batch   median      best   longest run   padding
    512 x 8                 11,732    11,989         61 ms     1.7 %
    512 x 64 (used)         11,358    12,652         61 ms     1.8 %
    1,024 x 64              11,281    12,109        109 ms     3.2 %
    2,048 x 64              10,888    11,127        196 ms     5.7 %
    256 x 64                10,730    10,747         44 ms     0.7 %
    1 x 1                   10,480    10,658         42 ms     0.0 %
    4,096 x 64              10,101    10,431        398 ms     7.3 %
    as they come x 32        9,842    10,137        278 ms     8.6 %
    16,384 x 64              9,317     9,364      1,377 ms     9.8 %

Larger batches gain nothing and keep others waiting (negative: the budgets of GPU servers, 16,384
tokens, are the slowest). A batch never pads more than a tenth, whatever its budget. In another
script 128 tokens reached 0.87 of 512, and two single-threaded sessions side by side 1.03 (7 rounds;
not worth a second copy of the weights). A query took 1.95 ms at p50 and 2.49 ms at p95.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from machine import machine

from engine.embed.embedder import Embedder, EmbedderOptions
from engine.models import installed
from engine.models.spec import EmbedderSpec
from mcp_server.settings import Settings

# Common words, each one token in BERT's vocabulary.
TEXT = (
    "the of and to in is was for on that by with as at from it be are this an have which one were "
    "two been can more when out has first new after time other about world people city water house "
    "number study line group power field force light sound night paper river market model signal"
)
WORDS = TEXT.split()
TEXTS = 200
QUERIES = 200


@dataclass(frozen=True)
class Way:
    """A way of batching; `in_order` takes `max_rows` texts at a time as they come."""

    max_batch_tokens: int
    max_rows: int
    in_order: bool = False


WAYS = [
    Way(1, 1),
    Way(256, 64),
    Way(512, 8),
    Way(512, 64),
    Way(1024, 64),
    Way(2048, 64),
    Way(4096, 64),
    Way(16384, 64),
    Way(1_000_000, 32, in_order=True),
]
CHOSEN = Way(EmbedderOptions().max_batch_tokens, EmbedderOptions().max_rows)


@dataclass(frozen=True)
class BulkFigure:
    """Medians of one way of batching over the rounds."""

    way: Way
    chosen: bool
    tokens_per_second: float
    best_tokens_per_second: float
    """Of the fastest round, which other work on the machine disturbed least."""
    longest_run_ms: float
    """The longest single run: how long a cancelled or waiting caller waits."""
    padding_percent: float


@dataclass(frozen=True)
class QueryFigure:
    """One query at a time, in milliseconds."""

    p50_ms: float
    p95_ms: float


def main() -> None:
    options = _options()
    spec = installed.choose("embed", Settings().models_folder, options.embedder).spec
    assert isinstance(spec, EmbedderSpec)
    embedders = {
        way: Embedder.open(
            spec,
            EmbedderOptions(
                threads=options.threads,
                max_batch_tokens=way.max_batch_tokens,
                max_rows=way.max_rows,
            ),
        )
        for way in WAYS
    }
    bulk = measure_bulk(embedders, _texts(spec.max_tokens), options.rounds)
    query = measure_queries(embedders[CHOSEN])
    _show(spec, embedders[CHOSEN].provider, bulk, query, as_json=options.json)


def measure_bulk(
    embedders: Mapping[Way, Embedder], texts: Sequence[str], rounds: int
) -> list[BulkFigure]:
    """Embeds the texts in every way, `rounds` times over."""
    seconds: dict[Way, list[float]] = {way: [] for way in WAYS}
    longest: dict[Way, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            runs = _timed_runs(embedders[way], texts, way)
            seconds[way].append(sum(runs))
            longest[way].append(max(runs))
    counts = embedders[CHOSEN].embed(texts, "document").token_counts
    return [
        BulkFigure(
            way=way,
            chosen=way == CHOSEN,
            tokens_per_second=sum(counts) / statistics.median(seconds[way]),
            best_tokens_per_second=sum(counts) / min(seconds[way]),
            longest_run_ms=statistics.median(longest[way]) * 1000,
            padding_percent=_padding_percent(embedders[way], texts, way, sum(counts)),
        )
        for way in WAYS
    ]


def measure_queries(embedder: Embedder) -> QueryFigure:
    """Embeds one query after the other."""
    random_words = random.Random(2)
    times: list[float] = []
    for _ in range(QUERIES):
        query = " ".join(random_words.choices(WORDS, k=random_words.randint(5, 15)))
        started = time.perf_counter()
        embedder.embed([query], "query")
        times.append((time.perf_counter() - started) * 1000)
    percentiles = statistics.quantiles(times, n=20)
    return QueryFigure(p50_ms=statistics.median(times), p95_ms=percentiles[18])


def _timed_runs(embedder: Embedder, texts: Sequence[str], way: Way) -> list[float]:
    """Seconds of each run; the first one of a list includes the encoding of its texts."""
    size = way.max_rows if way.in_order else len(texts)
    runs: list[float] = []
    for start in range(0, len(texts), size):
        started = time.perf_counter()
        for _ in embedder.embed_steps(texts[start : start + size], "document"):
            runs.append(time.perf_counter() - started)
            started = time.perf_counter()
    return runs


def _padding_percent(embedder: Embedder, texts: Sequence[str], way: Way, tokens: int) -> float:
    size = way.max_rows if way.in_order else len(texts)
    padded = 0
    for start in range(0, len(texts), size):
        for step in embedder.embed_steps(texts[start : start + size], "document"):
            padded += len(step.indices) * max(step.token_counts)
    return 100 * (1 - tokens / padded)


def _texts(max_tokens: int) -> list[str]:
    words = random.Random(1)
    lengths = [min(int(words.lognormvariate(4.5, 0.8)) + 3, 2 * max_tokens) for _ in range(TEXTS)]
    return [" ".join(words.choices(WORDS, k=length)) for length in lengths]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--embedder", help="a model's id or folder; default: the best installed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: every physical core")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _show(
    spec: EmbedderSpec,
    provider: str,
    bulk: Sequence[BulkFigure],
    query: QueryFigure,
    *,
    as_json: bool,
) -> None:
    if as_json:
        figures = {"bulk": [asdict(figure) for figure in bulk], "query": asdict(query)}
        heading = {"model": spec.model_id, "provider": provider, "machine": machine()}
        print(json.dumps(heading | figures, indent=2))
        return
    print(f"{spec.model_id} on {provider}; {machine()}\n")
    print(
        f"{'tokens x rows a batch':<26}{'tokens/s':>9}{'best':>9}{'longest run':>13}{'padding':>9}"
    )
    for figure in bulk:
        print(
            f"{_name(figure):<26}{figure.tokens_per_second:>9,.0f}{figure.best_tokens_per_second:>9,.0f}"
            f"{figure.longest_run_ms:>10.0f} ms{figure.padding_percent:>7.1f} %"
        )
    print(f"\none query: p50 {query.p50_ms:.2f} ms, p95 {query.p95_ms:.2f} ms")


def _name(figure: BulkFigure) -> str:
    way = figure.way
    budget = "as they come" if way.in_order else f"{way.max_batch_tokens:,}"
    return f"{budget} x {way.max_rows}" + (" (used)" if figure.chosen else "")


if __name__ == "__main__":
    main()
