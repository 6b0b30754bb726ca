"""Generation: the pieces of one or several answers as they come, for tools and routes alike.

Knows slots, models and the event loop; knows nothing of what is asked or of any wire. A caller who
leaves ends the answers after the running step.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine.decode.decoder import Answer, Decoder, Piece
from engine.decode.interleaved import Interleaved
from mcp_server.ahead import ahead
from mcp_server.lifespan import Gateway, Stopping
from mcp_server.loading import Tell
from mcp_server.measures import Generated, Placed

Pieces = list[tuple[int, Piece]]
"""Pieces that came together, each with the position of its answer."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Answers in work."""

    decoder: Decoder
    """That writes them; it stays in memory meanwhile."""
    coming: AsyncGenerator[Pieces]
    """As they come. What is wrong with the request comes with the first."""

    @property
    async def pieces(self) -> AsyncGenerator[tuple[int, Piece]]:
        """One by one."""
        async for pieces in self.coming:
            for piece in pieces:
                yield piece


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
    watch = _Watch()
    async with (
        gateway.answers.slot(caller),
        gateway.model(gateway.engine.decoder, tell) as decoder,
    ):
        answers = Interleaved(begin(decoder))
        try:
            async with ahead(answers, answers.interrupt) as coming:
                yield Generation(decoder, _until_stopping(gateway, coming, watch))
        finally:
            if watch.pieces:
                gateway.measures.record(watch.told())
                gateway.measures.record(Placed("generate", decoder.provider, "policy"))


async def _until_stopping(
    gateway: Gateway, coming: AsyncGenerator[list[Pieces]], watch: "_Watch"
) -> AsyncGenerator[Pieces]:
    async for made in coming:
        pieces = made[0] if len(made) == 1 else [one for some in made for one in some]
        for _, piece in pieces:
            watch.see(piece)
        yield pieces
        if gateway.stopping.is_set():
            raise Stopping


class _Watch:
    """When tokens came, and how many."""

    def __init__(self) -> None:
        self.pieces = 0
        self._began = time.perf_counter()
        self._first = self._last = 0.0
        self._prompt_tokens = self._completion_tokens = 0

    def see(self, piece: Piece) -> None:
        """Takes note of a piece."""
        self.pieces += 1
        if piece.token_id is not None:
            self._completion_tokens += 1
            self._last = time.perf_counter()
            self._first = self._first or self._last
        if piece.usage is not None:
            self._prompt_tokens = piece.usage.prompt_tokens

    def told(self) -> Generated:
        """What there is to tell; the prompt is counted where one answer came to its end."""
        return Generated(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            first_token_seconds=self._first - self._began if self._first else 0.0,
            decode_seconds=self._last - self._first,
        )
