"""The command by which a host starts this installation, however it came onto the machine."""

import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from mcp_server.agent_hosts import launching
from mcp_server.agent_hosts.launching import Installation, Launch

ROOT = Path(__file__).parents[3]
PYTHON = "/home/ann lee/.venv/bin/python"
CASES = {
    "installed": (
        Installation(PYTHON, script="/home/ann lee/.venv/bin/npu-gateway"),
        ("/home/ann lee/.venv/bin/npu-gateway",),
    ),
    "without its command": (Installation(PYTHON), (PYTHON, "-P", "-m", "mcp_server")),
    "run by uvx": (
        Installation(PYTHON, "/tmp/x", uvx="/usr/bin/uvx", requirement="npu-gateway==1.0"),
        ("/usr/bin/uvx", "--offline", "--from", "npu-gateway==1.0", "npu-gateway"),
    ),
    "run by uvx on Windows ARM64": (
        Installation("C:\\x.exe", uvx="C:\\uvx.exe", architecture="cpython-3.12-windows-aarch64"),
        (
            *("C:\\uvx.exe", "--offline", "--python", "cpython-3.12-windows-aarch64"),
            *("--from", "npu-gateway", "npu-gateway"),
        ),
    ),
}


@pytest.mark.parametrize(("installation", "start"), CASES.values(), ids=CASES)
def test_each_installation_is_started_in_its_own_way(installation, start):
    assert installation.start() == start
    launch = installation.launch(["--root", "/x"], {"A": "1"})
    assert launch == Launch(start[0], (*start[1:], "serve", "--root", "/x"), {"A": "1"})


def test_this_installation_is_started_by_an_absolute_command():
    found = launching.here()
    assert Path(found.start()[0]).is_absolute()
    assert found.python == sys.executable
    assert not found.uvx


def test_an_environment_that_uvx_made_is_asked_of_uvx_again(monkeypatch):
    scripts = Path(sysconfig.get_path("scripts"))
    monkeypatch.chdir(scripts.parent)
    monkeypatch.setenv("PATH", scripts.name)
    for folder in ("archive-v0", "environments-v2"):
        monkeypatch.setattr(sys, "prefix", f"/home/ann/.cache/uv/{folder}/Xy_z")
        found = launching.here()
        assert Path(found.uvx).parent == scripts, "absolute though the PATH is not"
        assert Path(found.uvx).stem == "uvx"
        assert found.requirement.startswith("npu-gateway")


def test_extras_are_asked_of_uvx_again(monkeypatch):
    """Offline it has what was installed, and an index made with an extra wants it again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(launching._EXTRAS) == {*project["optional-dependencies"]} - {"dev", "plot", "test"}
    monkeypatch.setattr(launching, "_is_installed", lambda name: "tree-sitter" in name)
    assert launching._requirement().startswith("npu-gateway[code]")
