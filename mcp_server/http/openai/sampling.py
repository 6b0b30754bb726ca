"""Sampling: the fields of a body that say how tokens are chosen, for all that write answers.

Rule: what is not given is as OpenAI has it, so temperature is 1; an answer is as long as it likes
within the model's context, and to ask for more than that is to ask for that.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from engine.decode.sampling import SamplingParams
from mcp_server import arguments as words
from mcp_server.http.failures import Refused
from mcp_server.http.openai.bodies import RequestBody

MOST_CHOICES = 8
"""Answers to one prompt."""

_TOKEN_ID = re.compile(r"[0-9]{1,9}")

TokenLimit = Annotated[int, Field(description="Tokens of the answer, at most.", ge=1)]
ChoiceCount = Annotated[int, Field(description="Answers to a prompt.", ge=1, le=MOST_CHOICES)]
_Nucleus = Annotated[float, Field(description="Among tokens of so much probability.", ge=0, le=1)]
_Ranked = Annotated[
    int, Field(description="Among so many tokens; 0 or -1: all.", ge=-1, le=100_000)
]
_Seed = Annotated[int, Field(description="Repeats a sample.", ge=-(2**63), le=2**63 - 1)]
_Stop = Annotated[str, Field(min_length=1, max_length=256)]
_Stops = Annotated[list[_Stop], Field(max_length=16)]
_Bias = Annotated[float, Field(ge=-100, le=100)]


def listed(value: Any) -> Any:
    """One text as a list of it."""
    return [value] if isinstance(value, str) else value


class SamplingFields(RequestBody):
    """How tokens are chosen. top_k, min_p and repetition_penalty are as in vLLM's bodies."""

    temperature: words.Temperature | None = None
    top_p: _Nucleus | None = None
    top_k: _Ranked | None = None
    min_p: words.MinP | None = None
    repetition_penalty: words.RepetitionPenalty | None = None
    presence_penalty: words.PresencePenalty | None = None
    frequency_penalty: words.FrequencyPenalty | None = None
    seed: _Seed | None = None
    stop: Annotated[
        _Stops | None, BeforeValidator(listed, json_schema_input_type=_Stop | _Stops | None)
    ] = None
    logit_bias: Annotated[dict[str, _Bias], Field(max_length=1_024)] | None = None

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if not all(map(_TOKEN_ID.fullmatch, value or ())):
            raise Refused("logit_bias takes token ids as keys; see /tokenize.", param="logit_bias")
        return value

    def sampling(
        self, context: int, max_tokens: int | None = None, logprobs: int | None = None
    ) -> SamplingParams:
        """What the decoder is asked for.

        Args:
            context: Tokens that its prompt and answer may have together.
            max_tokens: Of the answer; None for as many as fit.
            logprobs: As in `SamplingParams`.
        """
        return SamplingParams(
            max_tokens=context if max_tokens is None else min(max_tokens, context),
            temperature=_given(self.temperature, 1.0),
            top_p=_given(self.top_p, 1.0),
            top_k=max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            repetition_penalty=_given(self.repetition_penalty, 1.0),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias={int(key): bias for key, bias in (self.logit_bias or {}).items()},
            seed=self.seed,
            stop=tuple(self.stop or ()),
            logprobs=logprobs,
        )


def _given(value: float | None, usual: float) -> float:
    return usual if value is None else value
