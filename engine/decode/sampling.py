"""SamplingParams, and the choice of the next token from logits.

Knows numbers only. Order of the filters, as in Hugging Face's generation: temperature, top_k,
top_p, min_p; the draw is over what is left. The same seed on the same logits draws the same tokens.
"""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, ModelBroken

Floats = NDArray[np.float64]

_STOP_STRINGS = 16
_STOP_CHARACTERS = 256

# name: (type, least, greatest), both allowed. 2 is what OpenAI's API takes as the highest
# temperature; above it every model babbles. Seeds are 64 bits, signed or not.
_LIMITS: dict[str, tuple[type[int | float], float, float]] = {
    "max_tokens": (int, 1, 1_000_000),
    "temperature": (float, 0.0, 2.0),
    "top_k": (int, 0, 1_000_000),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "seed": (int, -(2**63), 2**64 - 1),
}
_KINDS: dict[type, str] = {int: "a whole number", float: "a number"}

# Sorting so few is nearly free, and a nucleus is seldom larger; if it is, everything is sorted.
_USUAL_NUCLEUS = 512

# A token this many temperatures below the best one has a probability under e**-20 = 2e-9 of it.
# Leaving such tokens out first makes every later step cheap: with top_p 0.9 a choice from SmolLM2's
# 49,152 logits takes 107 us at temperature 0.7 and 179 us at 1, and about 370 us where all are kept
# (medians over 60 steps of an answer; Linux x86-64, 2 cores).
_NEGLIGIBLE = 20.0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How an answer is chosen, and how long it may be."""

    max_tokens: int = 256
    """At most so many tokens are chosen."""
    temperature: float = 0.0
    """0 always takes the most probable token."""
    top_k: int = 0
    """Only the k most probable tokens; 0 for all."""
    top_p: float = 1.0
    """Only the most probable tokens that together reach this probability."""
    min_p: float = 0.0
    """Only tokens at least this many times as probable as the most probable one."""
    seed: int | None = None
    """Makes an answer repeatable; None draws differently each time."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it."""

    def __post_init__(self) -> None:
        for name in _LIMITS:
            value = getattr(self, name)
            if name != "seed" or value is not None:
                _refuse_number(name, value)
        _refuse_stop(self.stop)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0.0


def _refuse_number(name: str, value: object) -> None:
    kind, least, greatest = _LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise InvalidInput(f"{name} must be {_KINDS[kind]}, but is {value!r}.")
    if not least <= value <= greatest:
        raise InvalidInput(f"{name} must be between {least} and {greatest}, but is {value}.")


def _refuse_stop(stop: object) -> None:
    if not isinstance(stop, tuple):
        raise InvalidInput(f"stop must be a tuple of strings, but is a {type(stop).__name__}.")
    texts = cast(tuple[object, ...], stop)
    if len(texts) > _STOP_STRINGS:
        raise InvalidInput(f"stop must be at most {_STOP_STRINGS} strings, but is {len(texts)}.")
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInput(f"stop must hold strings, but holds a {type(text).__name__}.")
        if not 1 <= len(text) <= _STOP_CHARACTERS:
            raise InvalidInput(
                f"Each string of stop must have 1 to {_STOP_CHARACTERS} characters, "
                f"but one has {len(text)}."
            )


class Sampler:
    """Chooses the tokens of one answer."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        seed = None if params.seed is None else params.seed % 2**64
        self._random = np.random.default_rng(seed)

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The next token's id.

        Args:
            logits: One per token id, [vocabulary]; -inf is never chosen.

        Raises:
            ModelBroken: It computed nonsense: its best logit is no finite number.
        """
        best = int(np.argmax(logits))  # numpy takes a NaN for the greatest.
        if not math.isfinite(logits[best]):
            raise ModelBroken(
                f"The language model computed {logits[best]} where a number was due; its weights "
                "are damaged or its precision does not suit this machine: fetch it again."
            )
        if self._params.is_greedy:
            return best
        ids, weights = self._candidates(logits, float(logits[best]))
        cumulative = np.cumsum(weights)
        drawn = self._random.random() * cumulative[-1]
        return int(ids[np.count_nonzero(cumulative[:-1] <= drawn)])

    def _candidates(
        self, logits: NDArray[np.float32], best: float
    ) -> tuple[NDArray[np.intp], Floats]:
        """The ids that may be drawn, and weights as their probabilities are; the best has 1."""
        params = self._params
        ids = np.flatnonzero(logits >= best - _NEGLIGIBLE * params.temperature)
        weights = np.exp((logits[ids].astype(np.float64) - best) / params.temperature)
        if 0 < params.top_k < len(ids):
            kept = _largest(weights, params.top_k)
            ids, weights = ids[kept], weights[kept]
        if params.top_p < 1.0:
            kept = _nucleus(weights, params.top_p)
            ids, weights = ids[kept], weights[kept]
        kept = np.flatnonzero(weights >= params.min_p)
        return ids[kept], weights[kept]


def _nucleus(weights: Floats, top_p: float) -> NDArray[np.intp]:
    """Indices of the fewest weights that reach the share `top_p` of them all, largest first."""
    target = top_p * weights.sum()
    largest = _largest(weights, _USUAL_NUCLEUS)
    if weights[largest].sum() < target:
        largest = _largest(weights, len(weights))
    cumulative = np.cumsum(weights[largest])
    return largest[: 1 + np.count_nonzero(cumulative[:-1] < target)]


def _largest(weights: Floats, count: int) -> NDArray[np.intp]:
    """Indices of the so many largest weights, largest first."""
    if count < len(weights):
        indices = np.argpartition(-weights, count - 1)[:count]
    else:
        indices = np.arange(len(weights))
    return indices[np.argsort(-weights[indices], kind="stable")]
