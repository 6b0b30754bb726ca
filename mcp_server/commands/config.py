"""The command config: what to paste into an agent host so that it starts this installation.

What is pasted goes to stdout, where to paste it to stderr.
"""

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.models import installed
from mcp_server.agent_hosts import launching
from mcp_server.agent_hosts.launching import Installation, Launch
from mcp_server.agent_hosts.snippets import snippet
from mcp_server.agent_hosts.table import BY_NAME, HOSTS, LINUX, MACOS, WINDOWS, AgentHost
from mcp_server.commands.opening import notes
from mcp_server.plain import in_a_line
from mcp_server.settings import BadSetting, Settings, documents_folder

_OUT_OF_A_CACHE = (
    "This runs out of uv's cache, without the network. To install it for good, so that no cleaning "
    "of the cache takes it away: uv tool install npu-gateway, then npu-gateway config {host}"
)

_PLAIN = re.compile(r"[\w:./\\=-]+")
"""What no shell on Windows takes for anything else."""

SYSTEM = {"darwin": MACOS, "win32": WINDOWS}.get(sys.platform, LINUX)


def config(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints a host's snippet, or without a host the names there are."""
    if not arguments.agent_host:
        sys.stdout.writelines(f"{host.name:<16}{host.title}\n" for host in HOSTS)
        return 0
    host = chosen(arguments.agent_host)
    installation = launching.here()
    starting = launch(settings, installation)
    sys.stdout.write(snippet(host, starting))
    sys.stdout.flush()
    said = [_where(host, starting), *_absent(settings.root)]
    if installation.uvx:
        said.append(_OUT_OF_A_CACHE.format(host=host.name))
    notes().print("\n".join(said), markup=False, soft_wrap=True)
    return 0


def launch(settings: Settings, installation: Installation) -> Launch:
    """What starts an installation over stdin and stdout, from any folder, with the settings chosen
    here.

    Without a --root, the user's folder of documents is one.
    """
    local = replace(
        settings,
        http=False,
        root=settings.root or (documents_folder(),),
        embedder=_anywhere(settings.embedder),
        decoder=_anywhere(settings.decoder),
    )
    # A file of settings may switch HTTP on, and only the environment switches it off again.
    env = {"NPU_GATEWAY_HTTP": "0"} if settings.http else None
    return installation.launch(local.arguments("serve"), env)


def _anywhere(model: str) -> str:
    """A model's id, or its folder so that it is found from any other."""
    return os.path.abspath(os.path.expanduser(model)) if installed.is_path(model) else model


def chosen(name: str) -> AgentHost:
    """The host of a name, written in capitals, with spaces or neither.

    Raises:
        BadSetting: There is none; the text names the nearest and all.
    """
    word = "-".join(name.lower().replace("_", " ").split())
    found = BY_NAME.get(word) or BY_NAME.get(word.replace("-", ""))
    if found:
        return found
    near = difflib.get_close_matches(word, BY_NAME, n=2)
    offer = f" Did you mean {' or '.join(near)}?" if near else ""
    raise BadSetting(f"There is no host {name!r}.{offer} Known are {', '.join(BY_NAME)}.")


def _absent(roots: Sequence[Path]) -> list[str]:
    return [
        f"{in_a_line(str(root))} is no folder yet; nothing in it can be indexed until it is one."
        for root in roots
        if not root.is_dir()
    ]


def _where(host: AgentHost, launch: Launch) -> str:
    """What to do with the lines on stdout."""
    lines = [
        f"Paste this into {host.files[SYSTEM]}; where {host.key} is there already, add "
        f"the entry to it. Then restart {host.title}.",
        host.advice,
    ]
    if host.adds and not launch.env:
        line = in_shell((*host.adds, launch.command, *launch.args), SYSTEM)
        lines.append(f"Or for all projects, in a terminal:\n  {line}")
    return "\n".join(lines)


def in_shell(words: Sequence[str], system: str) -> str:
    """Words as a line that is typed; on Windows into cmd and PowerShell alike."""
    return " ".join(map(_on_windows, words)) if system == WINDOWS else shlex.join(words)


def _on_windows(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    quoted = subprocess.list2cmdline([f" {word}"])
    return quoted.replace(" ", "", 1)
