"""How well search finds what people judged relevant: by words, by meaning, and by both.

    python examples/benchmarks/search_quality.py --data DIR [--embedder MODEL] [--index FILE]

DIR is in BEIR's format: corpus.jsonl, queries.jsonl, qrels/test.tsv. Every document becomes one
passage under its title, in an index as the product keeps it, and every judged query is asked as a
user would ask it: bm25 is the mode "keyword", the other two are called as they are. Cut at the
model's `max_tokens`, a passage reads as BEIR's "title text", so dense is comparable with published
figures. A document without words is left out; no passage can be made of it.

The index is thrown away unless FILE says where to keep it; a kept one is filled up and used again.
Some minutes for 5,000 abstracts. Without a model (an id or a folder) the best installed embedder is
taken.

How the rule was found (November 2026, all-MiniLM-L6-v2, nDCG@10). SciFact is the dev half of 150
queries; of the classic collections every judgement above 0 counts as 1. "even" is the average of
both scores by min-max, without the similarities of what only keywords found; RRF has k = 60:

                 bm25    dense   hybrid   even    RRF
    SciFact      0.665   0.649   0.728    0.724   0.707
    Cranfield    0.381   0.395   0.431    0.429   0.434
    CISI         0.350   0.422   0.450    0.445   0.435
    CACM         0.429   0.407   0.510    0.508   0.503
    Vaswani      0.437   0.436   0.510    0.508   0.493

There, weights of meaning from 0.5 to 0.7 differ by less than 0.01 (CACM: 0.02). So 0.65 was taken
from the same sets with one way of searching made worse: half of the words dropped, or vectors cut
to 40 dimensions by random projection (60 queries a set). Hybrid less the better of the two was at
worst -0.092 (RRF), -0.044 (even), -0.033 (this rule), and in the mean -0.004, +0.013, +0.025.

Tried and not kept: 100 or 1,000 candidates for 200 (0.003 apart in the mean); z-scores for min-max
(no better); titles weighted 1 to 3 (about 0.01, in both directions); every hyphenated compound as
a phrase beside its words (bm25 -0.007 to +0.004).
"""

import argparse
import csv
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from engine.corpus import Chunk, Document, document_id_of
from engine.embed.embedder import Embedder
from engine.models import installed
from engine.models.spec import EmbedderSpec
from engine.search.search import Mode, SearchRequest, search
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store
from mcp_server.settings import Settings

DEPTH = 100
MODES: Mapping[str, Mode] = {"bm25": "keyword", "dense": "dense", "hybrid": "hybrid"}
TEXTS_AT_ONCE = 256

Grades = Mapping[str, int]


@dataclass(frozen=True)
class Quality:
    """Means over the judged queries."""

    queries: int
    documents: int
    ndcg_10: float
    recall_10: float
    recall_100: float
    mrr_10: float
    milliseconds: float
    """Of the median query, without embedding it."""


def main() -> None:
    options = _options()
    spec = installed.choose("embed", Settings().models_folder, options.embedder).spec
    assert isinstance(spec, EmbedderSpec)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(options.index or Path(folder) / "index.sqlite")
        try:
            found = measure_modes(Embedder.open(spec), store, options.data)
        finally:
            store.close()
    if options.json:
        results = {name: asdict(quality) for name, quality in found.items()}
        print(json.dumps({"model": spec.model_id, "machine": machine(), **results}, indent=2))
        return
    some = found["hybrid"]
    print(f"{spec.model_id} on {options.data.name}; {machine()}")
    print(f"{some.queries:,} queries, {some.documents:,} documents")
    print(f"{'':<8}{'nDCG@10':>9}{'recall@10':>11}{'recall@100':>12}{'MRR@10':>9}{'ms':>7}")
    for name, one in found.items():
        print(
            f"{name:<8}{one.ndcg_10:>9.4f}{one.recall_10:>11.4f}{one.recall_100:>12.4f}"
            f"{one.mrr_10:>9.4f}{one.milliseconds:>7.1f}"
        )


def measure_modes(embedder: Embedder, store: Store, data: Path) -> dict[str, Quality]:
    """Asks an index of the documents every judged query in every way."""
    documents = {_path(place): one for place, one in enumerate(_lines(data / "corpus.jsonl"))}
    judged = _judgements(data / "qrels" / "test.tsv")
    queries = [one for one in _lines(data / "queries.jsonl") if one["_id"] in judged]
    _fill(store, embedder, documents)
    questions = [embedder.embed([one["text"]], "query") for one in queries]
    found: dict[str, Quality] = {}
    for name, mode in MODES.items():
        rankings: list[list[str]] = []
        times: list[float] = []
        for query, question in zip(queries, questions, strict=True):
            request = SearchRequest(query=query["text"], limit=DEPTH, mode=mode)
            started = time.perf_counter()
            matches = search(store, request, question)
            times.append((time.perf_counter() - started) * 1000)
            paths = [
                hit.document.path for one in matches.ranked for hit in (one.hit, *one.duplicates)
            ]
            rankings.append([documents[path]["_id"] for path in paths])
        grades = [judged[query["_id"]] for query in queries]
        found[name] = _quality(rankings, grades, len(documents), statistics.median(times))
    return found


def measure(embedder: Embedder, data: Path) -> Quality:
    """The model alone: every document is compared with every judged query, without an index."""
    documents = _lines(data / "corpus.jsonl")
    judged = _judgements(data / "qrels" / "test.tsv")
    queries = [query for query in _lines(data / "queries.jsonl") if query["_id"] in judged]
    embedded = embedder.embed(
        [f"{document.get('title', '')} {document['text']}".strip() for document in documents],
        "document",
    )
    questions = embedder.embed([query["text"] for query in queries], "query")
    started = time.perf_counter()
    scores = questions.vectors @ embedded.vectors.T
    ids = np.array([document["_id"] for document in documents])
    rankings = ids[np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]].tolist()
    milliseconds = (time.perf_counter() - started) * 1000 / len(queries)
    return _quality(
        rankings, [judged[query["_id"]] for query in queries], len(documents), milliseconds
    )


def _fill(store: Store, embedder: Embedder, documents: Mapping[str, dict[str, Any]]) -> None:
    """Stores every document that is not there, and embeds what has no vector."""
    spec = embedder.spec
    store.use(EmbeddingSpace(spec.model_id, spec.fingerprint, spec.dimensions))
    for path, one in list(documents.items())[store.count() :]:
        store.replace(*_document(path, one.get("title", "").strip(), one["text"].strip()))
    while lacking := store.lacking(TEXTS_AT_ONCE):
        embedded = embedder.embed([one.text for one in lacking], "document")
        store.add_vectors([one.text_id for one in lacking], embedded.vectors)


def _document(path: str, title: str, text: str) -> tuple[Document, list[Chunk]]:
    """A document of one passage under its title; an untitled one stands under none."""
    size = len(text.encode())
    heading_path = (title,) if title else ()
    chunk = Chunk(0, text, heading_path, 1, 1 + text.count("\n"), 0, size, len(text.split()))
    chunks = [chunk] if (title or text) else []
    lines = 1 + text.count("\n")
    return (
        Document(document_id_of(path), path, title, "", size, 0, lines, len(chunks)),
        chunks,
    )


def _path(place: int) -> str:
    """A path whose words no query holds: a number in letters."""
    return "/" + "".join(chr(ord("q") + int(digit)) for digit in oct(place)[2:])


def _quality(
    rankings: Sequence[Sequence[str]],
    grades: Sequence[Grades],
    documents: int,
    milliseconds: float,
) -> Quality:
    pairs = list(zip(rankings, grades, strict=True))
    return Quality(
        queries=len(grades),
        documents=documents,
        ndcg_10=float(np.mean([_ndcg(ranking[:10], judged) for ranking, judged in pairs])),
        recall_10=float(np.mean([_recall(ranking[:10], judged) for ranking, judged in pairs])),
        recall_100=float(np.mean([_recall(ranking[:100], judged) for ranking, judged in pairs])),
        mrr_10=float(
            np.mean([_reciprocal_rank(ranking[:10], judged) for ranking, judged in pairs])
        ),
        milliseconds=milliseconds,
    )


def _ndcg(ranking: Sequence[str], grades: Grades) -> float:
    ideal = sorted(grades.values(), reverse=True)[:10]
    return _gain(grades.get(document, 0) for document in ranking) / _gain(ideal)


def _gain(grades: Iterator[int] | Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def _recall(ranking: Sequence[str], grades: Grades) -> float:
    return sum(document in grades for document in ranking) / len(grades)


def _reciprocal_rank(ranking: Sequence[str], grades: Grades) -> float:
    return next((1 / rank for rank, one in enumerate(ranking, 1) if one in grades), 0.0)


def _judgements(file: Path) -> dict[str, dict[str, int]]:
    """Relevant documents of each query and how relevant they are."""
    judged: dict[str, dict[str, int]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if int(row["score"]) > 0:
                judged.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return judged


def _lines(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--embedder", help="a model's id or folder; default: the best installed")
    parser.add_argument("--data", type=Path, required=True, help="a folder in BEIR's format")
    parser.add_argument("--index", type=Path, help="where the index is kept; default: nowhere")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
