"""Starts every package as the host or the person would, and talks to it with the official client.

    python examples/packages/check.py [--mcpb COMMAND]

Builds the wheel and looks into it; runs it by uvx; installs it into a fresh virtual environment for
its command, --version and doctor; starts what each file of examples/host_configs says, what
`npu-gateway config` prints under uvx, what server.json says, and what the .mcpb bundle says. Where
it is told how to start `mcpb` of @anthropic-ai/mcpb, that sees the bundle too. Ends with 1 if any
of it is not so.

Needs uv, which fetches what the wheel needs from the package index (its own variables are heeded,
such as UV_CONSTRAINT), and what the extra test installs.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.parser import Parser
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import make_mcpb
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from reading import launched

from engine import __version__
from mcp_server.agent_hosts.launching import Launch
from mcp_server.agent_hosts.table import BY_NAME, HOSTS
from mcp_server.values import TOOL_NAMES

EXAMPLES = Path(__file__).parents[1]
MOST_BYTES = 1_000_000
START_SECONDS = 120
"""For a start that may fetch and install first."""

NEEDED = {
    "engine/py.typed",
    "mcp_server/py.typed",
    "mcp_server/http/status_page.html",
    "mcp_server/sample_documents/the_house.md",
    "mcp_server/sample_documents/sourdough.txt",
    "mcp_server/sample_documents/nightly_copy.py",
    f"npu_gateway-{__version__}.dist-info/licenses/LICENSE",
}
TOP_LEVEL = {"engine", "mcp_server", f"npu_gateway-{__version__}.dist-info"}


class NotSo(Exception):
    """What a package holds or does is not what it should; the text says what."""


@dataclass(frozen=True)
class Workshop:
    """What the checks share."""

    folder: Path
    wheel: Path
    mcpb: list[str]
    """How MCPB's own tool is started; empty where that is not known."""

    @property
    def env(self) -> dict[str, str]:
        """Uv finds our wheel as if the index had it, and index and models are no user's own."""
        given = os.environ  # noqa: TID251 - what is started finds the package index as this does.
        return {
            **{name: value for name, value in given.items() if name != "PYTHONPATH"},
            "UV_FIND_LINKS": str(self.wheel.parent),
            "UV_PYTHON": sys.executable,
            "NPU_GATEWAY_CONFIG": os.devnull,
            "NPU_GATEWAY_LOG_LEVEL": "error",
            "NPU_GATEWAY_DATA_DIR": str(self.folder / "data"),
        }

    def ran(self, *command: object) -> str:
        """What a command prints, in an empty folder."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise NotSo(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def answers(self, launch: Launch, **more: str) -> dict[str, Any]:
        """Starts a server, lists its tools and asks for its status."""
        return anyio.run(_answers, launch, self.env | more | dict(launch.env), self.folder)


async def _answers(launch: Launch, env: Mapping[str, str], folder: Path) -> dict[str, Any]:
    parameters = StdioServerParameters(
        command=launch.command, args=list(launch.args), env=dict(env), cwd=folder
    )
    with anyio.fail_after(START_SECONDS):
        async with Client(parameters) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            status = (await client.call_tool("status", {})).structured_content or {}
            version = client.server_info.version
    _hold(version == __version__, f"it is {version}")
    _hold(tools == set(TOOL_NAMES), f"its tools are {sorted(tools)}")
    return status


def _hold(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise NotSo(otherwise)


def wheel_holds_the_product_alone(shop: Workshop) -> None:
    """Files, metadata and size."""
    with zipfile.ZipFile(shop.wheel) as archive:
        names = set(archive.namelist())
        facts = Parser().parsestr(archive.read(_metadata(names)).decode())
    _hold(names >= NEEDED, f"missing: {sorted(NEEDED - names)}")
    tops = {name.split("/")[0] for name in names}
    _hold(tops == TOP_LEVEL, f"at its top are {sorted(tops)}")
    _hold(not any(re.search(r"(^|/)tests?/|\.pyc$", name) for name in names), "it holds tests")
    _hold(shop.wheel.stat().st_size < MOST_BYTES, f"{shop.wheel.stat().st_size:,} bytes")
    _hold(facts["License-Expression"] == "Apache-2.0", "no licence")
    _hold(facts["Requires-Python"] == ">=3.11", str(facts["Requires-Python"]))
    _hold(facts["Description-Content-Type"] == "text/markdown", "no long description")
    _hold(f"mcp-name: {_server_json()['name']}" in str(facts.get_payload()), "no mcp-name")


def _metadata(names: set[str]) -> str:
    return next(name for name in names if name.endswith(".dist-info/METADATA"))


def clean_environment_has_a_sound_command(shop: Workshop) -> None:
    """Command, --version and doctor --json."""
    home = shop.folder / "venv"
    venv.create(home)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    shop.ran("uv", "pip", "install", "--quiet", "--python", programs / "python", shop.wheel)
    command = programs / "npu-gateway"
    _hold(shop.ran(command, "--version") == f"npu-gateway {__version__}\n", "another version")
    done = subprocess.run(
        [command, "doctor", "--json"], env=shop.env, capture_output=True, check=False
    )
    found = json.loads(done.stdout)
    problems = [one["name"] for one in found["findings"] if one["state"] == "problem"]
    _hold(all(one.startswith("model for") for one in problems), f"doctor finds {problems}")


def wheel_runs_by_uvx(shop: Workshop) -> None:
    """The version, and the server."""
    uvx = ("uvx", "--from", str(shop.wheel), "npu-gateway")
    _hold(shop.ran(*uvx, "--version") == f"npu-gateway {__version__}\n", "another version")
    shop.answers(Launch(uvx[0], (*uvx[1:], "serve")))


def every_example_for_hosts_starts(shop: Workshop) -> None:
    """One process for each command that the files say."""
    files = [(host, EXAMPLES / "host_configs" / f"{host.name}.{host.format}") for host in HOSTS]
    told = [launched(host, file.read_text(encoding="utf-8")) for host, file in files]
    for launch in {repr(one): one for one in told}.values():
        shop.answers(launch)


def what_config_prints_under_uvx_starts(shop: Workshop) -> None:
    """In one host's file: the tests hold that all say the same. It asks the network nothing."""
    uvx = ("uvx", "--from", str(shop.wheel), "npu-gateway", "config")
    launch = launched(BY_NAME["codex"], shop.ran(*uvx, "codex"))
    _hold(Path(launch.command).is_absolute(), f"{launch.command} is not absolute")
    shop.answers(launch, UV_OFFLINE="1")


def what_server_json_says_starts(shop: Workshop) -> None:
    """As a client of the registry puts its command together."""
    (package,) = _server_json()["packages"]
    words = [f"{package['identifier']}@{package['version']}"]
    for argument in package["packageArguments"]:
        if argument["type"] == "named":
            words.append(f"{argument['name']}={shop.folder}")
        else:
            words.append(argument["value"])
    chosen = package["environmentVariables"]
    env = {one["name"]: one["default"] for one in chosen if "default" in one}
    shop.answers(Launch(package["runtimeHint"], tuple(words), env))


def _server_json() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("server.json").read_text(encoding="utf-8"))


def bundle_starts(shop: Workshop) -> None:
    """Unpacked, with its names in braces filled in as MCPB's own code does."""
    home = shop.folder / "extension"
    with zipfile.ZipFile(make_mcpb.make(shop.wheel, shop.folder)) as archive:
        archive.extractall(home)
    read = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
    chosen = {name: one["default"] for name, one in read["user_config"].items()}
    chosen |= {"folders": [str(shop.folder), "${HOME}/left"], "pull": False}
    told = shop.answers(filled(read, home, chosen))
    _hold(told["roots"] == [str(shop.folder)], f"it may index {told['roots']}")


def filled(read: dict[str, Any], home: Path, chosen: dict[str, Any]) -> Launch:
    """What a host starts of a manifest: an argument that is a name alone becomes all its values.

    After @anthropic-ai/mcpb 2.1.2, shared/config.js, which leaves the names within values as they
    are.
    """
    known = {f"user_config.{name}": value for name, value in chosen.items()}
    known["__dirname"] = str(home)
    asked = read["server"]["mcp_config"]
    args: list[str] = []
    for word in asked["args"]:
        value = known.get(word.removeprefix("${").removesuffix("}"), word)
        args += value if isinstance(value, list) else [_filled(value, known)]
    env = {name: _filled(word, known) for name, word in asked["env"].items()}
    return Launch(asked["command"], tuple(args), env)


def _filled(word: str, known: dict[str, Any]) -> str:
    for name, value in known.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        word = word.replace("${" + name + "}", shown)
    return word


def bundle_is_valid_to_its_own_tool(shop: Workshop) -> None:
    """`mcpb validate` and `mcpb info`."""
    if not shop.mcpb:
        print("      left out: nobody said how to start it")
        return
    told = shop.ran(*shop.mcpb, "validate", shop.folder / "extension" / "manifest.json")
    _hold("validation passes" in told, told)
    print("      " + shop.ran(*shop.mcpb, "info", next(shop.folder.glob("*.mcpb"))).splitlines()[1])


CHECKS: tuple[Callable[[Workshop], None], ...] = (
    wheel_holds_the_product_alone,
    clean_environment_has_a_sound_command,
    wheel_runs_by_uvx,
    every_example_for_hosts_starts,
    what_config_prints_under_uvx_starts,
    what_server_json_says_starts,
    bundle_starts,
    bundle_is_valid_to_its_own_tool,
)


def _main() -> int:
    parser = argparse.ArgumentParser(description="Starts every package there is.")
    parser.add_argument("--mcpb", type=shlex.split, default=[], help="how to start MCPB's own tool")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npu-gateway-packages-") as name:
        folder = Path(name)
        shop = Workshop(folder, make_mcpb.built(folder / "wheel"), given.mcpb)
        print(f"{shop.wheel.name}: {shop.wheel.stat().st_size:,} bytes")
        return sum(map(partial(_passes, shop), CHECKS)) != len(CHECKS)


def _passes(shop: Workshop, check: Callable[[Workshop], None]) -> bool:
    start = time.perf_counter()
    try:
        check(shop)
    except (NotSo, OSError, MCPError, ExceptionGroup) as error:
        print(f"NOT   {check.__name__.replace('_', ' ')}: {error!r}")
        return False
    print(f"ok    {check.__name__.replace('_', ' ')}, {time.perf_counter() - start:.1f} s")
    return True


if __name__ == "__main__":
    sys.exit(_main())
