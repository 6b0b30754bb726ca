"""Plan: which of a question's terms say what is ranked in a large index, and which only add to it.

Knows nothing of SQL. Rule: whatever is asked, about as many chunks are looked at as a budget
allows: those that hold a rarer term, or a pair of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

# Words of one question occur together this much more often than chance has it.
_COMPANY = 2.0

# Beyond what rare terms bring, so many times as many chunks are ranked for pairs of common ones.
_PAIRED = 1 / 2

# So many pairs of common terms are looked for; each costs some milliseconds.
_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Term:
    """An FTS5 phrase, and in how many chunks it occurs, about."""

    phrase: str
    chunks: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Which terms say what is ranked, all as FTS5 phrases."""

    telling: list[str]
    """Chunks that hold one are ranked."""
    others: list[str]
    """They only add to the scores."""
    pairs: Sequence[str] = ()
    """Of the others; chunks that hold both are ranked too."""

    @property
    def either(self) -> list[str]:
        """What a chunk that is ranked holds one of."""
        return [*self.telling, *self.pairs]


def planned(terms: list[Term], stored: int, budget: int) -> Plan:
    """What to rank so that about as many chunks are looked at as a budget allows.

    Args:
        terms: Rarest first.
        stored: All chunks there are.
        budget: Chunks.

    Returns:
        A plan by which nothing is ranked, if every term and pair is too common.
    """
    rare = _rare(terms, budget)
    pairs = _pairs(terms[rare:], stored, budget * _PAIRED)
    return Plan(phrases_of(terms[:rare]), phrases_of(terms[rare:]), pairs)


def useful(terms: list[Term], stored: int) -> list[Term]:
    """Without terms that do not occur, and without those in half of all chunks, which weigh nothing
    in BM25, if there are others."""
    present = [term for term in terms if term.chunks]
    return [term for term in present if term.chunks < stored / 2] or present


def by_rarity(term: Term) -> tuple[int, str]:
    """What to sort terms by."""
    return term.chunks, term.phrase


def phrases_of(terms: list[Term]) -> list[str]:
    """The FTS5 phrases of terms."""
    return [term.phrase for term in terms]


def _rare(terms: list[Term], budget: float) -> int:
    """How many of the rarest terms occur in no more than so many chunks together."""
    totals = np.cumsum([term.chunks for term in terms])
    return int(np.searchsorted(totals, budget, side="right"))


def _pairs(terms: list[Term], stored: int, budget: float) -> list[str]:
    """Pairs of common terms that no more than so many chunks hold together, it seems."""
    pairs = sorted(
        (_COMPANY * one.chunks * other.chunks / stored, f"({one.phrase} AND {other.phrase})")
        for one, other in combinations(terms, 2)
    )[:_PAIRS]
    totals = np.cumsum([size for size, _ in pairs])
    return [pair for (_, pair), total in zip(pairs, totals, strict=True) if total <= budget]
