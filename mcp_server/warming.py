"""Uses each model once before anybody asks for it: the first request is as fast as the others.

Rule: only what loads by itself is warmed up; what cannot be loaded holds nothing up.
"""

import logging

from engine.decode.sampling import SamplingParams
from engine.errors import EngineError
from engine.text.chat import Message
from mcp_server import concurrency
from mcp_server.generation import generating
from mcp_server.lifespan import Gateway
from mcp_server.loading import untold

logger = logging.getLogger(__name__)

_PARAMS = SamplingParams(max_tokens=4)


async def warm_up(gateway: Gateway) -> None:
    """Embeds a text and writes a few tokens, then sets `Gateway.warm`."""
    await gateway.embedder_loaded.wait()
    works = [_embed]
    if await concurrency.run_abandonable(gateway.engine.fits_together):
        works.append(_generate)
    for work in works:
        try:
            await work(gateway)
        except EngineError as error:
            logger.debug("Not warmed up: %s", error)
        except Exception:
            logger.exception("Warming up failed")
    gateway.warm.set()


async def _embed(gateway: Gateway) -> None:
    async with gateway.model(gateway.engine.embedder, untold) as embedder:
        await gateway.embedded(embedder, ["ready"], "query")


async def _generate(gateway: Gateway) -> None:
    messages = [Message("user", "Hello")]
    async with generating(
        gateway, lambda decoder: [decoder.generate(messages, _PARAMS)], untold
    ) as generation:
        async for _ in generation.pieces:
            pass
