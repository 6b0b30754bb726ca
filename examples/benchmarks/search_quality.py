"""How well an embedding model finds what people judged relevant: nDCG@10 and recall.

    python examples/benchmarks/search_quality.py --data DIR [--embedder MODEL] [--json]

DIR is in BEIR's format: corpus.jsonl, queries.jsonl, qrels/test.tsv. Every document is embedded
whole (title and text, cut at the model's `max_tokens`) and compared with every query exactly, so
the figures are the model's and the embedder's, not an index's. Some minutes for 5,000 abstracts.
Without a model (an id or a folder) the best installed embedder is taken.
"""

import argparse
import csv
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from engine.embed.embedder import Embedder
from engine.models import installed
from engine.models.spec import EmbedderSpec
from mcp_server.settings import Settings

DEPTH = 100


@dataclass(frozen=True)
class Quality:
    """Means over the judged queries."""

    queries: int
    documents: int
    ndcg_10: float
    recall_10: float
    recall_100: float
    tokens_per_second: float
    """While the documents were embedded."""


def main() -> None:
    options = _options()
    spec = installed.choose("embed", Settings().models_folder, options.embedder).spec
    assert isinstance(spec, EmbedderSpec)
    quality = measure(Embedder.open(spec), options.data)
    if options.json:
        print(
            json.dumps({"model": spec.model_id, "machine": machine(), **asdict(quality)}, indent=2)
        )
        return
    print(f"{spec.model_id} on {options.data.name}; {machine()}")
    for name, value in asdict(quality).items():
        print(f"{name:<18}{value:>10,.4f}" if value < 1 else f"{name:<18}{value:>10,.0f}")


def measure(embedder: Embedder, data: Path) -> Quality:
    """Ranks every document for every judged query."""
    documents = _lines(data / "corpus.jsonl")
    judged = _judgements(data / "qrels" / "test.tsv")
    queries = [query for query in _lines(data / "queries.jsonl") if query["_id"] in judged]

    started = time.perf_counter()
    embedded = embedder.embed(
        [f"{document.get('title', '')} {document['text']}".strip() for document in documents],
        "document",
    )
    seconds = time.perf_counter() - started
    questions = embedder.embed([query["text"] for query in queries], "query")
    scores = questions.vectors @ embedded.vectors.T
    ids = np.array([document["_id"] for document in documents])
    rankings = ids[np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]]

    found = [
        (ranking.tolist(), judged[query["_id"]])
        for query, ranking in zip(queries, rankings, strict=True)
    ]
    return Quality(
        queries=len(queries),
        documents=len(documents),
        ndcg_10=float(np.mean([_ndcg(ranking[:10], grades) for ranking, grades in found])),
        recall_10=float(np.mean([_recall(ranking[:10], grades) for ranking, grades in found])),
        recall_100=float(np.mean([_recall(ranking, grades) for ranking, grades in found])),
        tokens_per_second=embedded.prompt_tokens / seconds,
    )


def _ndcg(ranking: list[str], grades: dict[str, int]) -> float:
    ideal = sorted(grades.values(), reverse=True)[: len(ranking)]
    return _gain([grades.get(document, 0) for document in ranking]) / _gain(ideal)


def _gain(grades: list[int]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def _recall(ranking: list[str], grades: dict[str, int]) -> float:
    return sum(document in grades for document in ranking) / len(grades)


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
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
