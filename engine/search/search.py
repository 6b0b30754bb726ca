"""Joins words and meaning: a question in, passages in order out.

Knows what to ask the store for, not how it searches. How two lists become one is `fusion`'s, what
is shown first is `ranking`'s. What cannot be searched by meaning is searched by words, and that is
said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from engine.corpus import Filter
from engine.embed.embeddings import Embeddings
from engine.errors import EmptyInput
from engine.search.fusion import DEPTH, Fused, dense_share, fuse, uncompared
from engine.search.query import Query, read_query
from engine.search.ranking import Ranked, diversify, rank, worth_reading
from engine.search.snippets import Snippet, snippet
from engine.store.interface import NO_FILTER, Candidate, Store

Mode = Literal["hybrid", "dense", "keyword"]

DEEPEST = 10_000
"""How far down a list of passages may be asked for."""

# So many times as many are looked at where too many of them are alike.
_DEEPER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What is asked."""

    query: str
    """Plain words; a model's query prefix is added by the embedder, not by callers."""
    limit: int = 10
    offset: int = 0
    """Passages of earlier pages, to be passed over."""
    where: Filter = NO_FILTER
    mode: Mode = "hybrid"
    is_diverse: bool = False
    """Whether what says something new goes before what is like a better passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What was found for a question."""

    ranked: list[Ranked]
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
        StoreError: The index cannot be read.
    """
    if not request.query.strip():
        raise EmptyInput("The query is empty; say what to look for.")
    generation = store.generation()
    query = read_query(request.query)
    last = min(request.offset + request.limit, DEEPEST)
    ranked = _ranked(store, request, query, question, last + 1)
    if request.is_diverse and question is not None:
        ranked = diversify(ranked, store.vectors([one.fused.text_id for one in ranked[:DEPTH]]))
    return Matches(
        ranked=ranked[request.offset : last],
        has_more=last < min(len(ranked), DEEPEST),
        query=query,
        model_id=question.model_id if question else "",
        provider=question.provider if question else "",
        degraded=_degraded(store, request.mode, question, why_not),
        generation=generation,
    )


def evidence(store: Store, query: Query) -> Callable[[Ranked, int], Snippet]:
    """Cuts the part of a passage that shows why it was found.

    Args:
        store: That it was found in.
        query: What was looked for.

    Returns:
        Takes the passage, and how many characters it may show: 40 or more. Remembers words.
    """

    @cache
    def stem(word: str) -> str:
        return " ".join(one.stem for one in store.words(word))

    return lambda found, characters: snippet(found.hit.chunk, query, stem, characters)


def lacking(store: Store) -> str:
    """What cannot be found by meaning yet; empty if everything can."""
    coverage = store.coverage()
    if coverage.is_complete:
        return ""
    return (
        f"reembedding {coverage.embedded:,}/{coverage.texts:,}: passages without a vector of the "
        "embedding model in use are found by their words only."
    )


def _ranked(
    store: Store, request: SearchRequest, query: Query, question: Embeddings | None, wanted: int
) -> list[Ranked]:
    """As many passages as are wanted or more, if there are: of those alike one is shown."""
    depth = max(DEPTH, 2 * wanted)
    while True:
        fused = _fused(store, request, query, question, depth)
        ranked = _read(store, request, query, fused, wanted)
        are_all = len(fused) < depth  # Neither of the two lists was cut.
        if len(ranked) >= wanted or are_all or depth >= DEEPEST:
            return ranked
        depth = min(_DEEPER * depth, DEEPEST)


def _read(
    store: Store, request: SearchRequest, query: Query, fused: Sequence[Fused], wanted: int
) -> list[Ranked]:
    """The best in order, from as few passages as it takes."""
    limit = wanted
    while True:
        worth = worth_reading(fused, query, limit)
        candidates = [Candidate(one.text_id, one.score) for one in worth]
        ranked = rank(fused, store.hits(candidates, request.where), query)
        if len(ranked) >= wanted or len(worth) == len(fused):
            return ranked
        limit *= _DEEPER


def _fused(
    store: Store, request: SearchRequest, query: Query, question: Embeddings | None, depth: int
) -> list[Fused]:
    by_words: Sequence[Candidate] = ()
    if request.mode != "dense" or question is None:
        by_words = store.lexical(query.terms, depth, request.where)
    if request.mode == "keyword" or question is None:
        return fuse(by_words, (), dense_share(query))
    vector = question.vectors[0]
    by_meaning = store.nearest(vector, depth, request.where)
    asked = uncompared(by_words, by_meaning)
    told = store.similarities(vector, asked)
    return fuse(
        by_words,
        by_meaning,
        dense_share(query),
        similarities=told,
        vectorless=set(asked) - told.keys(),
    )


def _degraded(store: Store, mode: Mode, question: Embeddings | None, why_not: str) -> str:
    if mode == "keyword":
        return ""
    if question is None:
        return f"searched by words only: {why_not}"
    return lacking(store)
