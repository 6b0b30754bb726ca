"""server.json says to the MCP registry what this package is, in the registry's own form."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine import __version__
from mcp_server import settings

ROOT = Path(__file__).parents[2]
SERVER: dict[str, Any] = json.loads(
    (ROOT / "examples" / "packages" / "server.json").read_text(encoding="utf-8")
)
(PACKAGE,) = SERVER["packages"]

CARRIER = "skillsaw==0.22.0"
"""A linter that carries the published schemas byte for byte (they are MIT-licensed)."""
SCHEMA = "skillsaw/schemas/mcp_registry/v2025_12_11/server.schema.json"
SCHEMA_SHA256 = "3fba09590c99f61735d234822279f4223fab9e300c0a81e81c91ab62a4114de0"


@pytest.fixture(scope="module")
def schema(kept) -> dict[str, Any]:
    """The schema that the registry publishes under the address server.json names."""

    def fetch(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps", "--quiet"]
        done = subprocess.run(
            [*command, "--only-binary", ":all:", "--dest", str(folder), CARRIER],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            pytest.skip(f"needs the package index: {done.stderr.strip()[-300:]}")

    (wheel,) = kept(CARRIER.replace("==", "-"), fetch).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(SCHEMA)
    assert hashlib.sha256(content).hexdigest() == SCHEMA_SHA256
    return json.loads(content)


def test_it_is_valid_under_the_published_schema(schema):
    assert SERVER["$schema"] == schema["$id"]
    kind = jsonschema.validators.validator_for(schema)
    checker = kind(schema, format_checker=kind.FORMAT_CHECKER)
    assert [error.message for error in checker.iter_errors(SERVER)] == []
    broken = SERVER | {"name": "npu-gateway"}
    assert not checker.is_valid(broken)


def test_it_names_this_version_of_this_package():
    assert (SERVER["version"], PACKAGE["version"]) == (__version__, __version__)
    assert (PACKAGE["registryType"], PACKAGE["identifier"]) == ("pypi", "npu-gateway")
    assert (PACKAGE["runtimeHint"], PACKAGE["transport"]) == ("uvx", {"type": "stdio"})


def test_the_readme_names_it_as_the_registry_looks_for_it():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- mcp-name: {SERVER['name']} -->" in readme


def test_what_it_lets_people_set_is_there_to_be_set():
    rows = settings.table()
    flags = {flag.split()[0] for flag, _, _ in rows}
    names = {name for _, name, _ in rows}
    named = [one for one in PACKAGE["packageArguments"] if one["type"] == "named"]
    assert {one["name"] for one in named} <= flags
    assert {one["name"] for one in PACKAGE["environmentVariables"]} <= names
    assert all(one["description"] for one in (*named, *PACKAGE["environmentVariables"]))
