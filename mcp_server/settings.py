"""Settings: the one reader of arguments, environment and configuration file.

Each field is declared once; its flag, its environment name, its help and README's table follow
from that. Order: command line, environment, file, default. A bad value stops the start, by name;
which SoCs there are, only the engine knows, and `commands.opening` asks it. Names and values of
--npu-option stop nothing: with a bad one the CPU serves, and log, status and doctor say why.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import platformdirs

from mcp_server import options, values
from mcp_server.options import BadSetting, Use, option

MB = 1_000_000
_MOST_MB = 16_000_000
_EMBEDDING_COMMANDS = frozenset(
    ["serve", "config", "index", "reindex", "watch", "search", "embed", "doctor", "calibrate"]
)
_EMBEDDING = Use(_EMBEDDING_COMMANDS)
_MODELS = Use(_EMBEDDING_COMMANDS | {"generate"})
_ANSWERING = Use(frozenset(["serve", "config", "generate", "doctor"]))
_SERVING = Use(frozenset(["serve", "config"]))
_HTTP = Use(frozenset(["serve"]), needs="http")
LOG_LEVELS = ("debug", "info", "warning", "error")
POLICIES = ("auto", "npu", "cpu")

_served = partial(option, use=_SERVING)
_over_http = partial(option, use=_HTTP)


def _default_data_dir() -> Path:
    return Path(platformdirs.user_data_dir("npu-gateway", appauthor=False))


def _default_config() -> Path:
    return Path(platformdirs.user_config_dir("npu-gateway", appauthor=False)) / "config.toml"


def documents_folder() -> Path:
    """Where this user keeps documents: in some languages, and with OneDrive, not in Documents."""
    return platformdirs.user_documents_path()


_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be set, as plain values."""

    config: Path | None = option(
        None,
        "TOML file of settings, by their names with underscores; default: config.toml in the "
        "user's folder of configuration, if it is there.",
        values.folder,
        "FILE",
    )
    data_dir: Path = option(
        _default_data_dir,
        "Folder of the index and, unless set apart, the models.",
        values.folder,
        "DIR",
    )
    models_dir: Path | None = option(
        None, "Folder of the models; default: models in the data dir.", values.folder, "DIR"
    )
    embedder: str = option(
        "",
        "Embedding model: an id from `npu-gateway models` or a folder of your own; "
        "default: the best one installed.",
        str,
        "ID|PATH",
    )
    decoder: str = option(
        "",
        "Language model: an id from `npu-gateway models` or a folder of your own; "
        "default: the best one installed.",
        str,
        "ID|PATH",
    )
    threads: int = option(
        0,
        "Threads a model run may use; 0 takes all cores.",
        values.whole(0, 1024, " (all cores)"),
        "N",
    )
    policy: Literal["auto", "npu", "cpu"] = option(
        "auto",
        "Where texts are embedded: auto is where each is done first, npu the NPU as far as it "
        "serves, cpu never the NPU.",
        values.one_of(POLICIES),
        "POLICY",
        use=_EMBEDDING,
    )
    htp_simulator: str = option(
        "",
        "Where there is no NPU, let the simulator of its processor stand in for it, as that of "
        "the SoC of this number (60 is the X Elite's); far slower than the CPU, for tests.",
        values.soc_number,
        "SOC",
        use=_EMBEDDING,
    )
    npu_option: tuple[str, ...] = option(
        (),
        "Provider option for the NPU, from a list of allowed ones; may be repeated.",
        values.named_values,
        "NAME=VALUE",
        many=os.pathsep,
        use=_EMBEDDING,
    )
    energy_weight: float = option(
        0.0,
        "Milliseconds that a millisecond of work on the CPU counts for beside the time it "
        "takes, when auto chooses; 0 counts only time.",
        values.not_negative,
        "N",
        use=_EMBEDDING,
    )
    compiled_mb: int = option(
        4_000,
        "Disk space for what is compiled for the NPU; the least recently used goes first.",
        values.whole(1, _MOST_MB),
        "MB",
        use=_EMBEDDING,
    )
    memory_limit_mb: int = option(
        0,
        "Memory that models may take together: a model that is not in use leaves for one that "
        "would not fit beside it; 0 is no limit.",
        values.whole(0, _MOST_MB, " (no limit)"),
        "MB",
        use=_MODELS,
    )
    kv_limit_mb: int = option(
        2_000,
        "Memory that the keys and values of all answers being written may take.",
        values.whole(1, _MOST_MB),
        "MB",
        use=_ANSWERING,
    )
    kv_float16: bool = option(
        False,
        "Keep keys and values in 16 bits where the model allows it: half the memory, and an "
        "answer may differ a little.",
        values.switch,
        None,
        use=_ANSWERING,
    )
    no_speculation: bool = option(
        False,
        "Choose one token a run, without drafts: slower where a text repeats itself.",
        values.switch,
        None,
        use=_ANSWERING,
    )
    offline: bool = option(False, "Never touch the network.", values.switch, None)
    log_level: str = option(
        "warning",
        "What goes to stderr: " + ", ".join(LOG_LEVELS) + ".",
        values.one_of(LOG_LEVELS),
        "LEVEL",
    )
    root: tuple[Path, ...] = _served(
        (),
        "Folder that index_documents may read, with all below it; may be repeated.",
        values.folders,
        "DIR",
        many=os.pathsep,
    )
    read_only: bool = _served(False, "Offer no tool that changes the index.", values.switch, None)
    watch: bool = _served(
        False,
        "Keep what is indexed under a --root up to date in the background.",
        values.switch,
        None,
    )
    tools: tuple[str, ...] = _served(
        (),
        "Offer only these tools, comma-separated; default: all.",
        values.tool_names,
        "A,B",
        many=os.pathsep,
    )
    pull: bool = _served(
        False,
        "Fetch missing default models in the background.",
        values.switch,
        None,
    )
    slots: int = _served(
        4,
        "Answers written at once; more wait their turn.",
        values.whole(1, 64),
        "N",
    )
    queue: int = _served(
        32,
        "Calls that may wait for a slot; the next one is refused.",
        values.whole(0, 10_000),
        "N",
    )
    prefix_cache_mb: int = _served(
        256,
        "Memory for the beginnings of earlier prompts, which need not be read again; 0 keeps none.",
        values.whole(0, _MOST_MB, " (none)"),
        "MB",
    )
    idle_seconds: int = _served(
        300,
        "A model not used for so long is unloaded, and loaded again at its next use; 0 keeps it.",
        values.whole(0, 31_536_000, " (never)"),
        "N",
    )
    queue_seconds: int = _served(
        60,
        "How long a call may wait for its turn before it is refused.",
        values.whole(1, 3_600),
        "N",
    )
    json_logs: bool = _served(False, "Log lines as JSON objects.", values.switch, None)
    http: bool = _served(False, "Serve over HTTP instead of stdin and stdout.", values.switch, None)
    host: str = _over_http("127.0.0.1", "Address to listen on.", values.host, "HOST")
    port: int = _over_http(
        8642, "Port to listen on; 0 takes a free one.", values.whole(0, 65_535), "N"
    )
    uds: Path | None = option(
        None,
        "Unix socket to listen on, in place of address and port.",
        values.folder,
        "PATH",
        use=_HTTP,
    )
    allow_unauthenticated: bool = _over_http(
        False,
        "Listen where other machines reach it though no key was ever created.",
        values.switch,
        None,
    )
    allowed_host: tuple[str, ...] = _over_http(
        (),
        "Further name or address by which clients may call this server (the Host header); may be "
        "repeated.",
        values.hosts,
        "NAME",
        many=",",
    )
    cors_origin: tuple[str, ...] = _over_http(
        (),
        "Web origin whose pages may call from a browser, such as https://chat.example; may be "
        "repeated; default: none.",
        values.origins,
        "ORIGIN",
        many=",",
    )
    answer_tokens: int = _over_http(
        0,
        "Tokens of an answer whose request sets no limit; 0 is as many as the model's context "
        "holds, for which a small model may write minutes.",
        values.whole(0, 1_000_000, " (no limit)"),
        "N",
    )
    requests_per_minute: int = _over_http(
        0,
        "Requests that each key may make a minute; 0 is no limit.",
        values.whole(0, 1_000_000, " (no limit)"),
        "N",
    )
    tokens_per_minute: int = _over_http(
        0,
        "Tokens of prompts and answers that each key may take a minute; 0 is no limit.",
        values.whole(0, 1_000_000_000, " (no limit)"),
        "N",
    )
    drain_seconds: int = _over_http(
        20,
        "How long answers being written may go on when the server is told to stop.",
        values.whole(0, 3_600),
        "N",
    )

    @property
    def models_folder(self) -> Path:
        """Where models are installed."""
        return self.models_dir or self.data_dir / "models"

    @property
    def index_file(self) -> Path:
        """The one SQLite file of the index."""
        return self.data_dir / "index.sqlite"

    @property
    def keys_file(self) -> Path:
        """Who may call over HTTP."""
        return self.data_dir / "keys.json"

    @property
    def compiled_folder(self) -> Path:
        """Where models compiled for the NPU are kept."""
        return self.data_dir / "compiled"

    @property
    def npu_options(self) -> dict[str, str]:
        """The provider options by name; the last one of a name counts."""
        pairs = (text.partition("=") for text in self.npu_option)
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def reaches_others(self) -> bool:
        """Whether other machines may reach what listens over HTTP."""
        return not (self.uds or values.is_loopback(self.host))

    def arguments(self, command: str) -> list[str]:
        """The flags that give a child process these settings; what changes nothing is left out."""
        return options.words(Settings, self, command)


def add_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds the flags that a command takes; all are kept as text until `read`."""
    options.add_flags(Settings, parser, command)


def read(
    arguments: argparse.Namespace, command: str, environment: Mapping[str, str] | None = None
) -> Settings:
    """A command's settings from its line, an environment (default: the process's own) and a file.

    Raises:
        BadSetting: A value cannot be what the setting takes, or two do not go together.
    """
    given = os.environ if environment is None else environment  # noqa: TID251 - the one reader.
    line = options.from_line(Settings, command, arguments)
    chosen = options.from_environment(Settings, command, given) | line
    chosen = _from_file(command, chosen.get("config")) | chosen
    options.check_needs(Settings, line, chosen)
    settings = Settings(**chosen)
    _check_address(settings)
    return settings


def _from_file(command: str, named: Path | None) -> dict[str, Any]:
    """What the file says to one command, after all of it was checked."""
    file = named or _default_config()
    chosen = options.from_file(Settings, file, required=named is not None)
    if "config" in chosen:
        raise BadSetting(f"{file}: config names this file, and cannot be set in it.")
    return options.for_command(Settings, command, chosen)


def _check_address(settings: Settings) -> None:
    usual = Settings()
    address = (settings.host, settings.port)
    if settings.http and settings.uds and address != (usual.host, usual.port):
        raise BadSetting("--uds takes the place of --host and --port; leave out one or the other.")


def check_access(settings: Settings, *, has_keys: bool) -> None:
    """Refuses to let other machines in where nobody has said who may call.

    Args:
        settings: Where it is to listen.
        has_keys: Whether a key is needed to call, as `Keys.any` tells.

    Raises:
        BadSetting: It would listen on no loopback address, without keys.
    """
    if settings.reaches_others and not (has_keys or settings.allow_unauthenticated):
        raise BadSetting(
            f"--host {settings.host} lets other machines call, and there is no key yet: create one "
            "with `npu-gateway keys create NAME` (and the same --data-dir), or let everybody in "
            "with --allow-unauthenticated."
        )


def tracing_is_configured(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment names a collector of traces, in OpenTelemetry's own variables."""
    given = os.environ if environment is None else environment  # noqa: TID251 - the one reader.
    return given.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp" and any(map(given.get, _COLLECTORS))


def table() -> list[tuple[str, str, str]]:
    """Flag, environment name and help of every setting, as README shows them."""
    return options.table(Settings)
