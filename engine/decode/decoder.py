"""Decoder: prefill, then the loop that yields pieces until something says stop.

Knows token ids and logits. Knows nothing of HTTP, queues or event loops, and starts no thread.
Rule: every way to end goes through stopping.py, and every end frees the KVCache.
"""

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.decode.forward import Forward, served_layout
from engine.decode.kv_cache import capacity_for
from engine.decode.sampling import Sampler, SamplingParams
from engine.decode.stopping import FinishReason, Stopping
from engine.errors import PromptTooLong, Unavailable
from engine.models.spec import DecoderSpec
from engine.runtime.session import Session
from engine.text.chat import ChatTemplate, Message
from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer

# Prompt tokens a run, and how many where the graph's files exceed so many bytes. A caller who
# closes waits for the running part. SmolLM2 reads 363, 382, 396, 392, 355 tokens in a second of one
# thread's CPU time in parts of 32, 64, 128, 256, 512; a large model is almost as fast in small
# parts: Phi-3 28 tokens/s in parts of 8, 33 in large ones (Linux x86-64, 2 cores).
_PREFILL_CHUNK, _LARGE_PREFILL_CHUNK, _LARGE_BYTES = 128, 32, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    """Tokens chosen, a stop token included."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of an answer; the texts of all pieces joined are the answer."""

    text: str
    """Empty after a part of the prompt, inside a character, and while a stop string may begin."""
    token_id: int | None = None
    """The token chosen in this step; None while the prompt is read."""
    finish_reason: FinishReason | None = None
    """Set on the last piece alone: "length" if a limit ended the answer, else "stop"."""
    usage: Usage | None = None
    """Set on the last piece alone."""


class Decoder:
    """A causal language model with its tokenizer and chat template; one answer at a time."""

    def __init__(
        self, spec: DecoderSpec, session: Session, threads: int, prefill_chunk: int
    ) -> None:
        self.spec = spec
        self.threads = threads
        """Threads one run may use; 0 for every physical core."""
        self._prefill_chunk = prefill_chunk
        self._session: Session | None = session
        self.provider = session.provider
        """Short name of the execution provider that runs the model."""
        self._layout = served_layout(session)
        self._tokenizer = Tokenizer.open(spec.tokenizer_file)
        self._template = ChatTemplate(
            spec.chat_template, self._tokenizer, spec.bos_token, spec.eos_token
        )
        self._answering = threading.Lock()

    @classmethod
    def open(
        cls, spec: DecoderSpec, *, threads: int = 0, prefill_chunk: int | None = None
    ) -> "Decoder":
        """Loads a model and proves it on a few tokens, so that a broken one fails here.

        Args:
            spec: As `engine.models.folder` reads it.
            threads: Threads one run may use; 0 takes every physical core.
            prefill_chunk: Prompt tokens read in one run; None for `prefill_chunk_for` the model.

        Raises:
            ModelBroken: A file is damaged, the graph is of a form that is not served, or graph and
                tokenizer do not belong together.
        """
        session = Session.open(spec.onnx_file, threads=threads)
        decoder = cls(spec, session, threads, prefill_chunk or prefill_chunk_for(spec))
        decoder._prove()
        return decoder

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.spec.max_tokens

    def close(self) -> None:
        """Frees the model; answering afterwards raises Unavailable. May be called again."""
        self._session = None

    def generate(
        self, messages: Sequence[Message], params: SamplingParams
    ) -> Generator[Piece, None, None]:
        """Answers a conversation, piece by piece.

        An empty piece comes after each part of the prompt. Closing the generator ends the work
        after the running step at the latest, and frees the cache.

        Raises:
            EmptyInput, InvalidInput: The messages cannot be rendered.
            PromptTooLong: They leave no room for an answer.
            ModelBroken: The model fails on them, or its chat template does.
            Unavailable: The decoder is closed.
            RuntimeError: Another answer of this decoder is neither finished nor closed.
        """
        if not self._answering.acquire(blocking=False):
            raise RuntimeError("a decoder gives one answer at a time: finish or close the other")
        try:
            yield from self._answer(messages, params)
        finally:
            self._answering.release()

    def _answer(
        self, messages: Sequence[Message], params: SamplingParams
    ) -> Generator[Piece, None, None]:
        # 1. The prompt as ids, and how long its answer may get.
        prompt = self._template.render_ids(messages)
        room = self.context - len(prompt)
        if room < 1:
            raise PromptTooLong(
                f"The prompt has {len(prompt)} tokens, and the model takes {self.context} with "
                "its answer; shorten it."
            )
        stopping = Stopping(params, self.spec.stop_token_ids, room)
        detokenizer, sampler = Detokenizer(self._tokenizer), Sampler(params)
        capacity = capacity_for(len(prompt) + min(params.max_tokens, room), self.context)
        with closing(Forward(self._opened, self._layout, capacity)) as forward:
            # 2. Prefill: the logits of the last part choose the first token.
            first, *others = _parts(prompt, self._prefill_chunk)
            logits = forward(first)
            yield Piece("")
            for part in others:
                logits = forward(part)
                yield Piece("")
            while True:
                # 3. A token.
                token_id = self._choice(sampler, logits)
                # 4. Its text, as far as it may be shown, and whether it was the last.
                is_text = stopping.count(token_id)
                text = stopping.show(detokenizer.push(token_id)) if is_text else ""
                if stopping.finish_reason is not None:
                    break
                yield Piece(text, token_id)
                # 5. The next logits.
                logits = forward([token_id])
        # 6. What still waited, after the cache is freed.
        text += stopping.finish(detokenizer.finish())
        usage = Usage(len(prompt), stopping.token_count)
        yield Piece(text, token_id, stopping.finish_reason, usage)

    @property
    def _opened(self) -> Session:
        if self._session is None:
            raise Unavailable(f"{self.spec.model_id} has been closed; open it again.")
        return self._session

    def _prove(self) -> None:
        """Encodes a text, runs it with the vocabulary's last word, and chooses a token."""
        ids = [*self._tokenizer.encode_parts(["Hi"]), self._tokenizer.last_text_id]
        with closing(Forward(self._opened, self._layout, len(ids))) as forward:
            self._choice(Sampler(SamplingParams()), forward(ids))

    def _choice(self, sampler: Sampler, logits: NDArray[np.float32]) -> int:
        """The next token; ids that the tokenizer does not know are no choice."""
        return sampler.choose(logits[: self._tokenizer.vocabulary_size])


def prefill_chunk_for(spec: DecoderSpec) -> int:
    """Prompt tokens that a model reads in one run, by the size of its weights."""
    files = spec.onnx_file.parent.glob(f"{spec.onnx_file.name}*")
    large = sum(file.stat().st_size for file in files) > _LARGE_BYTES
    return _LARGE_PREFILL_CHUNK if large else _PREFILL_CHUNK


def _parts(ids: Sequence[int], size: int) -> list[Sequence[int]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
