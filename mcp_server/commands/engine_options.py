"""What the engine needs of the settings; knows no terminal, which a server does without."""

from collections.abc import Callable
from dataclasses import replace

from engine.decode.decoder import DecoderOptions
from engine.embed.embedder import EmbedderOptions
from engine.engine import EngineOptions, NpuOptions
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
