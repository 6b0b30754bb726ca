"""Joins what keyword search and search by meaning found into one list of scores.

Pure: knows neither texts nor stores. Every part of a score is kept, so that it can be explained.
Rule: only the first 200 of either list earn points, and those below follow by their rank, so that
asking for more never changes the order of what came before.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Literal

from engine.search.query import Query
from engine.store.interface import Candidate

FusionMethod = Literal["min-max", "reciprocal-rank"]

DEPTH = 200
"""How many of either list earn points: on five test collections 200 was as good as 1,000 and a
little better than 100."""

# Cormack, Clarke and Buettcher 2009.
_RANK_CONSTANT = 60

# The share of meaning: of 0.5 to 0.8 the one that gives up least where one way of searching is far
# worse than the other; `examples/benchmarks/search_quality.py` has figures.
_USUAL_SHARE = 0.65
_SHARE_OF_LONG_QUESTIONS = 0.75
_SHARE_OF_IDENTIFIERS = 0.4

_NO_SIMILARITIES: Mapping[int, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """What one way of searching says of a text."""

    rank: int
    """1 is the best; 0 where this way did not find the text and its similarity was looked up."""
    raw: float
    """BM25, the sign turned so that more is better, or the cosine similarity."""
    normalised: float
    """From 0 to 1; 0 beyond the depth that earns points."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A text's score: `dense_share` of its dense part and the rest of its lexical part."""

    text_id: int
    score: float
    """From 0 to 1."""
    dense_share: float
    lexical: Part | None
    """None if keyword search did not find it; it then earns nothing."""
    dense: Part | None
    """None if its similarity is not known, as where it has no vector; it then earns nothing."""

    @property
    def best_rank(self) -> int:
        """The better of its two ranks."""
        return min(part.rank for part in (self.lexical, self.dense) if part and part.rank)


def dense_share(query: Query) -> float:
    """How much meaning counts against keywords for a question, from 0 to 1."""
    if query.is_verbatim:
        return _SHARE_OF_IDENTIFIERS
    return _SHARE_OF_LONG_QUESTIONS if query.is_long else _USUAL_SHARE


def uncompared(lexical: Sequence[Candidate], dense: Sequence[Candidate]) -> list[int]:
    """Texts found by words whose similarity `fuse` should be told: those that meaning did not find.

    With them, a text that only keyword search found is not taken for one that means nothing.
    """
    near = {candidate.text_id for candidate in dense[:DEPTH]}
    found = (candidate.text_id for candidate in lexical[:DEPTH])
    return [text_id for text_id in found if text_id not in near] if near else []


def fuse(
    lexical: Sequence[Candidate],
    dense: Sequence[Candidate],
    share: float = _USUAL_SHARE,
    method: FusionMethod = "min-max",
    similarities: Mapping[int, float] = _NO_SIMILARITIES,
    vectorless: Collection[int] = (),
) -> list[Fused]:
    """The texts of both lists, best first; equals by their better rank, then the older first.

    "min-max" averages scores: BM25 as a part of the best one's, cosine similarities between the
    lowest and the highest that are known. "reciprocal-rank" averages 61 / (60 + rank). Where one
    list is empty, the other one counts alone.

    Args:
        lexical: Best first, each text once.
        dense: Best first, each text once.
        share: How much the dense part counts, from 0 to 1.
        method: How scores are made comparable.
        similarities: Of the texts that `uncompared` names, as far as they have vectors.
        vectorless: The others of them: their words count alone, as they have nothing else to show.
    """
    if not (lexical and dense):
        share = 1.0 if dense else 0.0
    by_words = _parts(lexical, {}, method, lowest=0.0)
    lowest = min([*_scores(dense), *similarities.values()], default=0.0)
    by_meaning = _parts(dense, similarities, method, lowest)
    fused = [
        _fused(
            text_id,
            0.0 if text_id in vectorless else share,
            by_words.get(text_id),
            by_meaning.get(text_id),
        )
        for text_id in dict.fromkeys([*by_words, *(one.text_id for one in dense)])
    ]
    return sorted(fused, key=lambda one: (-one.score, one.best_rank, one.text_id))


def _fused(text_id: int, share: float, lexical: Part | None, dense: Part | None) -> Fused:
    score = share * (dense.normalised if dense else 0.0)
    score += (1 - share) * (lexical.normalised if lexical else 0.0)
    return Fused(text_id, score, share, lexical, dense)


def _parts(
    candidates: Sequence[Candidate],
    others: Mapping[int, float],
    method: FusionMethod,
    lowest: float,
) -> dict[int, Part]:
    highest = max([*_scores(candidates), *others.values()], default=0.0)

    def part(rank: int, raw: float) -> Part:
        if method == "reciprocal-rank":
            earned = (_RANK_CONSTANT + 1) / (_RANK_CONSTANT + rank) if rank else 0.0
        else:
            earned = (raw - lowest) / (highest - lowest) if highest > lowest else 1.0
        return Part(rank, raw, earned)

    parts = {text_id: part(0, raw) for text_id, raw in others.items()}
    for rank, one in enumerate(candidates, 1):
        if rank <= DEPTH:
            parts[one.text_id] = part(rank, one.score)
        elif one.text_id in parts:
            parts[one.text_id] = replace(parts[one.text_id], rank=rank)
        else:
            parts[one.text_id] = Part(rank, one.score, 0.0)
    return parts


def _scores(candidates: Sequence[Candidate]) -> list[float]:
    return [candidate.score for candidate in islice(candidates, DEPTH)]
