"""Engine: holds embedder, decoder and library, and closes them in order.

The one place that knows which model serves a task.
Blocking, and safe to call from several threads; callers queue for a model themselves.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine import __version__, memory
from engine.acceleration import Acceleration, AccelerationOptions
from engine.budget import Budget, Claim, estimate, least_cache
from engine.decode.decoder import Decoder, DecoderOptions, DecoderStatus
from engine.embed.embedder import Embedder, EmbedderOptions, Placement
from engine.errors import EngineError, ModelMissing, Unavailable
from engine.library import Library
from engine.models import catalog, fetcher, installed
from engine.models.installed import Choice
from engine.models.spec import DecoderSpec, EmbedderSpec, Task
from engine.residency import Resident, State
from engine.runtime import providers
from engine.runtime.qnn.context_cache import Context
from engine.runtime.qnn.devices import Absence, Device
from engine.runtime.qnn.options import NpuOptions

Report = Callable[[str], None]

# Of the caches where memory is limited: what is kept of earlier prompts must leave room to answer.
_PREFIX_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What an engine is opened with."""

    models_dir: Path
    index_file: Path
    embedder: str | None = None
    """A known id or a folder of the user's own; None takes the best installed."""
    decoder: str | None = None
    threads: int = 0
    leaves_core_free: bool = False
    """Whether indexing leaves a core to those who search meanwhile."""
    pull: bool = False
    """Fetch a missing default model when it is first needed."""
    offline: bool = False
    decoding: DecoderOptions = field(default_factory=DecoderOptions)
    """How answers are made; `threads` above holds for them too."""
    placement: EmbedderOptions = field(default_factory=EmbedderOptions)
    """How and where texts are embedded; `threads` above holds for that too."""
    npu: NpuOptions = field(default_factory=NpuOptions)
    compiled_dir: Path | None = None
    """Folder of what is compiled for an NPU; None keeps it beside the models."""
    compiled_bytes: int = 4_000_000_000
    """What that folder may hold; the least recently used leaves first."""
    warn: Callable[[str], None] = lambda text: None
    """Told from any thread, once each, what does not work and is done in another way."""
    memory_limit_bytes: int = 0
    """What models and their caches may hold together, as estimated before they are loaded; 0 is no
    limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """The model of one task, loaded or not."""

    task: Task
    state: State
    why: str
    """Why this model, or why none."""
    model_id: str = ""
    provider: str = ""
    """Where it runs; empty until it is loaded."""
    dimensions: int = 0
    max_tokens: int = 0
    license: str = ""
    source: str = ""
    memory_bytes: int = 0
    """What it takes once it is loaded, without caches, as estimated."""
    obstacle: str = ""
    """Why it cannot be loaded at all under the memory limit, and what to do; empty if it can."""
    idle_seconds: float | None = None
    """How long it has not been used; None while it is in use or not in memory."""
    placement: Placement | None = None
    """Where an embedding model's texts go; None while it is not in memory."""


class Engine:
    """Everything a server or a command needs, opened as it is used."""

    version = __version__
    runtime_version = providers.runtime_version()
    available_providers = providers.available_providers()

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.embedder: Resident[Embedder] = Resident("embedding model", self._open_embedder)
        self.decoder: Resident[Decoder] = Resident("language model", self._open_decoder)
        self._choices: dict[Task, Choice] = {}
        self._budget = Budget(options.memory_limit_bytes)
        self._closing = threading.Event()
        accelerated = AccelerationOptions(
            policy=options.placement.policy,
            npu=options.npu,
            folder=options.compiled_dir or options.models_dir / ".compiled",
            limit_bytes=options.compiled_bytes,
            threads=options.threads,
        )
        self._warn = _once(options.warn)
        self._acceleration = Acceleration(accelerated, self._warn)
        self.library = Library(
            options.index_file,
            self.embedder,
            self._embedder_in_use,
            leaves_core_free=options.leaves_core_free,
        )

    def models(self) -> tuple[ModelStatus, ModelStatus]:
        """The models of the two tasks; loads nothing and waits for nothing."""
        return (
            self._status("embed", self.embedder, self.options.embedder),
            self._status("generate", self.decoder, self.options.decoder),
        )

    def npu(self) -> Device | Absence:
        """The NPU that may be used, or why there is none; looked for once."""
        return self._acceleration.device()

    def compiled(self) -> list[Context]:
        """What is compiled for an NPU and kept on disk, the last used first."""
        return self._acceleration.contexts()

    def fits_together(self) -> bool:
        """Whether both models may be in memory at once; also if one of them is not there."""
        needed = 0
        for task, wanted in self._wanted():
            with suppress(EngineError):
                needed += self._claim(self._chosen(task, wanted).spec).needed_bytes
        return self._budget.holds(needed)

    def answering(self) -> DecoderStatus | None:
        """What the decoder is doing; None while it is not in memory. Waits for nothing."""
        decoder = self.decoder.loaded()
        with suppress(Unavailable):
            return decoder.status() if decoder is not None else None
        return None

    def free_idle(self, idle_seconds: float) -> list[str]:
        """Frees the models that have not been used for so long; their names, for people."""
        return [place.name for place in (self.decoder, self.embedder) if place.free(idle_seconds)]

    def resident_bytes(self) -> int:
        """Bytes of physical memory that the whole process holds now; 0 if that is not known."""
        return memory.resident_bytes()

    def close(self, timeout: float = -1) -> None:
        """Closes models and index; with a timeout in seconds, only what is not in use till then."""
        self._closing.set()
        end = time.monotonic() + timeout
        for part in (self.decoder, self.embedder, self.library):
            part.close(timeout if timeout < 0 else max(0.0, end - time.monotonic()))

    def _placement(self) -> Placement | None:
        embedder = self.embedder.loaded()
        return embedder.placement() if embedder is not None else None

    def _embedder_in_use(self) -> EmbedderSpec | None:
        """The embedder that is in memory, or was."""
        if (model := self.embedder.loaded()) is not None:
            return model.spec
        before = self._choices.get("embed")
        return before.spec if before and isinstance(before.spec, EmbedderSpec) else None

    def _wanted(self) -> tuple[tuple[Task, str | None], ...]:
        return ("embed", self.options.embedder), ("generate", self.options.decoder)

    def _open_embedder(self, report: Report) -> Embedder:
        choice = self._choice("embed", self.options.embedder, report)
        assert isinstance(choice.spec, EmbedderSpec)
        options = replace(self.options.placement, threads=self.options.threads)
        compiled = self._acceleration.encoder(choice.spec)
        with self._budget.room(self._claim(choice.spec), self.embedder, [self.decoder]):
            embedder = Embedder.open(choice.spec, options, compiled=compiled, warn=self._warn)
        self._choices["embed"] = choice
        return embedder

    def _open_decoder(self, report: Report) -> Decoder:
        choice = self._choice("generate", self.options.decoder, report)
        assert isinstance(choice.spec, DecoderSpec)
        with self._budget.room(self._claim(choice.spec), self.decoder, [self.embedder]):
            decoder = Decoder.open(choice.spec, self._decoder_options(choice.spec))
        self._choices["generate"] = choice
        return decoder

    def _claim(self, spec: EmbedderSpec | DecoderSpec) -> Claim:
        needed = estimate(spec)
        if isinstance(spec, DecoderSpec):
            options = self._decoder_options(spec)
            needed += options.kv_limit_bytes + options.prefix_cache_bytes
        else:
            needed += self._acceleration.needed_bytes(spec)
        return Claim(spec.model_id, needed)

    def _decoder_options(self, spec: DecoderSpec) -> DecoderOptions:
        """As asked for, or smaller caches where memory is limited."""
        options = replace(self.options.decoding, threads=self.options.threads)
        share = self._budget.cache_share(estimate(spec))
        if share is None:
            return options
        prefixes = min(options.prefix_cache_bytes, int(_PREFIX_SHARE * share))
        answers = min(options.kv_limit_bytes, max(least_cache(spec), share - prefixes))
        return replace(options, kv_limit_bytes=answers, prefix_cache_bytes=prefixes)

    def _choice(self, task: Task, wanted: str | None, report: Report) -> Choice:
        try:
            choice = self._chosen(task, wanted)
        except ModelMissing:
            if not self.options.pull or self.options.offline:
                raise
            self._fetch(catalog.to_fetch(task, wanted), report)
            choice = self._chosen(task, wanted)
        report(f"loading {choice.spec.model_id}")
        return choice

    def _chosen(self, task: Task, wanted: str | None) -> Choice:
        before = None if wanted else self._same_again(task)
        return before or installed.choose(task, self.options.models_dir, wanted)

    def _same_again(self, task: Task) -> Choice | None:
        """The model that was freed, if it is still there: a better one must not take its place
        while the server runs, for it would not find what the first one indexed."""
        if (before := self._choices.get(task)) is None:
            return None
        with suppress(EngineError):
            found = installed.choose(task, self.options.models_dir, before.spec.model_id)
            return replace(found, reason=before.reason)
        return None

    def _fetch(self, known: catalog.KnownModel, report: Report) -> None:
        steps = fetcher.fetch(known, self.options.models_dir, offline=self.options.offline)
        for progress in steps:
            if self._closing.is_set():
                steps.close()
                raise Unavailable("The server is shutting down; call again once it is back.")
            report(str(progress))

    def _status(
        self, task: Task, place: "Resident[Embedder] | Resident[Decoder]", wanted: str | None
    ) -> ModelStatus:
        model = place.loaded()
        try:
            choice = self._choices.get(task) if model is not None else None
            choice = choice or self._chosen(task, wanted)
        except EngineError as error:
            why = place.activity or str(place.failure or error)
            return ModelStatus(task=task, state=place.state, why=why)
        spec = choice.spec
        why = [choice.reason, place.activity, str(place.failure or "")]
        return ModelStatus(
            task=task,
            state=place.state,
            why="; ".join(filter(None, why)),
            model_id=spec.model_id,
            provider=model.provider if model is not None else "",
            dimensions=spec.dimensions if isinstance(spec, EmbedderSpec) else 0,
            max_tokens=spec.max_tokens,
            license=spec.license,
            source=spec.source,
            memory_bytes=estimate(spec),
            obstacle=self._budget.objection(self._claim(spec)),
            idle_seconds=place.idle_seconds,
            placement=self._placement() if task == "embed" else None,
        )


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tells each sentence once, however often its cause comes back with the next load."""
    told: set[str] = set()

    def tell_once(text: str) -> None:
        if text not in told:
            told.add(text)
            tell(text)

    return tell_once
