"""Generation: the pieces of one or several answers as they come, for tools and routes alike.

Knows slots, models and the event loop; knows nothing of what is asked or of any wire. A caller who
leaves ends the answers after the running step.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine.decode.decoder import Answer, Decoder, Piece
from engine.decode.interleaved import Interleaved
from mcp_server import concurrency
from mcp_server.lifespan import Gateway, Stopping
from mcp_server.loading import Tell


@dataclass(frozen=True, slots=True)
class Generation:
    """Answers in work."""

    decoder: Decoder
    """That writes them; it stays in memory meanwhile."""
    pieces: AsyncGenerator[tuple[int, Piece]]
    """Each with the position of its answer. What is wrong with the request comes with the first."""


@asynccontextmanager
async def generating(
    gateway: Gateway,
    begin: Callable[[Decoder], Sequence[Answer]],
    tell: Tell,
    caller: str = "",
) -> AsyncGenerator[Generation]:
    """Holds one place among the answers of a gateway within the block.

    Args:
        gateway: Whose decoder answers.
        begin: Makes the answers, which have not begun.
        tell: Told while the model is being loaded.
        caller: Who asks: those who wait are served in turn.

    Raises:
        EngineError: No place, or no model.
    """
    async with (
        gateway.answers.slot(caller),
        gateway.model(gateway.engine.decoder, tell) as decoder,
    ):
        answers = Interleaved(begin(decoder))
        async with concurrency.Queue(answers.interrupt).steps(answers) as coming:
            yield Generation(decoder, _until_stopping(gateway, coming))


async def _until_stopping(
    gateway: Gateway, coming: AsyncGenerator[tuple[int, Piece]]
) -> AsyncGenerator[tuple[int, Piece]]:
    async for indexed in coming:
        yield indexed
        if gateway.stopping.is_set():
            raise Stopping
