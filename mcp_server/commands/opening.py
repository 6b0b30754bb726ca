"""Opens the engine and the terminal for a command."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from engine.decode.decoder import DecoderOptions
from engine.engine import Engine, EngineOptions
from mcp_server.settings import MB, Settings


def options(settings: Settings) -> EngineOptions:
    """What the engine needs of the settings."""
    return EngineOptions(
        models_dir=settings.models_folder,
        index_file=settings.index_file,
        embedder=settings.embedder or None,
        decoder=settings.decoder or None,
        threads=settings.threads,
        pull=settings.pull,
        offline=settings.offline,
        decoding=DecoderOptions(
            slots=settings.slots,
            kv_limit_bytes=settings.kv_limit_mb * MB,
            prefix_cache_bytes=settings.prefix_cache_mb * MB,
            kv_dtype="float16" if settings.kv_float16 else None,
            speculate=not settings.no_speculation,
        ),
        memory_limit_bytes=settings.memory_limit_mb * MB,
    )


@contextmanager
def engine(settings: Settings) -> Generator[Engine]:
    """An engine that is closed when the command ends."""
    opened = Engine(options(settings))
    try:
        yield opened
    finally:
        opened.close()


def results() -> Console:
    """Where results go: colours and boxes on a terminal, plain lines elsewhere."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def notes() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
