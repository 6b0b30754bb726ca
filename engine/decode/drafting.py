"""Drafts: the next tokens guessed from the text so far, and how many of them are worth checking.

Knows token ids only: no model, no clock. A run over drafted tokens shows which of them the model
chooses itself; drafts decide how fast an answer comes and never what it says.
Rule: what checking has cost and not gained is never more than `_ALLOWANCE` of the answer's runs and
`_START` of one run, as `RunCost` counts them, however misleading the text is.

Simulated over greedy answers of SmolLM2 and over texts that people wrote (67 pieces of 30 to 300
tokens from package descriptions and Python code), with run times measured on Linux x86-64, 2 cores:
how many times faster all of them were together, and the one that gained least.

    run times of            8 copying tasks   21 other answers   67 texts
    SmolLM2, 8 bit          2.29, 1.41        1.46, 1.03         1.11, 0.976
    Phi-3 mini, 4 bit       1.63, 1.21        1.28, 0.995        1.06, 0.979
"""

from collections.abc import Sequence
from dataclasses import dataclass

# A match begins where the last so many tokens occurred before, and then grows with the text. With
# more lengths in between the simulated answers take as long.
_SIZES = (4, 2)
# How far back a match is followed when it begins.
_FAR = 16

# How often the guess was right after a match of 0, 1, 2, … tokens, the last for all longer ones:
# where an answer begins. In ordinary texts it is 0.45, 0.5, 0.7, 0.8 from two tokens on, in copies
# 0.4, 0.75, 0.75, 1.0; trusting the short ones less until they have proved themselves is faster.
_FIRST_RATES = (0.0, 0.0, 0.2, 0.4, 0.5, 0.7, 0.8, 0.85, 0.9)
# Rates follow about so many last guesses.
_WINDOW = 12

# Loss that is allowed to begin with, and for each token; and the most that gains may set aside to
# lose later. In runs of one token. 0.02 and 0.3 make 3 % of an answer of 30 tokens.
_START, _ALLOWANCE, _MOST = 0.3, 0.02, 4.0
# A run must promise to be so much faster than runs of one token.
_EDGE = 1.03


@dataclass(frozen=True, slots=True)
class RunCost:
    """What drafts cost: a run of 1 + n tokens takes `1 + first + n * each` runs of one token."""

    first: float
    each: float

    def of(self, drafted: int) -> float:
        """Cost of so many drafts in one run, beyond a run without."""
        return self.first + drafted * self.each if drafted else 0.0


# Measured there: SmolLM2's runs of 1, 2, 4, 8, 16 tokens took 10.3, 12.9, 15.1, 19.0, 27.2 ms, and
# Phi-3's of 1, 2, 4, 8 took 88, 115, 170, 287 ms. The second suits a model that nobody measured:
# with it SmolLM2 is 2.06 times as fast in copies, but the first costs Phi-3 9 % in its worst text.
SMALL_MODEL_COST = RunCost(first=0.18, each=0.095)
LARGE_MODEL_COST = RunCost(first=0.0, each=0.32)


class PromptLookup:
    """Finds where the text's end stood before, and proposes what came next there."""

    def __init__(self, ids: Sequence[int] = ()) -> None:
        self._ids: list[int] = []
        self._ends: list[dict[tuple[int, ...], int]] = [{} for _ in _SIZES]
        self._source = 0
        self.match_length = 0
        """Tokens before the end that also stand before the proposed ones; 0 without a match."""
        for token_id in ids:
            self.push(token_id)

    def push(self, token_id: int) -> None:
        """Adds the text's next token, in constant time."""
        goes_on = self.match_length > 0 and self._ids[self._source] == token_id
        self.match_length = self.match_length + 1 if goes_on else 0
        self._source += 1
        self._ids.append(token_id)
        grams = [tuple(self._ids[-size:]) for size in _SIZES]
        if self.match_length < _SIZES[0]:
            self._begin(grams)
        for ends, gram in zip(self._ends, grams, strict=True):
            ends[gram] = len(self._ids)

    def propose(self, limit: int) -> list[int]:
        """At most so many next tokens; none without a match.

        They go on into themselves: after "abcab" comes "cabcabc…".
        """
        if not self.match_length:
            return []
        period = len(self._ids) - self._source
        return [self._ids[self._source + step % period] for step in range(limit)]

    def _begin(self, grams: list[tuple[int, ...]]) -> None:
        """Matches the latest earlier place of the longest of these ends of the text."""
        for ends, gram in zip(self._ends, grams, strict=True):
            if (source := ends.get(gram)) is not None:
                length = self._measured(source, len(gram))
                if length >= self.match_length:
                    self._source, self.match_length = source, length
                return

    def _measured(self, source: int, length: int) -> int:
        ids, most = self._ids, min(_FAR, source)
        while length < most and ids[source - length - 1] == ids[-length - 1]:
            length += 1
        return length


class DraftLength:
    """How many tokens to draft, by how often guesses were right and what they have cost so far."""

    def __init__(self, cost: RunCost) -> None:
        self._cost = cost
        self._rates = list(_FIRST_RATES)
        self._credit = _START

    def after(self, match_length: int, limit: int) -> int:
        """How many tokens to draft after a match; 0 for none.

        The number that makes the run fastest, of those whose cost could all be lost.
        """
        fastest, chosen = _EDGE, 0
        tokens = reached = 1.0
        for drafted in range(1, limit + 1):
            cost = self._cost.of(drafted)
            if cost > self._credit:
                break
            reached *= self._rates[_rate_index(match_length + drafted - 1)]
            tokens += reached
            if tokens > fastest * (1 + cost):
                fastest, chosen = tokens / (1 + cost), drafted
        return chosen

    def learn(self, match_length: int, was_right: bool) -> None:
        """Tells whether the token guessed after a match came, drafted or not."""
        index = _rate_index(match_length)
        self._rates[index] += (was_right - self._rates[index]) / _WINDOW

    def record(self, drafted: int, accepted: int) -> None:
        """Tells what a run has brought.

        Args:
            drafted: Tokens checked in it.
            accepted: How many of them the answer took; it has one token more of the run itself.
        """
        gain = accepted - self._cost.of(drafted)
        self._credit = min(self._credit + gain + _ALLOWANCE * (accepted + 1), _MOST)


class Drafting:
    """Drafts for one answer."""

    def __init__(self, prompt_ids: Sequence[int], cost: RunCost) -> None:
        self._lookup = PromptLookup(prompt_ids)
        self._length = DraftLength(cost)

    def propose(self, limit: int) -> list[int]:
        """Tokens worth checking in the next run, at most so many; none if none is."""
        return self._lookup.propose(self._length.after(self._lookup.match_length, limit))

    def push(self, token_id: int) -> None:
        """Adds a token of the answer, accepted or chosen, and learns from it."""
        if guess := self._lookup.propose(1):
            self._length.learn(self._lookup.match_length, guess[0] == token_id)
        self._lookup.push(token_id)

    def record(self, drafted: int, accepted: int) -> None:
        """Tells what a run has brought, as `DraftLength.record`; also a run without drafts."""
        self._length.record(drafted, accepted)


def _rate_index(match_length: int) -> int:
    return min(match_length, len(_FIRST_RATES) - 1)
