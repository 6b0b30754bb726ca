"""LexicalSearch: finds texts by their words: BM25 over SQLite's full-text search.

BM25 takes about a microsecond for each chunk that holds a term, so common words are dear: in a
million chunks five of them occur in 300,000. Rule: in a small index, or where the terms are rare,
every chunk that holds any term is ranked. Otherwise the rarer terms, which decide BM25 anyway, say
which chunks are ranked, and all terms say how; the work is bounded whatever is asked.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from engine.store.chunk_map import ChunkMap, bitmap
from engine.store.connection import View
from engine.store.lexical_table import WEIGHTS
from engine.store.vector_copies import Ids
from engine.store.vectors import Scored

MOST_RANKED = 15_000
"""So many chunks are ranked in about 15 ms (one core, Linux x86-64)."""

# So many times as many are only looked up in about 20 ms, to see whether a filter lets them in.
_LOOKED_UP = 6

# Words of one question occur together this much more often than chance has it.
_COMPANY = 2.0

# So many pairs of common terms are looked for; each costs some milliseconds.
_PAIRS = 3

# A term that occurs more often is not counted on: how often is estimated from some stretches, which
# together are this part of all chunks.
_COUNTED = 2_000
_STRETCHES = 8
_PART = 1 / 16


Ranked = tuple[Ids, NDArray[np.float64]]
"""Chunks and their scores."""


@dataclass(frozen=True, slots=True)
class _Term:
    """An FTS5 phrase, and in how many chunks it occurs, about."""

    phrase: str
    chunks: int


class LexicalSearch:
    """What a store searches its words with. May be asked by several threads at once."""

    def __init__(self, chunk_map: ChunkMap, *, most_ranked: int = MOST_RANKED) -> None:
        """Makes one for a store.

        Args:
            chunk_map: Resolves filters.
            most_ranked: In a larger index no more chunks than these are ranked, about.
        """
        self._chunk_map = chunk_map
        self._most = most_ranked

    def search(
        self, view: View, terms: Sequence[str], limit: int, keys: Ids | None
    ) -> list[Scored]:
        """Texts that hold one of the terms, best first, the older text first among equals.

        Args:
            view: A reading transaction.
            terms: FTS5 phrases, quoted.
            limit: At most so many.
            keys: The documents that may answer, ascending; None for all.
        """
        chunk_ids = None if keys is None else self._chunk_map.chunks(view, keys)
        if not terms or limit < 1 or (chunk_ids is not None and not len(chunk_ids)):
            return []
        found = self._ranked(view, list(dict.fromkeys(terms)), chunk_ids)
        return _texts(view, found, limit)

    def _ranked(self, view: View, phrases: list[str], inside: Ids | None) -> Ranked:
        stored = int(view.value("SELECT number FROM counts WHERE name = 'chunks'"))
        if stored <= self._most:
            return _kept(_bm25(view, _any(phrases)), inside)
        terms = sorted((_Term(one, _chunks_with(view, one)) for one in phrases), key=_by_rarity)
        if sum(term.chunks for term in terms) <= self._most:
            return _kept(_bm25(view, _any(phrases)), inside)
        if inside is None:
            return _among_all(view, _useful(terms, stored), self._most, stored)
        return _among_few(view, _useful(terms, stored), self._most, inside, stored)


def _among_all(view: View, terms: list[_Term], most: int, stored: int) -> Ranked:
    telling = _telling(terms, stored, most)
    if not telling:
        return _common(view, terms, most)
    return _where(view, telling, terms)


def _where(view: View, telling: list[str], terms: list[_Term], only: Ids | None = None) -> Ranked:
    """Chunks that match one of some expressions, with their scores for all terms.

    BM25 adds up whatever an expression names. What is to match comes on top of the terms, so it is
    taken off again.
    """
    chunk_ids, scores = _bm25(view, f"({_any(telling)}) AND ({_any(_phrases(terms))})", only=only)
    _, on_top = _bm25(view, _any(telling), only=only)
    return chunk_ids, scores - on_top


def _common(view: View, terms: list[_Term], most: int) -> Ranked:
    """Where every term is common: chunks that hold all of them, and the newest that hold one."""
    last = int(view.value("SELECT max(chunk_id) FROM chunks"))
    stretch = int(last * most / sum(term.chunks for term in terms))
    newest = _bm25(view, _any(_phrases(terms)), last - stretch)
    if len(terms) == 1:
        return newest
    together = " AND ".join(_phrases(terms))
    every = _bm25(view, together, last - int(last * most / terms[0].chunks))
    return np.concatenate([newest[0], every[0]]), np.concatenate([newest[1], every[1]])


def _among_few(view: View, terms: list[_Term], most: int, inside: Ids, stored: int) -> Ranked:
    """Looks up which chunks hold the rarer terms, and ranks those that are inside."""
    budget = min(max(int(most * stored / len(inside)), most), _LOOKED_UP * most)
    telling = _telling(terms, stored, budget) or [terms[0].phrase]
    rows = view.rows(
        "SELECT rowid FROM chunks_fts WHERE chunks_fts MATCH ? LIMIT ?",
        [_any(telling), budget],
    )
    held = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    held = held[_member(held, inside)][:most]
    return _where(view, telling, terms, held)


def _phrases(terms: list[_Term]) -> list[str]:
    return [term.phrase for term in terms]


def _bm25(view: View, match: str, after: int = 0, only: Ids | None = None) -> Ranked:
    """Every chunk that matches, with its score; with `only`, those among these."""
    among = "" if only is None else "AND +rowid IN (SELECT value FROM json_each(?))"
    rows = view.rows(
        f"SELECT rowid, -bm25(chunks_fts, {WEIGHTS}) FROM chunks_fts "
        f"WHERE chunks_fts MATCH ? AND rowid > ? {among}",
        [match, after, *([] if only is None else [json.dumps(only.tolist())])],
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


def _by_rarity(term: _Term) -> tuple[int, str]:
    return term.chunks, term.phrase


def _useful(terms: list[_Term], stored: int) -> list[_Term]:
    """Without terms that do not occur, and without those in half of all chunks, which weigh nothing
    in BM25, if there are others."""
    present = [term for term in terms if term.chunks]
    return [term for term in present if term.chunks < stored / 2] or present


def _telling(terms: list[_Term], stored: int, budget: int) -> list[str]:
    """What only few chunks hold: the rarer terms, and some pairs of the others."""
    totals = np.cumsum([term.chunks for term in terms])
    rare = int(np.searchsorted(totals, budget, side="right"))
    pairs = sorted(
        (_COMPANY * one.chunks * other.chunks / stored, f"({one.phrase} AND {other.phrase})")
        for one, other in combinations(terms[rare:], 2)
    )[:_PAIRS]
    sizes = np.cumsum([size for size, _ in pairs])
    few = [pair for (_, pair), size in zip(pairs, sizes, strict=True) if size <= budget]
    return [*_phrases(terms[:rare]), *few]


def _any(phrases: list[str]) -> str:
    return " OR ".join(phrases)


def _kept(found: Ranked, inside: Ids | None) -> Ranked:
    if inside is None:
        return found
    stays = _member(found[0], inside)
    return found[0][stays], found[1][stays]


def _member(chunk_ids: Ids, inside: Ids) -> NDArray[np.bool_]:
    if not len(chunk_ids):
        return np.zeros(0, np.bool_)
    return bitmap(inside, max(int(inside[-1]), int(chunk_ids.max())))[chunk_ids]


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
