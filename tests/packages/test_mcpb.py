"""The .mcpb bundle: its manifest names what is inside and asks for what the server takes."""

import importlib.util
import json
import re
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from engine import __version__
from mcp_server import settings

_FILE = Path(__file__).parents[2] / "examples" / "packages" / "make_mcpb.py"
WHEEL = f"npu_gateway-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def make_mcpb() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mcpb", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(make_mcpb, tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / WHEEL).write_bytes(b"a wheel")
    return zipfile.ZipFile(make_mcpb.make(folder / WHEEL, folder))


def test_the_same_wheel_makes_the_same_bundle(make_mcpb, bundle, tmp_path):
    (tmp_path / WHEEL).write_bytes(b"a wheel")
    made = make_mcpb.make(tmp_path / WHEEL, tmp_path)
    assert made.name == f"npu-gateway-{__version__}.mcpb"
    assert made.read_bytes() == Path(bundle.filename).read_bytes()


def test_the_manifest_is_of_the_version_that_hosts_take_and_names_what_is_inside(bundle):
    manifest = json.loads(bundle.read("manifest.json"))
    assert manifest["manifest_version"] == "0.3"
    assert (manifest["name"], manifest["version"]) == ("npu-gateway", __version__)
    assert {"description", "author", "server"} <= set(manifest)
    server = manifest["server"]
    assert server["type"] in ("python", "node", "binary")
    assert server["entry_point"] in bundle.namelist()
    assert "${__dirname}/" + server["entry_point"] in server["mcp_config"]["args"]
    assert set(manifest["compatibility"]["platforms"]) == {"darwin", "win32", "linux"}


def test_what_the_person_is_asked_is_what_the_command_uses(bundle):
    manifest = json.loads(bundle.read("manifest.json"))
    config = manifest["server"]["mcp_config"]
    used = set(re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(config)))
    assert used == set(manifest["user_config"])
    names = {name for _, name, _ in settings.table()}
    assert set(config["env"]) <= names
    assert manifest["user_config"]["folders"]["multiple"]


def test_the_entry_point_says_what_it_needs_and_where_that_is(bundle):
    text = bundle.read("server/main.py").decode()
    block = text.split("# /// script\n")[1].split("# ///\n")[0]
    needs = tomllib.loads("\n".join(line[2:] for line in block.splitlines()))
    assert needs["dependencies"] == ["npu-gateway"]
    assert needs["tool"]["uv"]["sources"]["npu-gateway"]["path"] == f"../{WHEEL}"
    assert WHEEL in bundle.namelist()
    compile(text, "main.py", "exec")
