"""The recipes for a service start this server as it wants to be started."""

import os
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.__main__ import parser

EXAMPLES = Path(__file__).parents[3] / "examples"
UNIT = EXAMPLES / "systemd" / "npu-gateway.service"
SCRIPT = EXAMPLES / "windows" / "install-task.ps1"


def chosen(words: list[str]) -> settings.Settings:
    """The settings of a command line."""
    arguments = parser().parse_args(words)
    return settings.read(arguments, arguments.command, {})


@pytest.fixture
def service() -> dict[str, str]:
    unit = ConfigParser(interpolation=None, strict=True, delimiters="=", comment_prefixes="#")
    unit.optionxform = str
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    return dict(unit["Service"])


def test_the_unit_serves_on_this_machine_alone_and_has_time_to_end(service):
    program, *words = shlex.split(service["ExecStart"])
    assert program == "%h/.local/bin/npu-gateway"
    own = chosen(words)
    assert own.http
    assert not own.reaches_others
    assert own.drain_seconds + 2 < int(service["TimeoutStopSec"])


def test_the_unit_with_a_socket_is_served_too(service):
    command = service["ExecStart"].replace("--port 8642", "--uds /run/user/1/npu-gateway/it.sock")
    assert not chosen(shlex.split(command)[1:]).reaches_others


def test_the_unit_is_one_to_systemd(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd")
    copy = tmp_path / UNIT.name
    content = UNIT.read_text(encoding="utf-8")
    copy.write_text(content.replace("%h/.local/bin/npu-gateway", shutil.which("true") or ""))
    checked = subprocess.run(
        [analyze, "verify", "--user", "--man=no", str(copy)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    told = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert (checked.returncode, told) == (0, []), checked.stderr


def test_the_script_for_windows_serves_on_this_machine_alone():
    script = SCRIPT.read_text(encoding="utf-8")
    line = re.search(r'\$Arguments = "(.+)"', script)
    assert line
    own = chosen(line[1].replace("$Port", "8642").split())
    assert own.http
    assert not own.reaches_others
    assert "Not tried on Windows" in script
