"""Joins words and meaning: a question in, passages in order out.

Knows how to ask the store, not how it searches; how well two orders agree is `fusion`'s, what is
shown first is `ranking`'s. Without vectors it answers by words, and says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.corpus import Filter, Hit
from engine.embed.embeddings import Embeddings
from engine.errors import EmptyInput
from engine.search import fusion, ranking
from engine.search.fusion import Fused
from engine.search.query import Query, read_query
from engine.store.interface import Candidate, Store, Vectors

Mode = Literal["hybrid", "dense", "keyword"]

DEEPEST = 10_000
"""How far down the list of passages may be asked for."""

_DEPTH = 200
"""Candidates of each way at least: fusing more of them changed no measured quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What is asked."""

    query: str
    """Plain words; the model's query prefix is added by the embedder, not by callers."""
    limit: int = 10
    offset: int = 0
    """Passages of earlier pages, to be passed over."""
    where: Filter = Filter()
    mode: Mode = "hybrid"
    diversity: float = 0.0
    """0 to 1: how much a passage that is unlike those before it is preferred to a better one."""


@dataclass(frozen=True, slots=True)
class Match:
    """A passage, and what its score is made of."""

    hit: Hit
    parts: Fused


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What was found for a question."""

    matches: list[Match]
    """Best first."""
    has_more: bool
    """Whether there are passages behind these."""
    query: Query
    model_id: str
    """Of the embedder; empty where none was used."""
    provider: str
    """The execution provider that embedded the question; empty where none did."""
    degraded: str
    """Why not all was searched as asked; empty if it was."""
    generation: int
    """Of the index that was searched."""


def search(
    store: Store, request: SearchRequest, question: Embeddings | None, why_not: str = ""
) -> Matches:
    """The passages that answer a question, best first.

    Args:
        store: In use for the model that embedded the question, if one did.
        request: What is asked.
        question: The embedded query as the only text; None searches by words.
        why_not: Why there is no embedded query though one was wanted.

    Raises:
        EmptyInput: The query is blank.
    """
    query = read_query(request.query)
    if not request.query.strip():
        raise EmptyInput("The query is empty; say what to look for.")
    depth = max(_DEPTH, 2 * (request.offset + request.limit))
    statistics = store.statistics()
    degraded = why_not or _lacking(store, request.mode)
    words: Sequence[Candidate] = ()
    meaning: Sequence[Candidate] = ()
    if request.mode != "dense" or question is None:
        words = store.lexical(query.terms, depth, request.where)
    if request.mode != "keyword" and question is not None:
        meaning = store.nearest(question.vectors[0], depth, request.where)
    del fusion, ranking, statistics, words, meaning, degraded, Vectors
    raise NotImplementedError
