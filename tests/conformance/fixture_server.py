"""The product's server with the suite's fixtures laid over it, on a free port of this machine.

Usage: fixture_server.py DATA_DIR; says its address in one line on stdout. Needs no models.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asking_fixtures
import giving_fixtures
import task_fixtures
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from engine.engine import Engine
from mcp_server import server
from mcp_server.commands.engine_options import options
from mcp_server.http.listening import listening, url
from mcp_server.lifespan import Gateway
from mcp_server.settings import Settings


def application(gateway: Gateway) -> Starlette:
    """All that the product offers, and all that the suite wants besides, with sessions."""
    built = server.build_over(gateway, read_only=False)
    giving_fixtures.add_to(built)
    asking_fixtures.add_to(built)
    task_fixtures.add_to(built, gateway.tasks)
    mcp = built.streamable_http_app()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.running(gateway), built.session_manager.run():
            yield

    return Starlette(routes=[Mount("/", app=mcp)], lifespan=lifespan)


def main() -> None:
    settings = Settings(
        data_dir=Path(sys.argv[1]), models_dir=Path(sys.argv[1]) / "models", offline=True, port=0
    )
    engine = Engine(options(settings))
    with listening(settings) as listener:
        print(url(listener), flush=True)
        config = uvicorn.Config(
            application(Gateway(engine, settings)), log_level="warning", lifespan="on"
        )
        uvicorn.Server(config).run([listener])
    engine.close()


if __name__ == "__main__":
    main()
