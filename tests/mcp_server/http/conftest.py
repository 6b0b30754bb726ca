"""A gateway served over real HTTP, with the real default models in memory and three notes indexed.

One for all tests of a process: what changes it needs a server of its own (`serve`).
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
import uvicorn
from homes import NOTES, Home

from mcp_server.http import app
from mcp_server.http.guard import Guard
from mcp_server.http.listening import listening
from mcp_server.http.serving import config
from mcp_server.http.tracing import NO_TRACING, Tracing
from mcp_server.lifespan import Gateway
from mcp_server.settings import Settings

STARTING_SECONDS = 120


@dataclass(frozen=True)
class Served:
    """A server that is running, and how to reach it."""

    url: str
    """Without a path."""
    gateway: Gateway
    http: httpx2.Client

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.get(path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.http.post(path, json=body, **options)


class _Thread(uvicorn.Server):
    """uvicorn beside the tests, which tells when it answers and its models have been used."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._gateway.warm.wait()
        self.is_up.set()


@contextmanager
def serving(
    home: Home,
    tracing: Tracing = NO_TRACING,
    configured: Callable[[Guard], uvicorn.Config] = config,
    **changes: Any,
) -> Iterator[Served]:
    """Serves a home's models and index on a free port within the block."""
    settings = replace(home.settings, **changes)
    engine = home.engine(**changes)
    gateway = app.counted(engine, settings)
    server = _Thread(configured(app.build(gateway, tracing)), gateway)
    with listening(replace(settings, port=0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            assert server.is_up.wait(STARTING_SECONDS)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx2.Client(base_url=url, timeout=60) as http:
                yield Served(url, gateway, http)
        finally:
            server.should_exit = True
            thread.join(STARTING_SECONDS)
            engine.close()
            assert not thread.is_alive()


Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def serve(home) -> Serve:
    """Serves a home of the test's own, with other settings."""
    return lambda **changes: serving(home, **changes)


@pytest.fixture(scope="session")
def served(tmp_path_factory, models_dir, loaded_embedder, loaded_decoder) -> Iterator[Served]:
    """The server that tests share; they change nothing in it."""
    place = tmp_path_factory.mktemp("served")
    documents = place / "documents"
    documents.mkdir()
    for name, text in NOTES.items():
        (documents / name).write_text(text, encoding="utf-8")
    settings = Settings(data_dir=place / "data", models_dir=models_dir, root=(documents,))
    home = Home(settings, documents, loaded_embedder, loaded_decoder)
    with serving(home) as running:
        library = running.gateway.engine.library
        for _ in library.index(documents.resolve()):
            pass
        yield running
