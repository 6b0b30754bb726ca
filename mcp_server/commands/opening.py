"""Opens the engine and the terminal for a command."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from engine.decode.decoder import DecoderOptions
from engine.embed.embedder import EmbedderOptions
from engine.engine import Engine, EngineOptions, NpuOptions
from engine.errors import NpuFailed
from mcp_server.settings import MB, BadSetting, Settings


def _silent(_: str) -> None:
    """For whoever looks at the state itself."""


def options(settings: Settings, warn: Callable[[str], None] = _silent) -> EngineOptions:
    """What the engine needs of the settings.

    Args:
        settings: All of them.
        warn: Told, from any thread, what does not work and is done in another way.

    Raises:
        BadSetting: The simulator is to stand for a SoC that is not known.
    """
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
        placement=EmbedderOptions(policy=settings.policy, energy_weight=settings.energy_weight),
        npu=_npu_options(settings),
        compiled_dir=settings.compiled_folder,
        compiled_bytes=settings.compiled_mb * MB,
        warn=warn,
        memory_limit_bytes=settings.memory_limit_mb * MB,
    )


def _npu_options(settings: Settings) -> NpuOptions:
    own = settings.npu_options
    if not settings.htp_simulator:
        return NpuOptions(provider_options=own)
    chosen = NpuOptions(simulator=True, soc=settings.htp_simulator)
    try:
        chosen.check()
    except NpuFailed as failure:
        raise BadSetting(f"--htp-simulator: {failure}") from failure
    return replace(chosen, provider_options=own)


@contextmanager
def engine(settings: Settings) -> Generator[Engine]:
    """An engine that is closed when the command ends."""
    opened = Engine(options(settings, lambda text: notes().print(text, markup=False)))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def embedding_engine(settings: Settings) -> Generator[Engine]:
    """The same for a command that embeds. With the policy npu it first waits until the NPU takes
    texts, which the CPU would otherwise have embedded before."""
    with engine(settings) as opened:
        if settings.policy == "npu":
            with opened.embedder.lease() as embedder:
                embedder.wait_until_prepared()
        yield opened


def results() -> Console:
    """Where results go: colours and boxes on a terminal, plain lines elsewhere."""
    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def notes() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
