"""Settings: the one reader of arguments and environment.

Each field is declared once; its flag, its environment name, its help and README's table follow
from that. Order: command line, environment, default. A bad value stops the start, by name; which
SoCs there are, only the engine knows, and `commands.opening` asks it. Names and values of
--npu-option stop nothing: with a bad one the CPU serves, and log, status and doctor say why.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import platformdirs

from mcp_server import values

MB = 1_000_000
_MOST_MB = 16_000_000
_EMBEDDING_COMMANDS = (
    "serve",
    "index",
    "reindex",
    "watch",
    "search",
    "embed",
    "doctor",
    "calibrate",
)
_MODEL_COMMANDS = (*_EMBEDDING_COMMANDS, "generate")
_ANSWERING_COMMANDS = ("serve", "generate", "doctor")
LOG_LEVELS = ("debug", "info", "warning", "error")
POLICIES = ("auto", "npu", "cpu")


class BadSetting(ValueError):
    """A setting has a value it cannot have; the text names the setting and what it takes."""


@dataclass(frozen=True, slots=True)
class _Option:
    help: str
    parse: Callable[[str], Any]
    metavar: str | None
    """None for a switch."""
    many: bool
    """May be repeated; `parse` gives a tuple, and the environment's value is split like PATH."""
    commands: frozenset[str]
    """Commands that take the flag; empty for all."""


def _option(
    help_text: str,
    parse: Callable[[str], Any],
    metavar: str | None,
    *,
    many: bool = False,
    commands: Sequence[str] = (),
) -> dict[str, _Option]:
    return {"option": _Option(help_text, parse, metavar, many, frozenset(commands))}


def _default_data_dir() -> Path:
    return Path(platformdirs.user_data_dir("npu-gateway", appauthor=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be set, as plain values."""

    data_dir: Path = field(
        default_factory=_default_data_dir,
        metadata=_option(
            "Folder of the index and, unless set apart, the models.", values.folder, "DIR"
        ),
    )
    models_dir: Path | None = field(
        default=None,
        metadata=_option(
            "Folder of the models; default: models in the data dir.", values.folder, "DIR"
        ),
    )
    embedder: str = field(
        default="",
        metadata=_option(
            "Embedding model: an id from `npu-gateway models` or a folder of your own; "
            "default: the best one installed.",
            str,
            "ID|PATH",
        ),
    )
    decoder: str = field(
        default="",
        metadata=_option(
            "Language model: an id from `npu-gateway models` or a folder of your own; "
            "default: the best one installed.",
            str,
            "ID|PATH",
        ),
    )
    threads: int = field(
        default=0,
        metadata=_option(
            "Threads a model run may use; 0 takes all cores.",
            values.whole(0, 1024, " (all cores)"),
            "N",
        ),
    )
    policy: Literal["auto", "npu", "cpu"] = field(
        default="auto",
        metadata=_option(
            "Where texts are embedded: auto is where each is done first, npu the NPU as far as it "
            "serves, cpu never the NPU.",
            values.one_of(POLICIES),
            "POLICY",
            commands=_EMBEDDING_COMMANDS,
        ),
    )
    htp_simulator: str = field(
        default="",
        metadata=_option(
            "Where there is no NPU, let the simulator of its processor stand in for it, as that of "
            "the SoC of this number (60 is the X Elite's); far slower than the CPU, for tests.",
            values.soc_number,
            "SOC",
            commands=_EMBEDDING_COMMANDS,
        ),
    )
    npu_option: tuple[str, ...] = field(
        default=(),
        metadata=_option(
            "Provider option for the NPU, from a list of allowed ones; may be repeated.",
            values.named_values,
            "NAME=VALUE",
            many=True,
            commands=_EMBEDDING_COMMANDS,
        ),
    )
    energy_weight: float = field(
        default=0.0,
        metadata=_option(
            "Milliseconds that a millisecond of work on the CPU counts for beside the time it "
            "takes, when auto chooses; 0 counts only time.",
            values.not_negative,
            "N",
            commands=_EMBEDDING_COMMANDS,
        ),
    )
    compiled_mb: int = field(
        default=4_000,
        metadata=_option(
            "Disk space for what is compiled for the NPU; the least recently used goes first.",
            values.whole(1, _MOST_MB),
            "MB",
            commands=_EMBEDDING_COMMANDS,
        ),
    )
    memory_limit_mb: int = field(
        default=0,
        metadata=_option(
            "Memory that models may take together: a model that is not in use leaves for one that "
            "would not fit beside it; 0 is no limit.",
            values.whole(0, _MOST_MB, " (no limit)"),
            "MB",
            commands=_MODEL_COMMANDS,
        ),
    )
    kv_limit_mb: int = field(
        default=2_000,
        metadata=_option(
            "Memory that the keys and values of all answers being written may take.",
            values.whole(1, _MOST_MB),
            "MB",
            commands=_ANSWERING_COMMANDS,
        ),
    )
    kv_float16: bool = field(
        default=False,
        metadata=_option(
            "Keep keys and values in 16 bits where the model allows it: half the memory, and an "
            "answer may differ a little.",
            values.switch,
            None,
            commands=_ANSWERING_COMMANDS,
        ),
    )
    no_speculation: bool = field(
        default=False,
        metadata=_option(
            "Choose one token a run, without drafts: slower where a text repeats itself.",
            values.switch,
            None,
            commands=_ANSWERING_COMMANDS,
        ),
    )
    offline: bool = field(
        default=False, metadata=_option("Never touch the network.", values.switch, None)
    )
    log_level: str = field(
        default="warning",
        metadata=_option(
            "What goes to stderr: " + ", ".join(LOG_LEVELS) + ".",
            values.one_of(LOG_LEVELS),
            "LEVEL",
        ),
    )
    root: tuple[Path, ...] = field(
        default=(),
        metadata=_option(
            "Folder that index_documents may read, with all below it; may be repeated.",
            values.folders,
            "DIR",
            many=True,
            commands=["serve"],
        ),
    )
    read_only: bool = field(
        default=False,
        metadata=_option(
            "Offer no tool that changes the index.", values.switch, None, commands=["serve"]
        ),
    )
    watch: bool = field(
        default=False,
        metadata=_option(
            "Keep what is indexed under a --root up to date in the background.",
            values.switch,
            None,
            commands=["serve"],
        ),
    )
    tools: tuple[str, ...] = field(
        default=(),
        metadata=_option(
            "Offer only these tools, comma-separated; default: all.",
            values.tool_names,
            "A,B",
            many=True,
            commands=["serve"],
        ),
    )
    pull: bool = field(
        default=False,
        metadata=_option(
            "Fetch missing default models in the background.",
            values.switch,
            None,
            commands=["serve"],
        ),
    )
    slots: int = field(
        default=4,
        metadata=_option(
            "Answers written at once; more wait their turn.",
            values.whole(1, 64),
            "N",
            commands=["serve"],
        ),
    )
    queue: int = field(
        default=32,
        metadata=_option(
            "Calls that may wait for a slot; the next one is refused.",
            values.whole(0, 10_000),
            "N",
            commands=["serve"],
        ),
    )
    prefix_cache_mb: int = field(
        default=256,
        metadata=_option(
            "Memory for the beginnings of earlier prompts, which need not be read again; 0 keeps "
            "none.",
            values.whole(0, _MOST_MB, " (none)"),
            "MB",
            commands=["serve"],
        ),
    )
    idle_seconds: int = field(
        default=300,
        metadata=_option(
            "A model not used for so long is unloaded, and loaded again at its next use; 0 keeps "
            "it.",
            values.whole(0, 31_536_000, " (never)"),
            "N",
            commands=["serve"],
        ),
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
    def compiled_folder(self) -> Path:
        """Where models compiled for the NPU are kept."""
        return self.data_dir / "compiled"

    @property
    def npu_options(self) -> dict[str, str]:
        """The provider options by name; the last one of a name counts."""
        pairs = (text.partition("=") for text in self.npu_option)
        return {name.strip(): value.strip() for name, _, value in pairs}

    def arguments(self, command: str) -> list[str]:
        """The flags that give a child process these settings; defaults are left out."""
        defaults, words = Settings(), list[str]()
        for item in fields(self):
            option, value = _option_of(item), getattr(self, item.name)
            if value == getattr(defaults, item.name) or not _takes(option, command):
                continue
            given = [""] if value is True else list(value) if option.many else [value]
            words += [part for one in given for part in (_flag(item.name), str(one)) if part]
        return words


def _option_of(item: "Field[Any]") -> _Option:
    return item.metadata["option"]


def _takes(option: _Option, command: str) -> bool:
    return not option.commands or command in option.commands


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _help(item: "Field[Any]") -> str:
    """What a setting does, and its default where that is a number or a word."""
    text, default = _option_of(item).help, item.default
    if isinstance(default, bool) or not isinstance(default, int | float | str) or default == "":
        return text
    shown = f"{default:g}" if isinstance(default, float) else default
    return f"{text.removesuffix('.')} (default {shown})."


def _environment_name(name: str) -> str:
    return "NPU_GATEWAY_" + name.upper()


def add_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds the flags that a command takes; all are kept as text until `read`."""
    group = parser.add_argument_group("settings")
    for item in fields(Settings):
        option = _option_of(item)
        if not _takes(option, command):
            continue
        text = f"{_help(item)} [{_environment_name(item.name)}]"
        if option.metavar is None:
            group.add_argument(_flag(item.name), action="store_const", const="1", help=text)
        elif option.many:
            group.add_argument(_flag(item.name), action="append", metavar=option.metavar, help=text)
        else:
            group.add_argument(_flag(item.name), metavar=option.metavar, help=text)


def read(
    arguments: argparse.Namespace, command: str, environment: Mapping[str, str] | None = None
) -> Settings:
    """A command's settings from its line and an environment (default: the process's own).

    Raises:
        BadSetting: A value cannot be what the setting takes.
    """
    env = os.environ if environment is None else environment  # noqa: TID251 - the one reader.
    chosen: dict[str, Any] = {}
    for item in (item for item in fields(Settings) if _takes(_option_of(item), command)):
        given = getattr(arguments, item.name, None)
        name = _flag(item.name)
        if given is None:
            given, name = (
                env.get(_environment_name(item.name)) or None,
                _environment_name(item.name),
            )
        if given is not None:
            chosen[item.name] = _parsed(name, _option_of(item), given)
    return Settings(**chosen)


def _parsed(name: str, option: _Option, given: str | list[str]) -> Any:
    try:
        if not option.many:
            return option.parse(str(given))
        words = given.split(os.pathsep) if isinstance(given, str) else given
        return tuple(chain.from_iterable(option.parse(word) for word in words if word))
    except ValueError as error:
        raise BadSetting(f"{name} {error}, not {given!r}.") from error


def table() -> list[tuple[str, str, str]]:
    """Flag, environment name and help of every setting, as README shows them."""
    return [
        (
            " ".join(filter(None, (_flag(item.name), _option_of(item).metavar))),
            _environment_name(item.name),
            _help(item),
        )
        for item in fields(Settings)
    ]
