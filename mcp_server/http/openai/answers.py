"""Answers: what the routes that write text share: the model, and what was used.

Rule: whatever can be refused is refused before the first chunk.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from engine import __version__
from engine.decode.decoder import Answer, Decoder, Usage
from engine.decode.output_forms import OutputForm
from engine.decode.sampling import SamplingParams
from engine.text.prompts import Prompt, RawText
from mcp_server import concurrency
from mcp_server.generation import Pieces, generating
from mcp_server.http.call import Call
from mcp_server.http.openai.models import wrong_model
from mcp_server.lifespan import Gateway

_CHARACTERS_PER_TOKEN = 4
"""About, for what a call reserves; what it used is counted exactly."""


class PromptTokensDetails(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int
    """Those that an earlier prompt began with."""
    audio_tokens: int = 0


class CompletionTokensDetails(BaseModel):
    """Of the answer's tokens; none are of these kinds."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class TokenUsage(BaseModel):
    """What a request took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class AnswerBody(BaseModel):
    """What whole answers and chunks of them have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: TokenUsage | None = None
    """Of chunks, set on the last alone, which has no choices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a body asks the decoder for."""

    model: str
    prompts: Sequence[Prompt]
    params: Callable[[int], SamplingParams]
    """How tokens are chosen, given how many the context holds."""
    choices: int = 1
    """Answers to each prompt."""
    form: OutputForm | None = None
    has_logprobs: bool = False
    """Whether probabilities are asked for."""

    def begin(self, decoder: Decoder) -> list[Answer]:
        """The answers, those to a prompt next to each other; none has begun."""
        params = self.params(decoder.context)
        return [
            answer
            for prompt in self.prompts
            for answer in decoder.choices(prompt, params, self.choices, self.form, may_be_cut=True)
        ]

    def prepare(self, decoder: Decoder) -> None:
        """Does beside the event loop what the first piece would not: looks at the other prompts,
        and builds the table of tokens that probabilities are told with.

        Raises:
            EngineError: One of several prompts cannot be answered.
        """
        for prompt in self.prompts[1:]:
            decoder.check(prompt)
        if self.has_logprobs:
            decoder.token_bytes(0)

    @property
    def prompt_estimates(self) -> list[int]:
        """Tokens of each prompt, about."""
        return [_characters(prompt) // _CHARACTERS_PER_TOKEN for prompt in self.prompts]

    def estimate(self, context: int) -> int:
        """Tokens that it may take in all, about; none where there is no model."""
        if not context:
            return 0
        answer = self.params(context).max_tokens
        return sum(
            prompt + min(answer, context - prompt) * self.choices
            for prompt in (min(one, context) for one in self.prompt_estimates)
        )


@dataclass(slots=True)
class Answering:
    """Answers in work."""

    decoder: Decoder
    coming: AsyncGenerator[Pieces]
    """What is written, as it comes."""
    choices: int
    """Answers to each prompt."""
    used: dict[int, Usage]
    """By each answer that has ended."""

    @property
    def fingerprint(self) -> str:
        """Another one for another model, provider or version of this program."""
        spec = self.decoder.spec
        of = f"{spec.model_id}\n{self.decoder.provider}\n{__version__}"
        return f"fp_{hashlib.sha256(of.encode()).hexdigest()[:10]}"

    def usage(self) -> TokenUsage:
        """What all took; a prompt is counted once, however many answers it has."""
        first = [self.used[i] for i in sorted(self.used) if i % self.choices == 0]
        prompt = sum(one.prompt_tokens for one in first)
        completion = sum(one.completion_tokens for one in self.used.values())
        return TokenUsage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=sum(one.cached_tokens for one in first)
            ),
        )


@asynccontextmanager
async def answering(call: Call[Any], asked: Asked) -> AsyncGenerator[Answering]:
    """Holds a place among the answers within the block; notes what the call used.

    Raises:
        EngineError: The model does not answer here, the caller has had enough, or there is no
            place. What else is wrong with the request comes with the first piece.
    """
    context = await served_context(call.gateway, asked.model)
    call.visit.reserve(asked.estimate(context))
    async with generating(call.gateway, asked.begin, call.tell, call.caller.key_id) as generation:
        decoder, used = generation.decoder, dict[int, Usage]()
        await concurrency.run_abandonable(partial(asked.prepare, decoder))
        async with aclosing(_noted(call, asked, generation.coming, used)) as noted:
            yield Answering(decoder, noted, asked.choices, used)


async def served_context(gateway: Gateway, wanted: str) -> int:
    """Tokens that the language model takes; 0 where there is none, which loading it will tell.

    Raises:
        ModelNotFound: It is not the model that is wanted.
    """
    if decoder := gateway.engine.decoder.loaded():
        model_id, context = decoder.spec.model_id, decoder.context
    else:
        _, status = await concurrency.run_abandonable(gateway.engine.models)
        model_id, context = status.model_id, status.max_tokens
    if model_id and wanted != model_id:
        raise await wrong_model(gateway, wanted, "generate")
    return context


async def _noted(
    call: Call[Any],
    asked: Asked,
    coming: AsyncGenerator[Pieces],
    used: dict[int, Usage],
) -> AsyncGenerator[Pieces]:
    """The pieces; a prompt counts from its first one on, whether its answers end or not."""
    spent, estimates, read = call.visit.spent, asked.prompt_estimates, dict[int, int]()
    async for pieces in coming:
        for index, piece in pieces:
            prompt = index // asked.choices
            if prompt not in read:
                read[prompt] = estimates[prompt]
            if piece.token_id is not None:
                spent.completion_tokens += 1
            if piece.usage is not None:
                used[index] = piece.usage
                read[prompt] = piece.usage.prompt_tokens
        spent.prompt_tokens = sum(read.values())
        yield pieces


def _characters(prompt: Prompt) -> int:
    if isinstance(prompt, RawText):
        return len(prompt.text)
    return sum(len(message.content) for message in prompt)
