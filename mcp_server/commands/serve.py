"""The command serve: what agent hosts launch."""

import argparse

from engine.engine import Engine
from mcp_server import stdio
from mcp_server.commands.opening import options
from mcp_server.settings import Settings


def serve(_: argparse.Namespace, settings: Settings) -> int:
    """Serves over stdin and stdout until the host leaves."""
    stdio.serve(Engine(options(settings)), settings)
    return 0
