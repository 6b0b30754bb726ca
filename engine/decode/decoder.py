"""Decoder: a language model with its tokenizer, which answers conversations and goes on from texts.

Knows what a request must be; the loop does the work. Knows nothing of HTTP, queues or event loops,
and starts no thread.
"""

import importlib
from collections.abc import Sequence as Many
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from engine.decode.answer import Answer
from engine.decode.drafting import LARGE_MODEL_COST, SMALL_MODEL_COST
from engine.decode.forward import Forward
from engine.decode.loop import Loop
from engine.decode.options import DecoderOptions, DecoderStatus
from engine.decode.output_forms import OutputForm, ToolCalls
from engine.decode.prefix_cache import PrefixCache
from engine.decode.sampling import Sampler, SamplingParams
from engine.decode.sequence import Piece, Sequence, Usage
from engine.decode.slots import Slots
from engine.errors import InvalidInput, PromptTooLong, Unavailable
from engine.models import surgery
from engine.models.spec import DecoderSpec
from engine.models.surgery import Surgery
from engine.runtime.session import Session, Stop
from engine.text.chat import ChatTemplate
from engine.text.prompts import Prompt, Prompts, RawText
from engine.text.token_bytes import TokenBytes
from engine.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from engine.decode.constraints import Constraint, Constraints

__all__ = ["Answer", "Decoder", "DecoderOptions", "DecoderStatus", "Piece", "Usage"]

# Prompt tokens a run, and how many where the weights exceed so many bytes. A caller who
# closes waits for the running part. SmolLM2 reads 363, 382, 396, 392, 355 tokens in a second of one
# thread's CPU time in parts of 32, 64, 128, 256, 512; a large model is almost as fast in small
# parts: Phi-3 28 tokens/s in parts of 8, 33 in large ones (Linux x86-64, 2 cores).
_PREFILL_CHUNK, _LARGE_PREFILL_CHUNK, _LARGE_BYTES = 128, 32, 1_000_000_000

# A cache with room for fewer tokens than this holds no chat template with an answer.
_FEWEST_TOKENS = 16


class Decoder:
    """A causal language model that gives several answers at once."""

    def __init__(
        self, spec: DecoderSpec, session: Session, options: DecoderOptions, *, shares_buffer: bool
    ) -> None:
        self.spec = spec
        self.options = options
        self.provider = session.provider
        """Short name of the execution provider that runs the model."""
        self._tokenizer = Tokenizer.open(spec.tokenizer_file)
        template = ChatTemplate(spec.chat_template, self._tokenizer, spec.bos_token, spec.eos_token)
        self._prompts = Prompts(self._tokenizer, template)
        is_large = spec.weight_bytes > _LARGE_BYTES
        self._draft_cost = LARGE_MODEL_COST if is_large else SMALL_MODEL_COST
        part = options.prefill_chunk or prefill_chunk_for(spec)
        self._loop: Loop | None = Loop(
            Forward(session, self.context, options.kv_limit_bytes, shares_buffer=shares_buffer),
            Slots(options.slots, part),
            PrefixCache(options.prefix_cache_bytes),
        )

    @classmethod
    def open(cls, spec: DecoderSpec, options: DecoderOptions | None = None) -> "Decoder":
        """Loads a model and proves it on a few tokens, so that a broken one fails here.

        Raises:
            InvalidInput: `kv_limit_bytes` does not hold even a few tokens.
            ModelBroken: A file is damaged, the graph is of a form that is not served, or graph and
                tokenizer do not belong together.
        """
        options = options or DecoderOptions()
        prepared = surgery.prepare(spec, Surgery(kv_dtype=options.kv_dtype))
        session = Session.open(spec.onnx_file, threads=options.threads, graph=prepared.content)
        decoder = cls(spec, session, options, shares_buffer=prepared.shares_buffer)
        decoder._check_room()
        decoder._prove()
        return decoder

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.spec.max_tokens

    def close(self) -> None:
        """Frees the model; answers and whoever asks for one get Unavailable. May be called again.

        Its memory is free when the answers that were in work have been fetched from or closed too.
        """
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close(self._closed)

    def generate(
        self,
        prompt: Prompt,
        params: SamplingParams,
        form: OutputForm | None = None,
        *,
        may_be_cut: bool = False,
    ) -> Answer:
        """Answers a conversation, or goes on from a text, piece by piece.

        An empty piece comes after each part of the prompt. Fetching raises:

            EmptyInput, InvalidInput: The prompt cannot be rendered, or the form cannot be kept.
            PromptTooLong: It leaves no room for an answer.
            AnswerCut: The answer has not come to an end of its form when its tokens run out, and
                must not be cut.
            ModelBroken: The model fails on it, or its chat template does.
            Unavailable: The decoder is closed.

        Args:
            prompt: The conversation's messages, or a `RawText`.
            params: How tokens are chosen.
            form: What the answer must look like; None leaves that to the model. With tools, stop
                strings end the text before the calls alone; other forms go with none.
            may_be_cut: Lets `max_tokens` and stop strings end an answer of a form before it is
                complete, as they end any other; its finish_reason says which.
        """
        return Answer(lambda stop: self._begin(prompt, params, form, may_be_cut, stop))

    def choices(
        self,
        prompt: Prompt,
        params: SamplingParams,
        count: int,
        form: OutputForm | None = None,
        *,
        may_be_cut: bool = False,
    ) -> list[Answer]:
        """Several answers to one prompt, each with a seed of its own; as `generate`."""
        seeds = [None if params.seed is None else (params.seed + i) % 2**64 for i in range(count)]
        return [
            self.generate(prompt, replace(params, seed=seed), form, may_be_cut=may_be_cut)
            for seed in seeds
        ]

    def complete(self, text: str, params: SamplingParams, form: OutputForm | None = None) -> Answer:
        """Goes on from a text; as `generate`."""
        return self.generate(RawText(text), params, form)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The ids that the model reads of a prompt, though there be more than it takes.

        Raises:
            EmptyInput, InvalidInput: The prompt cannot be rendered.
            PromptTooLong: It is so much longer than what the model takes that it is not read.
            ModelBroken: The chat template fails.
        """
        if self._prompts.surely_exceeds(prompt, self.context):
            raise _too_long(f"over {self.context}", f"the model takes {self.context}")
        return self._prompts.ids(prompt)

    def count(self, prompt: Prompt) -> int:
        """Tokens of a prompt, as an answer's usage gives them; raises what `prompt_ids` does."""
        return len(self.prompt_ids(prompt))

    def is_within(self, prompt: Prompt, tokens: int) -> bool:
        """Whether a prompt has at most so many tokens; one that is far longer is not read.

        Raises what `prompt_ids` does.
        """
        return not self._prompts.surely_exceeds(prompt, tokens) and self.count(prompt) <= tokens

    def check(self, prompt: Prompt) -> None:
        """Refuses a prompt that cannot be answered, before an answer to it has begun.

        Raises:
            EmptyInput, InvalidInput, PromptTooLong, ModelBroken, Unavailable: As `generate`.
        """
        self._fitting_ids(prompt, self._opened.forward.cache.longest)

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text by itself: nothing is put before it, and no control token is read in it.

        Raises:
            InvalidInput: Not Unicode text.
        """
        return self._tokenizer.encode_parts([text])

    def detokenize(self, ids: Many[int]) -> str:
        """The text of ids, control tokens as they are spelled.

        Raises:
            InvalidInput: The model has no token of such an id.
        """
        return self._tokenizer.decode_all(ids)

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes that a token stands for, maybe a part of a character.

        Raises:
            InvalidInput: The model has no token of such an id.
        """
        return self._token_bytes.of(token_id)

    def status(self) -> DecoderStatus:
        """What it is doing now; waits for nothing.

        Raises:
            Unavailable: The decoder is closed.
        """
        loop = self._opened
        slots, figures, cache = loop.slots, loop.figures, loop.forward.cache
        return DecoderStatus(
            active=len(slots.working),
            waiting=len(slots.waiting),
            kv_bytes=cache.bytes,
            kv_tokens=sum(row.position for row in cache.rows),
            prefixes=len(loop.prefixes),
            prefix_bytes=loop.prefixes.bytes,
            prefill_tokens_per_second=_rate(figures.prompt_tokens, figures.prompt_seconds),
            decode_tokens_per_second=_rate(figures.answer_tokens, figures.answer_seconds),
        )

    @property
    def _opened(self) -> Loop:
        if self._loop is None:
            raise self._closed
        return self._loop

    @property
    def _closed(self) -> Unavailable:
        return Unavailable(f"{self.spec.model_id} has been closed; open it again.")

    def _begin(
        self,
        prompt: Prompt,
        params: SamplingParams,
        form: OutputForm | None,
        may_be_cut: bool,
        stop: Stop,
    ) -> tuple[Loop, Sequence]:
        loop = self._opened
        params.check_vocabulary(self._tokenizer.vocabulary_size)
        longest = loop.forward.cache.longest
        ids = self._fitting_ids(prompt, longest)
        constraint = self._constraint(params, form, may_be_cut) if form is not None else None
        sequence = Sequence(
            ids,
            params,
            stop=stop,
            stop_token_ids=self.spec.stop_token_ids,
            room=longest - len(ids),
            tokenizer=self._tokenizer,
            draft_cost=self._draft_cost if self.options.speculate else None,
            constraint=constraint,
            goes_on=isinstance(prompt, RawText) and form is None,
        )
        return loop, sequence

    def _fitting_ids(self, prompt: Prompt, longest: int) -> list[int]:
        """A prompt's ids, to which room for an answer is left among so many."""
        ids = self.prompt_ids(prompt)
        if len(ids) >= longest:
            limit = "the model takes" if longest == self.context else "the cache has room for"
            raise _too_long(f"{len(ids)}", f"{limit} {longest}")
        return ids

    @cached_property
    def _token_bytes(self) -> TokenBytes:
        return TokenBytes(self._tokenizer)

    @cached_property
    def _constraints(self) -> "Constraints":
        # By name: its libraries take 90 ms to import, which no start of a server waits for.
        room = importlib.import_module("engine.decode.constraints")
        size = self._tokenizer.vocabulary_size
        return room.Constraints(self._tokenizer, size, self.spec.stop_token_ids)

    def _constraint(
        self, params: SamplingParams, form: OutputForm, may_be_cut: bool
    ) -> "Constraint":
        cutting = params.stop_token_ids or (params.stop and not isinstance(form, ToolCalls))
        if cutting and not may_be_cut:
            raise InvalidInput(
                "stop and stop_token_ids would cut an answer of a set form; leave them out."
            )
        constraint = self._constraints.start(form, may_be_cut=may_be_cut)
        if constraint.needs > params.max_tokens and not may_be_cut:
            raise InvalidInput(
                f"An answer of this form takes about {constraint.needs} tokens at least, but "
                f"max_tokens is {params.max_tokens}; raise it."
            )
        return constraint

    def _check_room(self) -> None:
        cache, limit = self._opened.forward.cache, self.options.kv_limit_bytes
        fewest = min(_FEWEST_TOKENS, self.context)
        if cache.longest < fewest:
            needed = fewest * (1 + cache.spare_rows) * cache.layout.token_bytes
            raise InvalidInput(
                f"kv_limit_bytes is {limit}, which holds {cache.longest} tokens of "
                f"{self.spec.model_id}: raise it to {needed} at least."
            )

    def _prove(self) -> None:
        """Encodes a text, runs it and then the vocabulary's last word, and chooses a token."""
        ids = [*self._tokenizer.encode_parts(["Hi"]), self._tokenizer.last_text_id]
        forward = self._opened.forward
        row = forward.cache.open_row(len(ids))
        forward.extend(row, ids[:-1])
        logits = forward.extend(row, ids[-1:])[0]
        Sampler(SamplingParams()).choose(logits[: self._tokenizer.vocabulary_size])
        forward.cache.close_row(row)


def prefill_chunk_for(spec: DecoderSpec) -> int:
    """Prompt tokens that a model reads in one run, by the size of its weights."""
    return _LARGE_PREFILL_CHUNK if spec.weight_bytes > _LARGE_BYTES else _PREFILL_CHUNK


def _too_long(count: str, limit: str) -> PromptTooLong:
    return PromptTooLong(f"The prompt has {count} tokens, and {limit} with its answer; shorten it.")


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds else 0.0
