"""Embedder: the one call that embeds a list of texts.

Knows texts, token ids and vectors. Knows nothing of chunks, stores or event loops.
Rule: a text's vector does not depend on the texts beside it, and no text is cut in silence.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.embed.batching import plan
from engine.embed.encoder import Encoder
from engine.embed.pooling import unit_vectors
from engine.errors import EmptyInput, InvalidInput, ModelBroken, Unavailable
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Session
from engine.text.tokenizer import Tokenizer

Kind = Literal["query", "document"]

# Chosen by examples/benchmarks/embed.py, where the losers stand too: on a CPU large batches gain
# nothing, pad more, and keep a caller who waits or has cancelled waiting longer.
MAX_BATCH_TOKENS = 512
MAX_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBatch:
    """One step of `embed_steps`: the vectors of the texts that shared a run."""

    indices: tuple[int, ...]
    """Positions in the caller's list; `vectors` and `token_counts` follow their order."""
    vectors: NDArray[np.float32]
    """[rows, dimensions], unit length."""
    token_counts: tuple[int, ...]
    truncated: tuple[int, ...]
    """Those of `indices` whose text was cut."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The vectors of a list of texts, in the list's order."""

    vectors: NDArray[np.float32]
    """[texts, dimensions], unit length."""
    token_counts: tuple[int, ...]
    """What the model read of each text: after truncation, special tokens included."""
    truncated: tuple[int, ...]
    """Indices of the texts that were cut to the model's `max_tokens`."""
    provider: str
    """The execution provider the model ran on."""
    model_id: str

    @property
    def prompt_tokens(self) -> int:
        """All tokens the model read."""
        return sum(self.token_counts)


class Embedder:
    """An opened embedding model; `open` makes one."""

    def __init__(
        self,
        spec: EmbedderSpec,
        encoder: Encoder,
        tokenizer: Tokenizer,
        *,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._spec = spec
        self._encoder: Encoder | None = encoder
        self._tokenizer = tokenizer
        self._max_batch_tokens = max_batch_tokens
        self._max_rows = max_rows
        self._provider = encoder.provider
        self._before, self._after = _frame(tokenizer)

    @classmethod
    def open(
        cls,
        spec: EmbedderSpec,
        *,
        threads: int = 0,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
        max_rows: int = MAX_ROWS,
    ) -> "Embedder":
        """Opens a model and proves it on one batch, so that a broken one fails here.

        Args:
            spec: The model, as `models.folder` read it.
            threads: Threads one run may use; 0 for every physical core.
            max_batch_tokens: The most tokens of a batch, padding included.
            max_rows: The most texts of a batch.

        Raises:
            ModelBroken: Its graph, tokenizer and configuration do not make one encoder.
        """
        tokenizer = Tokenizer.open(spec.tokenizer_file)
        session = Session.open(spec.onnx_file, threads=threads)
        encoder = Encoder(spec, session, _padding_id(tokenizer))
        embedder = cls(
            spec, encoder, tokenizer, max_batch_tokens=max_batch_tokens, max_rows=max_rows
        )
        embedder._prove()
        return embedder

    @property
    def spec(self) -> EmbedderSpec:
        return self._spec

    @property
    def provider(self) -> str:
        """The execution provider the model runs on."""
        return self._provider

    @property
    def dimensions(self) -> int:
        return self._spec.dimensions

    @property
    def max_tokens(self) -> int:
        """The most tokens read of one text, special tokens included."""
        return self._spec.max_tokens

    @property
    def text_tokens(self) -> int:
        """The most tokens read of one document, special tokens left out."""
        return self.max_tokens - len(self._before) - len(self._after)

    def embed(self, texts: Sequence[str], kind: Kind) -> Embeddings:
        """Embeds texts; `embed_steps` with all its steps taken.

        Args:
            texts: At least one, none of them blank. What exceeds `max_tokens` is cut, and said.
            kind: "query" for what is searched with, "document" for what is searched.

        Raises:
            EmptyInput: No text, or a blank one; the message names its index.
            InvalidInput: Not a string, or not Unicode text; the message names its index.
            ModelBroken: The model failed on its own tokens.
        """
        return self.gathered(self.embed_steps(texts, kind))

    def embed_steps(self, texts: Sequence[str], kind: Kind) -> Generator[EmbeddedBatch, None, None]:
        """Embeds texts one batch a step, longest texts first; closing it leaves the rest undone.

        Raises what `embed` raises, at the first step or at the one that failed.
        """
        _refuse_other_types(texts)
        _refuse_empty(texts)
        prefix = self._spec.query_prefix if kind == "query" else ""
        rows = self._tokenizer.encode_batch([prefix + text for text in texts])
        framed = len(self._before) + len(self._after)
        counts = [min(len(row) + framed, self.max_tokens) for row in rows]
        for indices in plan(counts, self._max_batch_tokens, self._max_rows):
            yield EmbeddedBatch(
                indices=tuple(indices),
                vectors=self._vectors([self._framed(rows[index]) for index in indices]),
                token_counts=tuple(counts[index] for index in indices),
                truncated=tuple(i for i in indices if len(rows[i]) + framed > self.max_tokens),
            )

    def gathered(self, batches: Iterable[EmbeddedBatch]) -> Embeddings:
        """All steps of one `embed_steps` as one answer, in the order of its texts."""
        steps = list(batches)
        order = np.argsort(np.concatenate([step.indices for step in steps]))
        counts = np.concatenate([step.token_counts for step in steps])[order]
        return Embeddings(
            vectors=np.concatenate([step.vectors for step in steps])[order],
            token_counts=tuple(int(count) for count in counts),
            truncated=tuple(sorted(index for step in steps for index in step.truncated)),
            provider=self._provider,
            model_id=self._spec.model_id,
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special tokens and query prefix left out.

        Raises:
            InvalidInput: Not a string, or not Unicode text; the message names its index.
        """
        _refuse_other_types(texts)
        return [len(row) for row in self._tokenizer.encode_batch(texts)]

    def close(self) -> None:
        """Frees the model; embedding afterwards raises Unavailable."""
        self._encoder = None

    def _framed(self, row: Sequence[int]) -> list[int]:
        return [*self._before, *row[: self.text_tokens], *self._after]

    def _vectors(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        if self._encoder is None:
            raise Unavailable(f"{self._spec.model_id} has been closed; open it again.")
        states, mask = self._encoder.states(rows)
        vectors = unit_vectors(states, mask, self._spec.pooling)
        if not np.isfinite(vectors).all():
            raise ModelBroken(
                f"{self._spec.model_id} computed values that are not numbers; its weights are "
                "damaged or its precision does not suit this machine: fetch it again."
            )
        return vectors

    def _prove(self) -> None:
        """Runs a short row beside a full one that holds the vocabulary's last token."""
        last = self._tokenizer.vocabulary_size - 1
        self._vectors([self._framed([last] * length) for length in (1, self.max_tokens)])


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens the model expects before and after a text.

    Raises:
        ModelBroken: A text does not stand between them.
    """
    (bare,) = tokenizer.encode_batch(["a"])
    (whole,) = tokenizer.encode_batch(["a"], special_tokens=True)
    starts = [i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare]
    if not starts:
        raise ModelBroken(
            f"{tokenizer.name} does not put its special tokens around the tokens of a text; fetch "
            "the model again."
        )
    start = starts[0]
    return whole[:start], whole[start + len(bare) :]


def _padding_id(tokenizer: Tokenizer) -> int:
    """BERT's or RoBERTa's; padding is masked, so any id serves where there is neither."""
    return tokenizer.token_id("[PAD]") or tokenizer.token_id("<pad>") or 0


def _refuse_other_types(texts: Sequence[object]) -> None:
    if isinstance(texts, str):
        raise InvalidInput("Give a list of texts, not one text.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"Text {index} is a {type(text).__name__}; give a string.")


def _refuse_empty(texts: Sequence[str]) -> None:
    if not texts:
        raise EmptyInput("There is nothing to embed; give at least one text.")
    for index, text in enumerate(texts):
        if not text.strip():
            raise EmptyInput(f"Text {index} is empty; leave it out or give it some text.")
