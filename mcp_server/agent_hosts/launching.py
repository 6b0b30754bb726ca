"""The command by which another program starts this very installation.

Hosts start a server from any folder, and those of a desktop without the PATH of a shell: so
commands are absolute. Knows no host and no setting.
"""

import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from engine import __version__

NAME = "npu-gateway"
"""The distribution, its command, and the server in a host's list."""

_UV_KEEPS = re.compile(r"(archive|environments|builds)-v\d+")
"""Folders of uv's cache in which `uvx` and `uv run` make environments; emptied with the cache."""

_EXTRAS = {
    "code": "tree-sitter-kotlin",
    "otel": "opentelemetry-exporter-otlp-proto-http",
    "qnn": "onnxruntime-qnn",
}
"""Extras that a server has a use for, each with a distribution that nothing else brings."""

_WINDOWS_ARM = "win-arm64"


@dataclass(frozen=True, slots=True)
class Launch:
    """What a host runs."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])


PORTABLE = Launch("uvx", (NAME, "serve", "--root", "~/Documents"))
"""The one that holds wherever uv is on the PATH; the server knows what ~ means."""


@dataclass(frozen=True, slots=True)
class Installation:
    """How this program came onto the machine."""

    python: str
    """Its interpreter."""
    script: str = ""
    """Its command in the environment of that interpreter; empty where there is none."""
    uvx: str = ""
    """The uvx that runs it from its cache; empty where it is installed."""
    requirement: str = NAME
    """What uvx is to take it from."""
    architecture: str = ""
    """The interpreter to be asked of uvx; empty for whichever it finds."""

    def start(self) -> tuple[str, ...]:
        """Command and first arguments, before the name of a command of ours."""
        if self.uvx:
            asked = ("--python", self.architecture) if self.architecture else ()
            # Else uvx asks the package index at every start, and fails where there is no network.
            return (self.uvx, "--offline", *asked, "--from", self.requirement, NAME)
        # -P: the folder a host starts us in is not searched for modules.
        return (self.script,) if self.script else (self.python, "-P", "-m", "mcp_server")

    def launch(self, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> Launch:
        """What serves over stdin and stdout, with these arguments behind `serve`."""
        command, *first = self.start()
        return Launch(command, (*first, "serve", *arguments), env or {})


def here() -> Installation:
    """The installation that this process is of."""
    # Looked for by its name alone, it would be found first in the folder one is in, on Windows.
    script = Path(sysconfig.get_path("scripts"), NAME + (sysconfig.get_config_var("EXE") or ""))
    installation = Installation(sys.executable, str(script) if script.is_file() else "")
    if not any(_UV_KEEPS.fullmatch(part) for part in Path(sys.prefix).parts):
        return installation
    uvx = shutil.which("uvx")
    return replace(
        installation,
        uvx=os.path.abspath(uvx) if uvx else "",
        requirement=_requirement(),
        architecture=_architecture(),
    )


def _requirement() -> str:
    """What was installed, with the extras that uvx was asked for, as far as it can be told."""
    extras = ",".join(extra for extra, brought in _EXTRAS.items() if _is_installed(brought))
    name = f"{NAME}[{extras}]" if extras else NAME
    origin = metadata.distribution(NAME).read_text("direct_url.json")
    return f"{name} @ {_url(json.loads(origin))}" if origin else f"{name}=={__version__}"


def _url(origin: dict[str, Any]) -> str:
    """The direct URL of PEP 610 as a requirement takes it."""
    vcs = origin.get("vcs_info")
    return f"{vcs['vcs']}+{origin['url']}@{vcs['commit_id']}" if vcs else str(origin["url"])


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _architecture() -> str:
    """Older uv than 0.13 takes an emulated x64 Python where it finds one, which sees no NPU."""
    major, minor = sys.version_info[:2]
    is_arm = sysconfig.get_platform() == _WINDOWS_ARM
    return f"cpython-{major}.{minor}-windows-aarch64-none" if is_arm else ""
