"""Brings fused candidates and the passages behind them into the order that is shown.

Pure and deterministic; reads no store. Candidates that are equal in all else stand by their rank
in fusion, and there the older text stands first.
Rule: the order of the first results does not depend on how many are asked for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.corpus import Hit
from engine.search.fusion import DEPTH, Fused
from engine.search.query import Query
from engine.search.verbatim import share_held, verbatim_patterns

# What a path holds verbatim counts less than what the passage itself does.
_PATH_SHARE = 0.5

# Carbonell and Goldstein 1998 leave the balance open; 0.7 keeps relevance ahead.
_USUAL_BALANCE = 0.7


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage in its place, and why it stands there."""

    hit: Hit
    """Its score is `score`."""
    score: float
    """The fused score and `verbatim` together, from 0 to 2."""
    fused: Fused
    verbatim: float
    """The part of the question's quoted phrases and identifiers that the passage holds as typed,
    from 0 to 1; 0 if the question does not insist."""
    duplicates: tuple[Hit, ...] = ()
    """Lower ones with the same words under another heading or with other spacing."""

    @property
    def copies(self) -> int:
        """In how many other places the same is said."""
        return self.hit.copies + sum(1 + hit.copies for hit in self.duplicates)


def worth_reading(fused: Sequence[Fused], query: Query, limit: int) -> Sequence[Fused]:
    """Those whose passages `rank` needs to find the best `limit`.

    Where the question insists all that earned points, because the passage that holds what is quoted
    may stand low; else a few more than the limit, because duplicates collapse.
    """
    return fused[: max(2 * DEPTH, 2 * limit) if query.insists else 2 * limit]


def rank(fused: Iterable[Fused], hits: Iterable[Hit], query: Query) -> list[Ranked]:
    """The passages, best first, each text once.

    What holds all that was quoted or looks like an identifier stands before what holds less, unless
    the question is long.

    Args:
        fused: In the order of `fuse`.
        hits: The passages of these texts in any order; a text without one is passed over.
        query: The question.
    """
    patterns = verbatim_patterns(query.verbatim if query.insists else ())
    passages = {hit.text_id: hit for hit in hits}
    ranked: list[Ranked] = []
    for one in fused:
        if hit := passages.get(one.text_id):
            # Only those that are read however many are asked for, or the order would change.
            held = _held(patterns, hit) if one.best_rank <= DEPTH else 0.0
            score = one.score + held
            ranked.append(Ranked(replace(hit, score=score), score, one, held))
    ranked.sort(key=lambda one: -one.score)
    return _collapsed(ranked)


def _held(patterns: Sequence[re.Pattern[str]], hit: Hit) -> float:
    """The part of what is quoted that a passage holds, or that its path does, which counts less."""
    in_passage = share_held(patterns, hit.chunk.embedded_text)
    return max(in_passage, _PATH_SHARE * share_held(patterns, hit.document.path))


def diversify(
    ranked: Sequence[Ranked],
    vectors: Mapping[int, NDArray[np.float32]],
    balance: float = _USUAL_BALANCE,
) -> list[Ranked]:
    """Puts what says something new before what is like a better one (maximal marginal relevance).

    Args:
        ranked: Best first; only the first 200 change places.
        vectors: Unit vectors by text id; a text without one is like no other.
        balance: 1 leaves the order as it is, 0 looks at the difference alone.
    """
    pool = list(ranked[:DEPTH])
    if not pool or not vectors:
        return list(ranked)
    nothing = np.zeros_like(next(iter(vectors.values())))
    matrix = np.stack([vectors.get(one.fused.text_id, nothing) for one in pool])
    relevance = np.array([one.score for one in pool], np.float64)
    likeness = np.zeros(len(pool))
    order: list[int] = []
    for _ in pool:
        worth = balance * relevance - (1 - balance) * likeness
        worth[order] = -np.inf
        best = int(np.argmax(worth))
        order.append(best)
        likeness = np.maximum(likeness, matrix @ matrix[best])
    return [*(pool[place] for place in order), *ranked[DEPTH:]]


def _collapsed(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Each text once, whatever its spacing and its headings; the lower ones are kept with it."""
    groups: dict[str, list[Ranked]] = {}
    for one in ranked:
        words = one.hit.chunk.text.split() or one.hit.chunk.heading.split()
        groups.setdefault(" ".join(words), []).append(one)
    return [
        replace(first, duplicates=tuple(one.hit for one in others))
        for first, *others in groups.values()
    ]
