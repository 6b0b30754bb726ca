"""What is pasted into hosts reads back, in each host's format, as what was to be started."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from reading_snippets import entry, launched

from mcp_server.agent_hosts.launching import PORTABLE, Launch
from mcp_server.agent_hosts.snippets import snippet
from mcp_server.agent_hosts.table import BY_NAME, HOSTS, LINUX, MACOS, WINDOWS

FOLDER = Path(__file__).parents[3] / "examples" / "host_configs"

HARD = Launch(
    "C:\\Users\\Ann Lee\\new\\npu-gateway.exe",
    (
        "serve",
        "--root",
        "\\\\server\\share\\tête-à-tête 🗂",
        "--root",
        'D:\\"quoted" #1',
        "--data-dir",
        "yes: {no}, [~] & 'x' %PATH%",
    ),
    {"NPU_GATEWAY_HTTP": "0"},
)


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_host_configs", FOLDER / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["write_host_configs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("host", HOSTS, ids=BY_NAME)
def test_hard_words_come_back_as_they_went_in(host):
    assert launched(host, snippet(host, HARD)) == HARD


@pytest.mark.parametrize("host", HOSTS, ids=BY_NAME)
def test_an_entry_holds_the_launch_and_what_the_host_takes_besides(host):
    found = entry(host, snippet(host, PORTABLE))
    assert found == {"command": PORTABLE.command, "args": list(PORTABLE.args)} | dict(host.fields)


def test_hosts_that_give_up_soon_are_told_to_wait():
    assert entry(BY_NAME["codex"], snippet(BY_NAME["codex"], PORTABLE))["startup_timeout_sec"] > 10
    waits = entry(BY_NAME["continue"], snippet(BY_NAME["continue"], PORTABLE))["connectionTimeout"]
    assert waits > 20_000


def test_every_host_has_a_file_on_every_system_and_a_source():
    for host in HOSTS:
        assert set(host.files) == {MACOS, WINDOWS, LINUX}, host.name
        assert host.source
        assert host.advice.endswith(".")


def test_the_examples_are_what_the_table_makes():
    made = _loaded().files()
    kept = {one.name for one in FOLDER.iterdir() if one.is_file()} - {"write.py"}
    assert kept == set(made)
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, (
            "run python examples/host_configs/write.py"
        )
