"""Home: one user's folders, settings and notes, with real models that are in memory already."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcp import Client

from engine.decode.decoder import Decoder
from engine.embed.embedder import Embedder
from engine.engine import Engine
from engine.residency import Resident
from mcp_server.commands.engine_options import options
from mcp_server.server import build
from mcp_server.settings import Settings

NOTES = {
    "tides.md": "# Tides\n\nThe sea rises and falls twice a day because the moon pulls at it.\n",
    "bread.md": "# Bread\n\nKnead the dough until it is smooth, then let it rise overnight.\n",
    "cycling.txt": "Oil the chain every two hundred kilometres and wipe off the rest.\n",
}


class Kept:
    """A model that outlives the engines that use it: closing it does nothing."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def close(self) -> None:
        """Left open for the next test."""


@dataclass
class Home:
    """One user's folders and settings, and the real models already in memory."""

    settings: Settings
    documents: Path
    embedder: Embedder
    decoder: Decoder

    def engine(self, **changes: Any) -> Engine:
        engine = Engine(options(replace(self.settings, **changes)))
        self.use_embedder(engine, lambda _: Kept(self.embedder))
        engine.decoder = Resident("language model", lambda _: Kept(self.decoder))
        return engine

    @staticmethod
    def use_embedder(engine: Engine, load: Callable[..., Any]) -> None:
        """Has an engine embed with what `load` gives it."""
        engine.embedder = Resident("embedding model", load)
        engine.library._embedder = engine.embedder

    @asynccontextmanager
    async def client(self, era: str, **changes: Any) -> AsyncGenerator[Client]:
        engine = self.engine(**changes)
        try:
            server = build(engine, replace(self.settings, **changes))
            async with Client(server, mode=era) as client:
                yield client
        finally:
            engine.close()
