"""Embedder: the one call that embeds a list of texts.

Knows texts, token ids and vectors. Knows nothing of chunks, stores or event loops.
Rule: a text's vector does not depend on the texts beside it, and no text is cut in silence.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal
from weakref import finalize

from engine.embed.accelerator import Accelerator
from engine.embed.background import Background, spare_threads
from engine.embed.calls import Call, Vectors
from engine.embed.compiled import CompiledModel, ShapeStatus
from engine.embed.embeddings import Embeddings, EmbeddingSteps
from engine.embed.encoder import Encoder
from engine.embed.framing import Framing
from engine.embed.latencies import Latencies
from engine.embed.measuring import samples_ms
from engine.embed.pool import Pool
from engine.embed.proving import Reference
from engine.embed.scheduling import Policy, Scheduler
from engine.errors import Unavailable
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket, buckets
from engine.text.tokenizer import Tokenizer

Kind = Literal["query", "document"]

# How long the CPU may be measured.
_MEASURING_MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderOptions:
    """How texts are embedded."""

    threads: int = 0
    """Threads one run on the CPU may use; 0 for every physical core."""
    # Chosen by examples/benchmarks/embed_batching.py, where the losers stand too: large batches
    # gain nothing, pad more, and keep a caller who waits or has cancelled waiting longer.
    max_batch_tokens: int = 512
    """The most tokens of a batch on the CPU, padding included."""
    max_rows: int = 64
    """The most texts of a batch."""
    policy: Policy = "auto"
    """Where texts go: "auto" is where they are done first."""
    energy_weight: float = 0.0
    """Milliseconds that a millisecond of work on the CPU counts for beside the time it takes; with
    0 only time counts."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where texts are embedded, and why there."""

    policy: Policy
    shapes: tuple[ShapeStatus, ...]
    """What each provider takes and how long that takes; those of a fixed shape with their state."""
    waiting: int
    """Texts that wait for their run now."""


class Embedder:
    """An opened embedding model; `open` makes one."""

    def __init__(
        self,
        spec: EmbedderSpec,
        encoder: Encoder,
        framing: Framing,
        options: EmbedderOptions,
        latencies: Latencies,
    ) -> None:
        self.spec = spec
        self._framing = framing
        self._options = options
        self._cpu = encoder
        scheduler = Scheduler(
            latencies,
            policy=options.policy,
            max_batch_tokens=options.max_batch_tokens,
            max_rows=options.max_rows,
            energy_weight=options.energy_weight,
            repeats=True,
        )
        scheduler.set_shapes(encoder.provider, None)
        self._pool = Pool(scheduler, latencies, encoder)
        self._accelerator: Accelerator | None = None
        self._closing: Callable[[], object] = partial(_close, self._pool, spec.model_id)

    @classmethod
    def open(
        cls,
        spec: EmbedderSpec,
        options: EmbedderOptions | None = None,
        *,
        compiled: CompiledModel | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> "Embedder":
        """Opens a model and proves it on one batch, so that a broken one fails here.

        Args:
            spec: The model, as `models.folder` read it.
            options: How texts are embedded.
            compiled: The model on another provider, which is made ready in the background while
                the CPU serves.
            warn: Told, once each and from any thread, what of that does not work and why.

        Raises:
            ModelBroken: Its graph, tokenizer and configuration do not make one encoder.
        """
        options = options or EmbedderOptions()
        framing = Framing(Tokenizer.open(spec.tokenizer_file), spec.max_tokens)
        encoder = Encoder.on_cpu(spec, options.threads, framing.padding_id)
        used = compiled if options.policy != "cpu" else None
        latencies = Latencies.from_json(used.read_latencies() if used else {})
        embedder = cls(spec, encoder, framing, options, latencies)
        # A broken model fails on what is shortest and longest, and on its last token.
        encoder.run(framing.extremes(), Bucket(2, spec.max_tokens))
        if used is not None:
            embedder._accelerate(used, warn)
        return embedder

    @property
    def provider(self) -> str:
        """The execution providers that take texts now, the CPU last: "npu, cpu"."""
        names = [self._cpu.provider]
        if self._accelerator is not None and self._accelerator.is_serving:
            names.insert(0, self._accelerator.provider)
        return ", ".join(names)

    @property
    def dimensions(self) -> int:
        return self.spec.dimensions

    @property
    def max_tokens(self) -> int:
        """The most tokens read of one text, special tokens included."""
        return self.spec.max_tokens

    @property
    def text_tokens(self) -> int:
        """The most tokens read of one document, special tokens left out."""
        return self._framing.text_tokens

    def embed(self, texts: Sequence[str], kind: Kind, *, truncate: bool = True) -> Embeddings:
        """Embeds texts; `embed_steps` with all its steps taken.

        Args:
            texts: At least one, none of them blank. What exceeds `max_tokens` is cut, and said.
            truncate: Without, a text that exceeds it is refused, and nothing is embedded.
            kind: "query" for what is searched with, "document" for what is searched. Queries are
                embedded before documents that wait.

        Raises:
            EmptyInput: No text, or a blank one; the message names its index.
            InvalidInput: Not a string, or not Unicode text; the message names its index.
            TextTooLong: A text is not to be cut; the message names the first one's index.
            ModelBroken: The model failed on its own tokens.
            Unavailable: The embedder was closed.
        """
        with closing(self.embed_steps(texts, kind, truncate=truncate)) as steps:
            return Embeddings.of(steps, self.spec.model_id)

    @contextmanager
    def in_background(self) -> Generator[Callable[[Sequence[str]], Vectors]]:
        """A way to embed documents that nobody waits for: a core stays free for queries.

        float32[texts, dimensions] for a list of texts, as `embed` gives them up to rounding. Where
        another provider takes texts, or there is one core only, it is `embed`.
        """
        threads = spare_threads(self._options.threads)
        if threads < 1 or self._accelerator is not None:
            yield lambda texts: self.embed(texts, "document").vectors
            return
        most, framing = self._options.max_batch_tokens, self._framing
        background = Background(self.spec, framing.padding_id, threads, most)
        shared = threads == 1
        with self._pool.cpu_runs(background.encoder) if shared else nullcontext():
            yield lambda texts: background.run(list(map(framing.row, framing.contents(texts))))

    def embed_steps(
        self, texts: Sequence[str], kind: Kind, *, truncate: bool = True
    ) -> EmbeddingSteps:
        """Embeds texts one batch a step; what `embed` raises comes with the steps."""
        return EmbeddingSteps(
            self._pool, lambda: self._begun(texts, kind, truncate), self.max_tokens
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special tokens and query prefix left out.

        Raises:
            InvalidInput: Not a string, or not Unicode text; the message names its index.
        """
        return self._framing.count_tokens(texts)

    def tokenize(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Ids of a whole document, however long it is.

        A control token that it spells becomes that token, as the model reads it.

        Args:
            text: Maybe empty.
            special_tokens: Whether those that the model expects around a text are among them.

        Raises:
            InvalidInput: Not Unicode text.
        """
        return self._framing.whole_row(text, special_tokens=special_tokens)

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens as they are spelled; not always the one they came from.

        Raises:
            InvalidInput: The model has no token of such an id.
        """
        return self._framing.text(ids)

    def placement(self) -> Placement:
        """Where texts are embedded now; waits for nothing."""
        measured = self._pool.latencies.rows()
        shapes = [ShapeStatus.of(row) for row in measured if row.provider == self._cpu.provider]
        if self._accelerator is not None:
            shapes += self._accelerator.status()
        return Placement(self._options.policy, tuple(shapes), self._pool.waiting)

    def calibrate(self) -> Placement:
        """Measures every shape that is in service anew, on all providers, within seconds each."""
        self._measure_cpu()
        if self._accelerator is not None:
            self._accelerator.calibrate()
        return self.placement()

    def wait_until_prepared(self) -> None:
        """Returns once every shape of the other provider is in service or has failed."""
        if self._accelerator is not None:
            self._accelerator.wait_until_prepared()

    def close(self) -> None:
        """Frees the model; embedding afterwards raises Unavailable."""
        self._closing()

    def _begun(self, texts: Sequence[str], kind: Kind, truncate: bool) -> tuple[Call, list[int]]:
        """A call for these texts, and each text's tokens before it was cut."""
        prefix = self.spec.query_prefix if kind == "query" else ""
        contents = self._framing.contents(texts, prefix)
        if not truncate:
            self._framing.refuse_longer(contents)
        call = Call(list(map(self._framing.row, contents)), is_query=kind == "query")
        return call, [len(content) + self._framing.special_tokens for content in contents]

    def _measure_cpu(self) -> None:
        """Calibrates the CPU at the lengths that others are compiled for, and for a full batch."""
        most = self._options.max_batch_tokens
        shapes = [
            *buckets(self.max_tokens),
            Bucket(max(1, most // self.max_tokens), self.max_tokens),
        ]
        for bucket in shapes:
            rows = [self._framing.canary(bucket.tokens, row) for row in range(bucket.rows)]
            run = partial(self._cpu.run, rows, bucket)
            samples = samples_ms(partial(_milliseconds, run), _MEASURING_MS / len(shapes))
            self._pool.latencies.calibrate(self._cpu.provider, bucket, samples)

    def _accelerate(self, compiled: CompiledModel, warn: Callable[[str], None]) -> None:
        def encode(session: Session) -> Encoder:
            return Encoder(self.spec, session, self._framing.padding_id)

        reference = Reference(self._cpu, self._framing.canary, self._measure_cpu)
        self._accelerator = Accelerator(compiled, encode, reference, self._pool, warn)
        # At the latest when Python ends: a thread that is then inside the runtime crashes it.
        self._closing = finalize(
            self, _close, self._pool, self.spec.model_id, accelerator=self._accelerator
        )
        self._accelerator.start()


def _close(pool: Pool, model_id: str, *, accelerator: Accelerator | None = None) -> None:
    if accelerator is not None:
        accelerator.interrupt()
    pool.close(Unavailable(f"{model_id} has been closed; open it again."))
    if accelerator is not None:
        accelerator.close()


def _milliseconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started)
