"""SamplingParams, and the choice of the next token from logits.

Knows numbers only. Order: logit_bias, repetition, frequency and presence penalty, min_tokens
(vLLM's order, but that it excludes stop tokens first, which makes no difference); then
temperature, top_k, top_p, min_p, as in Hugging Face's generation; the draw is over what is left.
The same seed on the same logits draws the same tokens.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engine.decode.filters import candidates, drawn
from engine.decode.limits import Limits, check_ids, check_number, check_texts, frozen_numbers
from engine.decode.logprobs import TokenLogprob, token_logprob
from engine.decode.penalties import Penalties
from engine.errors import InvalidInput, ModelBroken

Logits = NDArray[np.float32]

# 2 is what OpenAI's API takes as the highest temperature; above it every model babbles. Its are
# also the limits of presence_penalty, frequency_penalty, logit_bias and logprobs. A repetition
# penalty is useful between 1 and 1.3; ten either way leaves room. Seeds are 64 bits, signed or not.
_LIMITS: dict[str, Limits] = {
    "max_tokens": (int, 1, 1_000_000),
    "min_tokens": (int, 0, 1_000_000),
    "temperature": (float, 0.0, 2.0),
    "top_k": (int, 0, 1_000_000),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "repetition_penalty": (float, 0.1, 10.0),
    "presence_penalty": (float, -2.0, 2.0),
    "frequency_penalty": (float, -2.0, 2.0),
    "seed": (int, -(2**63), 2**64 - 1),
    "logprobs": (int, 0, 20),
}
_OPTIONAL = ("seed", "logprobs")
_BIAS: Limits = (float, -100.0, 100.0)
_BIASES = 1_024
_STOP_STRINGS, _STOP_CHARACTERS, _STOP_TOKENS = 16, 256, 128


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How an answer is chosen, and how long it may be."""

    max_tokens: int = 256
    """At most so many tokens are chosen."""
    min_tokens: int = 0
    """So many tokens are chosen before a stop token may be, and before stop strings count."""
    temperature: float = 0.0
    """0 always takes the most probable token."""
    top_k: int = 0
    """Only the k most probable tokens; 0 for all."""
    top_p: float = 1.0
    """Only the most probable tokens that together reach this probability."""
    min_p: float = 0.0
    """Only tokens at least this many times as probable as the most probable one."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of prompt and answer get less probable, by a factor on their logits."""
    presence_penalty: float = 0.0
    """Taken off the logit of each token that the answer has."""
    frequency_penalty: float = 0.0
    """Taken off the logit of each token once for each time that the answer has it."""
    logit_bias: Mapping[int, float] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """Added to the logits of these token ids; kept as a copy that cannot be changed."""
    seed: int | None = None
    """Makes an answer repeatable; None draws differently each time."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer, beside the model's own, and are not part of its text."""
    logprobs: int | None = None
    """Gives each token's log probability, and those of so many most probable ones; None neither."""

    def __post_init__(self) -> None:
        for name, limits in _LIMITS.items():
            value = getattr(self, name)
            if name not in _OPTIONAL or value is not None:
                check_number(name, value, limits)
        if self.min_tokens > self.max_tokens:
            raise InvalidInput(
                f"min_tokens must be at most max_tokens, {self.max_tokens}, "
                f"but is {self.min_tokens}."
            )
        check_texts("stop", self.stop, _STOP_STRINGS, _STOP_CHARACTERS)
        check_ids("stop_token_ids", self.stop_token_ids, _STOP_TOKENS)
        bias = frozen_numbers("logit_bias", self.logit_bias, _BIASES, _BIAS)
        object.__setattr__(self, "logit_bias", bias)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0.0

    def check_vocabulary(self, size: int) -> None:
        """Refuses what a model with so many tokens cannot do.

        Raises:
            InvalidInput: `logit_bias` names a token that the model does not have.
        """
        highest = max(self.logit_bias, default=0)
        if highest >= size:
            raise InvalidInput(
                f"logit_bias names token {highest}, but the model's highest is {size - 1}."
            )


class Sampler:
    """Chooses the tokens of one answer: `adjust` the logits, `pick` a token, `count` it.

    Args:
        params: How to choose; `check_vocabulary` has let them pass.
        prompt_ids: The prompt's tokens, for the repetition penalty.
        stop_token_ids: The model's; those of `params` are added.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Sequence[int] = (),
        stop_token_ids: Collection[int] = (),
    ) -> None:
        self._params = params
        self._random = np.random.default_rng(None if params.seed is None else params.seed % 2**64)
        self._penalties = Penalties(
            params.repetition_penalty,
            params.presence_penalty,
            params.frequency_penalty,
            prompt_ids,
        )
        self._stop_ids = np.array([*stop_token_ids, *params.stop_token_ids], np.intp)
        self._biased_ids = np.array([*params.logit_bias], np.intp)
        self._biases = np.array([*params.logit_bias.values()], np.float32)
        self._counted = 0

    def adjust(self, logits: Logits) -> Logits:
        """The logits with bias and penalties, stop tokens excluded before `min_tokens`.

        Args:
            logits: As the model computed them, one per token id, [vocabulary].

        Returns:
            The same array if nothing applies, else a copy.

        Raises:
            ModelBroken: The model computed nonsense: its best logit is no finite number.
        """
        _refuse_nonsense(float(logits[logits.argmax()]))
        is_early = self._counted < self._params.min_tokens
        if not (is_early or len(self._biases) or self._penalties.applies):
            return logits
        adjusted = logits.copy()
        with np.errstate(over="ignore"):
            if len(self._biases):
                adjusted[self._biased_ids] += self._biases
            if self._penalties.applies:
                self._penalties.apply(adjusted)
        if is_early:
            adjusted[self._stop_ids[self._stop_ids < len(adjusted)]] = -np.inf
        return adjusted

    def pick(self, adjusted: Logits) -> int:
        """The next token's id: the best one if greedy, of equals the first; else one is drawn.

        A draw takes one random number, whatever may be drawn.

        Args:
            adjusted: What `adjust` gave; -inf, which a constraint may put there, is never chosen.

        Raises:
            InvalidInput: No token is left: `min_tokens` wants more where the constraint wants
                none.
            ModelBroken: The best logit is no number.
        """
        best = int(adjusted.argmax())  # numpy takes a NaN for the greatest.
        score = float(adjusted[best])
        if score == -math.inf:
            raise InvalidInput(
                "No token may follow: min_tokens asks for more than the form of the answer allows; "
                "lower min_tokens or widen the form."
            )
        _refuse_nonsense(score)
        params = self._params
        if params.is_greedy:
            return best
        ids, weights = candidates(
            adjusted, params.temperature, params.top_k, params.top_p, params.min_p
        )
        index = drawn(weights, self._random.random())
        return index if ids is None else int(ids[index])

    def count(self, token_id: int) -> None:
        """Takes note of an accepted token: the next `adjust` sees it."""
        self._counted += 1
        self._penalties.count(token_id)

    def choose(self, logits: Logits) -> int:
        """Adjusts, picks and counts at once."""
        token_id = self.pick(self.adjust(logits))
        self.count(token_id)
        return token_id

    def logprob(self, logits: Logits, token_id: int) -> TokenLogprob | None:
        """How probable a token was; None where `logprobs` does not ask for it.

        Args:
            logits: As the model computed them: not what `adjust` gave.
            token_id: The chosen token.
        """
        most = self._params.logprobs
        return None if most is None else token_logprob(logits, token_id, most)


def _refuse_nonsense(best: float) -> None:
    if not math.isfinite(best):
        raise ModelBroken(
            f"The language model computed {best} where a number was due; its weights "
            "are damaged or its precision does not suit this machine: fetch it again."
        )
