"""Makes the bundle that hosts install by a double-click: npu-gateway-VERSION.mcpb.

    python examples/packages/make_mcpb.py [--wheel FILE.whl] [--to FOLDER]

Needs uv to build a wheel, and nothing where one is given.

The bundle holds our own wheel and one file that starts it, 0.6 MB in all. What the wheel needs is
compiled for each system, so none of it is inside: at the first start uv fetches it, about 90 MB,
into an environment of its own, and later starts need no network. So uv has to be on the PATH that
the host has, and a first start over a slow line may last longer than a host waits; it is found
complete by the next one.

Format: manifest_version 0.3 of github.com/modelcontextprotocol/mcpb, MANIFEST.md and the schema in
@anthropic-ai/mcpb 2.1.2. Its server type "uv", for which the host brings uv along, is of version
0.4, experimental, and refused by hosts that know 0.3 (mims-harvard/ToolUniverse#68 and #186): ours
is "python", whose command is uv. Not tried in a host; `mcpb validate` takes it, and check.py starts
what the manifest says.
"""

import argparse
import json
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from engine import __version__
from mcp_server.values import TOOL_NAMES

ROOT = Path(__file__).parents[2]
ENTRY_POINT = "server/main.py"
_MADE = (1980, 1, 1, 0, 0, 0)
"""The time of every file inside, so that the same wheel makes the same bundle."""

_MODE = 0o100644
"""A plain file that its owner may change and all may read."""

_MAIN = '''# /// script
# requires-python = ">=3.11"
# dependencies = ["npu-gateway"]
#
# [tool.uv.sources]
# npu-gateway = {{ path = "../{wheel}" }}
# ///
"""Serves the folders that the host was told, over stdin and stdout."""

import sys

from mcp_server.__main__ import main

# A host leaves a name in braces where nothing was chosen.
folders = [word for word in sys.argv[1:] if not word.startswith("${{")]
main(["serve", *(word for folder in folders for word in ("--root", folder))])
'''


def manifest() -> dict[str, Any]:
    """What the host reads: how to start the server, and what to ask the person who installs it."""
    return {
        "manifest_version": "0.3",
        "name": "npu-gateway",
        "display_name": "npu-gateway",
        "version": __version__,
        "description": "Private semantic search, embeddings and short answers on this machine.",
        "long_description": "Searches the folders you choose by words and meaning, and answers "
        "short prompts with a small language model. Everything runs on this machine. Needs uv: "
        "https://docs.astral.sh/uv",
        "author": {"name": "npu-gateway"},
        "license": "Apache-2.0",
        "keywords": ["search", "embeddings", "documents", "local"],
        "server": {
            "type": "python",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": [
                    *("run", "--quiet", "--script", "${__dirname}/" + ENTRY_POINT),
                    "${user_config.folders}",
                ],
                "env": {
                    "NPU_GATEWAY_HTTP": "0",
                    "NPU_GATEWAY_PULL": "${user_config.pull}",
                    "NPU_GATEWAY_READ_ONLY": "${user_config.read_only}",
                },
            },
        },
        "tools": [{"name": name} for name in TOOL_NAMES],
        "compatibility": {"platforms": ["darwin", "win32", "linux"]},
        "user_config": {
            "folders": {
                "type": "directory",
                "title": "Folders",
                "description": "The agent may index what is in these, and nothing else.",
                "multiple": True,
                "required": True,
                "default": ["${DOCUMENTS}"],
            },
            "pull": {
                "type": "boolean",
                "title": "Fetch models",
                "description": "Fetch the two default models in the background at the first start "
                "(190 MB). Nothing else is ever fetched.",
                "default": True,
            },
            "read_only": {
                "type": "boolean",
                "title": "Read only",
                "description": "Offer no tool that changes the index.",
                "default": False,
            },
        },
    }


def make(wheel: Path, folder: Path) -> Path:
    """Writes the bundle of a wheel into a folder."""
    bundle = folder / f"npu-gateway-{__version__}.mcpb"
    inside = {
        "manifest.json": json.dumps(manifest(), indent=2).encode() + b"\n",
        ENTRY_POINT: _MAIN.format(wheel=wheel.name).encode(),
        wheel.name: wheel.read_bytes(),
        "LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in inside.items():
            file = zipfile.ZipInfo(name, _MADE)
            file.external_attr = _MODE << 16
            archive.writestr(file, content, zipfile.ZIP_DEFLATED)
    return bundle


def built(folder: Path) -> Path:
    """The wheel of this source, built into a folder."""
    command = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("npu_gateway-*.whl"))


def _main() -> None:
    parser = argparse.ArgumentParser(description="Makes the .mcpb bundle.")
    parser.add_argument("--wheel", type=Path, help="default: one is built")
    parser.add_argument("--to", type=Path, default=Path(), metavar="FOLDER")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = make(given.wheel or built(Path(folder)), given.to)
    print(f"{bundle}: {bundle.stat().st_size:,} bytes")


if __name__ == "__main__":
    _main()
