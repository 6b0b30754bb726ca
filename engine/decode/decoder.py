"""Decoder: a language model with its tokenizer and chat template, which answers conversations.

Knows what a request must be; the loop does the work. Knows nothing of HTTP, queues or event loops,
and starts no thread.
"""

import importlib
from collections.abc import Sequence as Messages
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from engine.decode.answer import Answer
from engine.decode.drafting import LARGE_MODEL_COST, SMALL_MODEL_COST
from engine.decode.forward import Forward
from engine.decode.loop import Loop
from engine.decode.output_forms import OutputForm
from engine.decode.prefix_cache import PrefixCache
from engine.decode.sampling import Sampler, SamplingParams
from engine.decode.sequence import Piece, Sequence, Usage
from engine.decode.slots import Slots
from engine.errors import InvalidInput, PromptTooLong, Unavailable
from engine.models import surgery
from engine.models.spec import DecoderSpec
from engine.models.surgery import KvType, Surgery
from engine.runtime.session import Session, Stop
from engine.text.chat import ChatTemplate, Message
from engine.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from engine.decode.constraints import Constraint, Constraints

__all__ = ["Answer", "Decoder", "DecoderOptions", "DecoderStatus", "Piece", "Usage"]

# Prompt tokens a run, and how many where the weights exceed so many bytes. A caller who
# closes waits for the running part. SmolLM2 reads 363, 382, 396, 392, 355 tokens in a second of one
# thread's CPU time in parts of 32, 64, 128, 256, 512; a large model is almost as fast in small
# parts: Phi-3 28 tokens/s in parts of 8, 33 in large ones (Linux x86-64, 2 cores).
_PREFILL_CHUNK, _LARGE_PREFILL_CHUNK, _LARGE_BYTES = 128, 32, 1_000_000_000

# The least that numbers of DecoderOptions may be. A run of one token takes another kernel; see
# `forward`.
_LEAST = {
    "threads": 0,
    "slots": 1,
    "kv_limit_bytes": 0,
    "prefix_cache_bytes": 0,
    "prefill_chunk": 2,
}

# A cache with room for fewer tokens than this holds no chat template with an answer.
_FEWEST_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderOptions:
    """How a model is served; a field that cannot be as it is raises InvalidInput."""

    threads: int = 0
    """Threads one run may use; 0 for every physical core."""
    slots: int = 4
    """Answers that grow at once."""
    kv_limit_bytes: int = 2 * 2**30
    """What the keys and values of all answers in work may take."""
    kv_dtype: KvType | None = None
    """What they are kept as; "float16" takes half the memory where `Surgery` can change it."""
    prefix_cache_bytes: int = 256 * 2**20
    """What may be kept of prompts that have been answered, for those that begin alike."""
    speculate: bool = True
    """Whether tokens that the text so far suggests are checked many at once. Answers are the same
    but where two tokens are nearer than such a run rounds; see `forward`."""
    prefill_chunk: int | None = None
    """Prompt tokens read in one run, at least 2; None for `prefill_chunk_for` the model."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            is_left_out = name == "prefill_chunk" and value is None
            if not (is_left_out or (isinstance(value, int) and value >= least)):
                raise InvalidInput(
                    f"{name} must be a whole number, {least} or more, but is {value!r}."
                )
        if self.kv_dtype not in (None, "float16"):
            raise InvalidInput(f'kv_dtype must be None or "float16", but is {self.kv_dtype!r}.')


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStatus:
    """What a decoder is doing, and what it holds."""

    active: int
    """Answers in work."""
    waiting: int
    """Answers that wait for a slot."""
    kv_bytes: int
    """What the keys and values of the answers in work take."""
    kv_tokens: int
    """Tokens that are in them."""
    prefixes: int
    """Beginnings of prompts that are kept."""
    prefix_bytes: int
    """What they take."""
    prefill_tokens_per_second: float
    """Over all prompts so far; 0 before the first."""
    decode_tokens_per_second: float
    """Likewise, for all answers together."""


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
        self._template = ChatTemplate(
            spec.chat_template, self._tokenizer, spec.bos_token, spec.eos_token
        )
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
        self, messages: Messages[Message], params: SamplingParams, form: OutputForm | None = None
    ) -> Answer:
        """Answers a conversation, piece by piece.

        An empty piece comes after each part of the prompt. Fetching raises:

            EmptyInput, InvalidInput: The messages cannot be rendered, or the form cannot be kept.
            PromptTooLong: They leave no room for an answer.
            AnswerCut: The answer has not come to an end of its form when its tokens run out.
            ModelBroken: The model fails on them, or its chat template does.
            Unavailable: The decoder is closed.

        Args:
            messages: The conversation.
            params: How tokens are chosen.
            form: What the answer must look like; None leaves that to the model.
        """
        return Answer(lambda stop: self._begin(messages, params, form, stop))

    def choices(
        self,
        messages: Messages[Message],
        params: SamplingParams,
        count: int,
        form: OutputForm | None = None,
    ) -> list[Answer]:
        """Several answers to one conversation, each with a seed of its own; as `generate`."""
        seeds = [None if params.seed is None else (params.seed + i) % 2**64 for i in range(count)]
        return [self.generate(messages, replace(params, seed=seed), form) for seed in seeds]

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
        messages: Messages[Message],
        params: SamplingParams,
        form: OutputForm | None,
        stop: Stop,
    ) -> tuple[Loop, Sequence]:
        loop = self._opened
        params.check_vocabulary(self._tokenizer.vocabulary_size)
        constraint = self._constraint(params, form) if form is not None else None
        prompt = self._template.render_ids(messages)
        longest = loop.forward.cache.longest
        room = longest - len(prompt)
        if room < 1:
            limit = "the model takes" if longest == self.context else "the cache has room for"
            raise PromptTooLong(
                f"The prompt has {len(prompt)} tokens, and {limit} {longest} with its answer; "
                "shorten it."
            )
        sequence = Sequence(
            prompt,
            params,
            stop=stop,
            stop_token_ids=self.spec.stop_token_ids,
            room=room,
            tokenizer=self._tokenizer,
            draft_cost=self._draft_cost if self.options.speculate else None,
            constraint=constraint,
        )
        return loop, sequence

    @cached_property
    def _constraints(self) -> "Constraints":
        # By name: its libraries take 90 ms to import, which no start of a server waits for.
        room = importlib.import_module("engine.decode.constraints")
        size = self._tokenizer.vocabulary_size
        return room.Constraints(self._tokenizer, size, self.spec.stop_token_ids)

    def _constraint(self, params: SamplingParams, form: OutputForm) -> "Constraint":
        if params.stop or params.stop_token_ids:
            raise InvalidInput(
                "stop and stop_token_ids would cut an answer of a set form; leave them out."
            )
        constraint = self._constraints.start(form)
        if constraint.needs > params.max_tokens:
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


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds else 0.0
