"""Gateway: what the tools share while the server runs; and its start and stop.

Models load in the background, so that a host's handshake never waits for one. A model stays in
memory while a call uses it, and leaves when nobody has for a while.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter, Event, create_task_group, sleep

from engine.documents.progress import IndexProgress
from engine.embed.embedder import Embedder, Kind
from engine.embed.embeddings import Embeddings
from engine.engine import Engine
from engine.errors import EngineError, ModelMissing, Unavailable
from engine.residency import Resident
from engine.search.search import Matches, SearchRequest
from mcp_server import concurrency, placement, rendering, reports
from mcp_server.loading import Loading, ModelT, Tell
from mcp_server.measures import NOBODY, Embedded, Measures, Placed, Searched
from mcp_server.rendering import count
from mcp_server.results import ModelsInfo, StatusResult
from mcp_server.settings import Settings
from mcp_server.subscribers import Subscribers
from mcp_server.tasks.store import Tasks

logger = logging.getLogger(__name__)

T = TypeVar("T")

_EMBEDDING = 64
"""Calls whose texts may wait for vectors at once, a thread each."""

_READING, _WAITING_TO_READ = 16, 1_000
"""Calls that read the index at once, and that wait for their turn."""

_TOKENISING, _WAITING_TO_TOKENISE = 4, 256
"""Calls whose prompts are made ready or counted at once, a thread each, and that wait for that."""

_LOOK_SHARE, _LOOK_SECONDS = 0.1, 15.0
"""How often idle models are looked for: after this share of the idle time, or so many seconds."""


class Stopping(Unavailable):
    """The server takes no new work, or has no time left for what it has."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down; call again once it is back.")


class StillLoading(Unavailable):
    """A call has waited for its model as long as it may."""

    def __init__(self) -> None:
        super().__init__("The model is still being loaded; call again in a moment.")


_STOOD_IN = ("quarantined", "preparing")
"""Codes of an NPU in whose place the CPU works."""

Background = Callable[["Gateway"], Coroutine[Any, Any, None]]


class Gateway:
    """The engine and its queues, each served in order of arrival."""

    def __init__(self, engine: Engine, settings: Settings, measures: Measures = NOBODY) -> None:
        self.engine = engine
        self.settings = settings
        self.measures = measures
        """Told what is done."""
        self.index_queue = concurrency.Queue(engine.library.interrupt)
        """For one change or step of the index: others get their turn between two steps."""
        self.index_runs = CapacityLimiter(1)
        """For a whole run of indexing: an index has one indexer."""
        self.indexing = ""
        """How far the run of indexing is; empty while there is none."""
        self.reads = concurrency.Admission(
            _READING,
            _WAITING_TO_READ,
            f"{_WAITING_TO_READ} calls wait for the index: call again in a moment.",
        )
        """For calls that only read the index, a thread each: they wait for no step of indexing."""
        self.answers = concurrency.Admission(
            settings.slots,
            settings.queue,
            f"{count(settings.slots, 'call')} in work and {count(settings.queue, 'more call')} "
            "waiting are all that this server takes: call again in a few seconds.",
            patience=settings.queue_seconds,
        )
        """For a whole answer: a decoder writes a few at once."""
        self.embeddings = concurrency.Admission(
            _EMBEDDING,
            _EMBEDDING,
            f"{_EMBEDDING} calls are embedding and as many are waiting: call again in a moment.",
        )
        """For the texts of a call, which share runs with those of other calls."""
        self.tokenising = concurrency.Admission(
            _TOKENISING,
            _WAITING_TO_TOKENISE,
            f"{_WAITING_TO_TOKENISE} calls wait for their tokens: call again in a moment.",
        )
        """For texts that are made into prompts or tokens, and counted."""
        self.embedder_loaded = Event()
        """Set once the first load of the embedding model has ended, one way or the other."""
        self.warm = Event()
        """Set once the models that load by themselves have been used, where somebody sees to it."""
        self.is_draining = False
        """Whether no new work is taken; set by a server that is about to end."""
        self.stopping = Event()
        """Set when answers that are still being written have to end."""
        self.subscribers = Subscribers()
        """Who is told of changes, on all servers over this gateway."""
        self.tasks = Tasks()
        """Calls that go on after their request was answered."""
        self._loading = Loading()

    def models_info(self) -> ModelsInfo:
        """Models and what they do now; blocks a little, waits for no model."""
        return reports.models_info(self.engine, self.settings, self.answers.waiting)

    def status(self) -> StatusResult:
        """`models_info` and the index; blocks while the index is read."""
        return reports.status(self.engine, self.settings, self.answers.waiting, self.indexing)

    async def read(self, call: Callable[[], T], caller: str = "") -> T:
        """What a call finds that only reads the index. A cancelled caller leaves it to itself."""
        return await self.reads.run(call, caller)

    async def tokenised(self, call: Callable[[], T], caller: str = "") -> T:
        """What a call makes of texts before a model reads them. As `read` does."""
        return await self.tokenising.run(call, caller)

    async def index(
        self,
        steps: Generator[IndexProgress],
        goes_on: Callable[[IndexProgress], Awaitable[bool]],
    ) -> IndexProgress | None:
        """Takes the steps of a run of indexing when no other run is under way; the last one taken.

        Args:
            steps: The run; closed in the end.
            goes_on: Told each step; what it answers decides whether there is another one.

        Raises:
            IndexerBusy: Another program indexes.
        """
        last: IndexProgress | None = None
        async with self.index_runs:
            try:
                async with self.index_queue.steps(steps) as coming:
                    async for last in coming:
                        self.indexing = rendering.progress(last)
                        if not await goes_on(last):
                            break
            finally:
                self.indexing = ""
        return last

    async def why_no_embedder(self, tell: Tell) -> str:
        """Waits for the embedding model; why there is none, or empty.

        Raises:
            EngineError: There is one, but it cannot be loaded.
        """
        try:
            async with self.model(self.engine.embedder, tell):
                return ""
        except ModelMissing as error:
            return str(error)

    def model(self, place: Resident[ModelT], tell: Tell) -> AbstractAsyncContextManager[ModelT]:
        """The model of a place, to be used within the block; a caller who waits is told so each
        second.

        Raises:
            EngineError: It cannot be loaded; the sentence says what mends it.
        """
        return self._loading.model(place, tell)

    async def embedded(
        self, embedder: Embedder, texts: Sequence[str], kind: Kind, *, truncate: bool = True
    ) -> Embeddings:
        """The vectors of texts; a caller who is cancelled leaves once a run under way has ended.

        Raises:
            EngineError: As `Embedder.embed` does.
        """
        began = time.perf_counter()
        steps = embedder.embed_steps(texts, kind, truncate=truncate)
        # In one thread to the end: each step by itself would cost a short text a millisecond more.
        batches = await concurrency.Queue(steps.close).run(lambda: list(steps))
        found = Embeddings.of(batches, embedder.spec.model_id)
        self.measures.record(Embedded(found.prompt_tokens, time.perf_counter() - began))
        self._tell_placed(embedder, found)
        return found

    def _tell_placed(self, embedder: Embedder, found: Embeddings) -> None:
        """Tells which providers made vectors, and whether the CPU did so for an NPU that cannot."""
        why = placement.code(self.engine, embedder.placement)
        is_wanting = self.settings.policy == "npu" or why in _STOOD_IN
        for provider in set(found.providers):
            fell_back = provider == "cpu" and is_wanting
            self.measures.record(Placed("embed", provider, why, fell_back))

    async def searched(
        self,
        request: SearchRequest,
        tell: Tell,
        report: Callable[[Matches], T],
        caller: str = "",
    ) -> T:
        """What `report` makes of what is found. Without an embedding model words have to do.

        Args:
            request: What is looked for.
            tell: Told while the embedding model is being loaded.
            report: Blocks while the index is read.
            caller: Who asks: those who wait are served in turn.

        Raises:
            EngineError: The query is blank, the index cannot be read, or `report` raised it.
        """
        began = time.perf_counter()
        question, why_not = await self._question(request, tell, caller)
        library = self.engine.library
        told = await self.read(lambda: report(library.found(request, question, why_not)), caller)
        self.measures.record(Searched(time.perf_counter() - began))
        return told

    async def _question(
        self, request: SearchRequest, tell: Tell, caller: str
    ) -> tuple[Embeddings | None, str]:
        """The embedded query, or none and why."""
        if request.mode == "keyword":
            return None, ""
        async with AsyncExitStack() as held:
            try:
                model = await held.enter_async_context(self.model(self.engine.embedder, tell))
            except EngineError as error:
                return None, str(error)
            await held.enter_async_context(self.embeddings.slot(caller))
            try:
                return await self.embedded(model, [request.query], "query"), ""
            except Unavailable as error:
                return None, str(error)

    @asynccontextmanager
    async def running(self, *background: Background) -> AsyncGenerator["Gateway"]:
        """Loads models and frees idle ones while the server answers, until it ends.

        Args:
            background: What else is done meanwhile, and stopped in the end.
        """
        async with create_task_group() as tasks:
            self._loading.tasks = self.tasks.group = tasks
            tasks.start_soon(self.tasks.keep_forgetting)
            tasks.start_soon(self._load_all)
            for work in background:
                tasks.start_soon(work, self)
            if self.settings.idle_seconds:
                tasks.start_soon(self._free_idle)
            yield self
            tasks.cancel_scope.cancel()

    async def _load_all(self) -> None:
        await self._loading.begin(self.engine.embedder).ended.wait()
        self.embedder_loaded.set()
        if await concurrency.run_abandonable(self.engine.fits_together):
            await self._loading.begin(self.engine.decoder).ended.wait()

    async def _free_idle(self) -> None:
        idle = self.settings.idle_seconds
        while True:
            await sleep(min(_LOOK_SECONDS, idle * _LOOK_SHARE))
            try:
                names = await concurrency.run_abandonable(lambda: self.engine.free_idle(idle))
            except Exception:
                logger.exception("Unloading an idle model failed")
            else:
                for name in names:
                    logger.info("Unloaded the %s: not used for %d s", name, idle)
