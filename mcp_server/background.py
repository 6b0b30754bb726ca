"""Indexing beside the conversation: texts that lack vectors get theirs, watched folders stay fresh.

Takes one step at a time through the index queue, and gives way to whoever asks for a run of
indexing. Rule: a failure is logged and tried again later; nobody waits for this.
"""

import logging
from collections.abc import Generator

from anyio import sleep

from engine.documents.progress import IndexProgress
from engine.documents.watcher import changed_paths
from engine.errors import EngineError, IndexerBusy
from engine.library import Library
from mcp_server import concurrency, roots
from mcp_server.lifespan import Background, Gateway
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 30.0
"""After which it is looked again whether texts lack vectors."""

_TICKS_PER_LOOK = 25
"""Of the watcher, five a second: how often it is looked whether there are other collections."""


def work(settings: Settings) -> list[Background]:
    """What a server does beside the conversation."""
    if settings.read_only:
        return []
    return [_embed_lacking, _watch] if settings.watch else [_embed_lacking]


async def _embed_lacking(gateway: Gateway) -> None:
    """Embeds what the model in use has not embedded yet, as after a change of the model."""
    library = gateway.engine.library
    await gateway.embedder_loaded.wait()
    while True:
        try:
            if gateway.settings.index_file.exists() and await gateway.read(library.lacks_vectors):
                await _run(gateway, _lacking(library))
        except EngineError as error:
            logger.info("Texts without vectors wait: %s", error)
        except Exception:
            logger.exception("Embedding in the background failed")
        await sleep(_AGAIN_SECONDS)


def _lacking(library: Library) -> Generator[IndexProgress]:
    """Embeds what is lacking once it is its turn: nothing, if the run before has embedded it."""
    if library.lacks_vectors():
        yield from library.embed_lacking()


async def _watch(gateway: Gateway) -> None:
    """Keeps the collections under allowed roots up to date."""
    while True:
        try:
            await _watch_collections(gateway)
        except EngineError as error:
            logger.info("Watching goes on later: %s", error)
        except Exception:
            logger.exception("Watching failed")
        await sleep(_AGAIN_SECONDS)


async def _watch_collections(gateway: Gateway) -> None:
    """Watches until there are other collections to watch."""
    while True:
        watched = await gateway.read(lambda: _watched(gateway))
        late: frozenset[str] = frozenset(watched)
        ticks = 0
        async with concurrency.Queue().steps(changed_paths(watched)) as coming:
            async for changed in coming:
                late |= changed
                if late and await _run(gateway, gateway.engine.library.index_changed(late)):
                    late = frozenset[str]()
                ticks += 1
                if ticks % _TICKS_PER_LOOK == 0 and watched != await gateway.read(
                    lambda: _watched(gateway)
                ):
                    break


def _watched(gateway: Gateway) -> list[str]:
    collections = gateway.engine.library.store().collections()
    return roots.allowed_among((one.root for one in collections), gateway.settings.root)


async def _run(gateway: Gateway, steps: Generator[IndexProgress]) -> bool:
    """Takes the steps of a run while nobody asks for another one; whether all were taken.

    None are while another program indexes.
    """

    async def goes_on(_: IndexProgress) -> bool:
        return not gateway.index_runs.statistics().tasks_waiting

    try:
        last = await gateway.index(steps, goes_on)
    except IndexerBusy:
        return False
    return last is not None and last.is_last
