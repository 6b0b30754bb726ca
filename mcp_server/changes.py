"""Changes: tells whoever listens that a resource is no longer what it was.

Looks at what resources rest on, so it sees every change whoever made it: a tool, the watcher, the
command line or another program. Rules: it looks while somebody listens, and tells each resource
twice a second at most, however much is indexed meanwhile.
"""

import logging
from typing import Any

from anyio import sleep
from mcp.server.subscriptions import ResourceUpdated

from engine.errors import EngineError
from mcp_server import concurrency
from mcp_server.lifespan import Gateway

logger = logging.getLogger(__name__)

INDEX, MODELS = "index://status", "models://info"
"""The resources whose changes are told."""

_SECONDS = 0.5
"""Between two looks."""


async def tell(gateway: Gateway) -> None:
    """Tells changes for as long as the server runs.

    Who listens when nobody did is told at once: there may have been a change since they read that
    no look has seen.
    """
    before: dict[str, Any] = {}
    beginnings = 0
    while True:
        await gateway.subscribers.somebody()
        if beginnings != gateway.subscribers.beginnings:
            before, beginnings = {}, gateway.subscribers.beginnings
        now = await _seen(gateway)
        for uri, state in now.items():
            if uri not in before or state != before[uri]:
                await gateway.subscribers.publish(ResourceUpdated(uri))
        before = now
        await sleep(_SECONDS)


async def _seen(gateway: Gateway) -> dict[str, Any]:
    """What each resource rests on, to be compared only."""
    return {INDEX: await _index(gateway), MODELS: _models(gateway)}


async def _index(gateway: Gateway) -> Any:
    """What is indexed, and how far a run of indexing is. Makes no index where there is none."""
    library = gateway.engine.library

    def read() -> Any:
        if not gateway.settings.index_file.exists():
            return None
        stored = library.index_statistics()
        found = stored.generation, stored.documents, stored.skipped, library.coverage()
        return found, library.store().collections()

    try:
        return await concurrency.run_abandonable(read), gateway.indexing
    except (EngineError, OSError) as error:
        return str(error)
    except Exception:
        logger.exception("Looking for changes of the index failed")
        return ""


def _models(gateway: Gateway) -> Any:
    places = gateway.engine.embedder, gateway.engine.decoder
    return [(place.state, place.activity, str(place.failure or "")) for place in places]
