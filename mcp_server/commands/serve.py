"""The command serve: what agent hosts launch, and what answers over HTTP."""

import argparse
import logging
from dataclasses import replace

from engine import memory
from engine.engine import Engine
from mcp_server import stdio
from mcp_server.commands.engine_options import options
from mcp_server.launcher import modules
from mcp_server.settings import Settings

logger = logging.getLogger(__name__)


def serve(_: argparse.Namespace, settings: Settings) -> int:
    """Serves over stdin and stdout until the host leaves, or over HTTP until a signal."""
    memory.share_heap()
    if settings.http:
        # By name: a host that launches this over stdio does not wait for a web server's libraries.
        modules.load("mcp_server.http.serving").serve(opened(settings), settings)
    else:
        stdio.serve(opened(settings), settings)
    return 0


def opened(settings: Settings) -> Engine:
    """The engine of a server, which says in its log what does not work."""
    return Engine(replace(options(settings, logger.warning), leaves_core_free=True))
