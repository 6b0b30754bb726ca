"""LexicalSearch: finds texts by their words: BM25 over SQLite's full-text search.

BM25 takes about a microsecond for each chunk that holds a term, so common words are dear: in a
million chunks five of them occur in 300,000. Rule: in a small index, or where the terms are rare,
every chunk that holds any term is ranked. Otherwise the rarer terms and pairs of the others, which
decide BM25 anyway, say which chunks are ranked, and all terms say how; the work is bounded whatever
is asked. On SciFact, allowed no more chunks in proportion than 12,000 are of a million, nDCG@10 is
0.662 where ranking all gives 0.666; as of half a million it is the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.store.chunk_map import Selection
from engine.store.connection import View
from engine.store.lexical_plan import Plan, Term, by_rarity, phrases_of, planned, useful
from engine.store.lexical_table import WEIGHTS
from engine.store.vector_copies import Ids
from engine.store.vectors import Scored

MOST_RANKED = 12_000
"""So many chunks are ranked in about 12 ms (one core, Linux x86-64)."""

# So many times as many are only looked up in about 5 ms, to see whether a filter lets them in.
_LOOKED_UP = 6

# A term that occurs more often is not counted on: how often is estimated from some stretches, which
# together are this part of all chunks.
_COUNTED = 2_000
_STRETCHES = 8
_PART = 1 / 16


# Whether a number is one of a `Selection`.
_INSIDE = "substr(?, {} + 1, 1) = x'01'"

Ranked = tuple[Ids, NDArray[np.float64]]
"""Chunks and their scores."""


@dataclass(frozen=True, slots=True)
class _Within:
    """Which chunks may be ranked."""

    inside: bytes | None = None
    """See `Selection.chunks`; None for all."""
    after: int = 0
    last: int = 2**62
    """Those with numbers from behind `after` to `last`."""

    @classmethod
    def of(cls, inside: Selection | None) -> "_Within":
        """Those of a selection, which has some; or all."""
        if inside is None:
            return cls()
        return cls(inside.chunks, inside.chunks.index(1) - 1, len(inside.chunks))


class LexicalSearch:
    """What a store searches its words with. May be asked by several threads at once."""

    def __init__(self, *, most_ranked: int = MOST_RANKED) -> None:
        """Makes one for a store.

        Args:
            most_ranked: In a larger index no more chunks than these are ranked, about.
        """
        self._most = most_ranked

    def search(
        self, view: View, terms: Sequence[str], limit: int, inside: Selection | None
    ) -> list[Scored]:
        """Texts that hold one of the terms, best first, the older text first among equals.

        Args:
            view: A reading transaction.
            terms: FTS5 phrases, quoted.
            limit: At most so many.
            inside: What may answer; None for all.
        """
        if not terms or limit < 1 or (inside is not None and not inside.chunk_count):
            return []
        found = self._ranked(view, list(dict.fromkeys(terms)), inside)
        return _texts(view, found, limit)

    def _ranked(self, view: View, phrases: list[str], inside: Selection | None) -> Ranked:
        within = _Within.of(inside)
        stored = int(view.value("SELECT number FROM counts WHERE name = 'chunks'"))
        if stored <= self._most:
            return _bm25(view, _any(phrases), within)
        terms = sorted((Term(one, _chunks_with(view, one)) for one in phrases), key=by_rarity)
        if sum(term.chunks for term in terms) <= self._most:
            return _bm25(view, _any(phrases), within)
        terms = useful(terms, stored)
        if inside is not None:
            return _among_few(view, terms, self._most, inside, stored)
        plan = planned(terms, stored, self._most)
        return _telling(view, plan, within) if plan.either else _common(view, terms, self._most)


def _telling(view: View, plan: Plan, within: _Within) -> Ranked:
    """Chunks that hold a telling term, or one of the pairs.

    A chunk may be there several times; its best score is right. BM25 adds up whatever an expression
    names, and takes its time for each, so that no term should be in it twice. Where pairs need
    that, what they add is taken off again.
    """
    telling, others = plan.telling, plan.others
    found: list[Ranked] = []
    if telling:
        found.append(_bm25(view, _any(telling), within))
    if telling and others:
        found.append(_bm25(view, f"({_any(telling)}) AND ({_any(others)})", within))
    if plan.pairs:
        besides = f"({_any(plan.pairs)})" + (f" NOT ({_any(telling)})" if telling else "")
        chunk_ids, scores = _bm25(view, f"({besides}) AND ({_any(others)})", within)
        _, on_top = _bm25(view, besides, within)
        found.append((chunk_ids, scores - on_top))
    return _both(found)


def _both(found: list[Ranked]) -> Ranked:
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def _common(view: View, terms: list[Term], most: int) -> Ranked:
    """Where every term is common: chunks that hold all of them, and the newest that hold one."""
    last = int(view.value("SELECT max(chunk_id) FROM chunks"))
    stretch = int(last * most / sum(term.chunks for term in terms))
    newest = _bm25(view, _any(phrases_of(terms)), _Within(after=last - stretch))
    if len(terms) == 1:
        return newest
    together = " AND ".join(phrases_of(terms))
    every = _bm25(view, together, _Within(after=last - int(last * most / terms[0].chunks)))
    return _both([newest, every])


def _among_few(view: View, terms: list[Term], most: int, inside: Selection, stored: int) -> Ranked:
    """Looks up which chunks hold the rarer terms or pairs, and ranks those that are inside.

    Where none of so many is inside, all are looked up.
    """
    budget = min(max(int(most * stored / inside.chunk_count), most), _LOOKED_UP * most)
    plan = planned(terms, stored, budget)
    if not plan.either:
        plan = Plan(phrases_of(terms[:1]), phrases_of(terms[1:]))
    within = _Within.of(inside)
    last = None
    for looked_up in (budget, stored):
        last = last or view.value(
            "SELECT max(chunk_id) FROM (SELECT chunk_id FROM (SELECT rowid AS chunk_id "
            "FROM chunks_fts WHERE chunks_fts MATCH ? AND rowid > ? AND rowid <= ? LIMIT ?) "
            f"WHERE {_INSIDE.format('chunk_id')} LIMIT ?)",
            [_any(plan.either), within.after, within.last, looked_up, inside.chunks, most],
        )
    return _telling(view, plan, replace(within, last=last or 0))


def _bm25(view: View, match: str, within: _Within) -> Ranked:
    """Every chunk of those within that matches, with its score."""
    among = ""
    bindings: list[Any] = [match, within.after, within.last]
    if within.inside is not None:
        among = f"AND {_INSIDE.format('rowid')}"
        bindings.append(within.inside)
    rows = view.rows(
        f"SELECT rowid, -bm25(chunks_fts, {WEIGHTS}) FROM chunks_fts "
        f"WHERE chunks_fts MATCH ? AND rowid > ? AND rowid <= ? {among}",
        bindings,
    )
    return (
        np.fromiter((row[0] for row in rows), np.int64, len(rows)),
        np.fromiter((row[1] for row in rows), np.float64, len(rows)),
    )


def _chunks_with(view: View, phrase: str) -> int:
    """In how many chunks a term occurs; estimated if there are many."""
    sql = "SELECT count(*) FROM (SELECT 1 FROM chunks_fts WHERE chunks_fts MATCH ? LIMIT ?)"
    counted = int(view.value(sql, [phrase, _COUNTED]))
    if counted < _COUNTED:
        return counted
    last = int(view.value("SELECT max(chunk_id) FROM chunks"))
    length = int(last * _PART / _STRETCHES)
    sql = "SELECT count(*) FROM chunks_fts WHERE chunks_fts MATCH ? AND rowid BETWEEN ? AND ?"
    starts = (last * place // _STRETCHES for place in range(_STRETCHES))
    seen = sum(int(view.value(sql, [phrase, at + 1, at + length])) for at in starts)
    return max(int(seen / _PART), _COUNTED)


def _any(phrases: Sequence[str]) -> str:
    return " OR ".join(phrases)


def _texts(view: View, found: Ranked, limit: int) -> list[Scored]:
    """The best texts: each by the best of its chunks."""
    chunk_ids, scores = found
    falling = -np.sort(-scores)
    count = limit
    while True:
        last = falling[count - 1] if count < len(falling) else -np.inf
        best = np.nonzero(scores >= last)[0]
        scored = _by_text(view, chunk_ids[best], scores[best])
        if len(scored) >= limit or count >= len(falling):
            return sorted(scored.items(), key=lambda one: (-one[1], one[0]))[:limit]
        count *= 2


def _by_text(view: View, chunk_ids: Ids, scores: NDArray[np.float64]) -> dict[int, float]:
    texts = _texts_of(view, chunk_ids)
    scored: dict[int, float] = {}
    for chunk_id, score in zip(chunk_ids.tolist(), scores.tolist(), strict=True):
        text_id = texts[chunk_id]
        scored[text_id] = max(score, scored.get(text_id, score))
    return scored


def _texts_of(view: View, chunk_ids: Ids) -> dict[int, int]:
    return dict(
        view.rows(
            "SELECT chunk_id, text_id FROM json_each(?) CROSS JOIN chunks ON chunk_id = value",
            [json.dumps(chunk_ids.tolist())],
        )
    )
