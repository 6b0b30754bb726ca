"""The command config, and that what it prints starts a server."""

import sys
from pathlib import Path

import anyio
import platformdirs
import pytest
from mcp import Client, StdioServerParameters
from reading_snippets import launched
from shell import run

from engine import __version__
from mcp_server.agent_hosts.launching import Installation, Launch
from mcp_server.agent_hosts.table import BY_NAME, HOSTS, WINDOWS
from mcp_server.commands.config import SYSTEM, in_shell, launch
from mcp_server.settings import Settings


def printed(name: str, *words: str) -> Launch:
    ran = run("config", name, *words)
    assert ran.returncode == 0, ran.stderr
    assert BY_NAME[name].files[SYSTEM] in ran.stderr
    return launched(BY_NAME[name], ran.stdout)


@pytest.mark.anyio
async def test_what_every_host_is_told_to_start_answers_the_official_client(tmp_path, models_dir):
    file = tmp_path / "settings.toml"
    file.write_text("http = true\n")
    words = ["--config", str(file), "--data-dir", str(tmp_path), "--models-dir", str(models_dir)]
    words += ["--root", str(tmp_path), "--tools", "status,embed"]
    told, *others = [printed(host.name, *words) for host in HOSTS]
    assert others == [told] * len(others)
    assert Path(told.command).is_absolute()
    parameters = StdioServerParameters(
        command=told.command, args=list(told.args), env=dict(told.env), cwd=tmp_path
    )
    with anyio.fail_after(60):
        async with Client(parameters) as client:
            assert client.server_info.version == __version__
            assert {tool.name for tool in (await client.list_tools()).tools} == {"status", "embed"}


def test_settings_are_passed_on_and_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    models = ("--embedder", "mine", "--decoder", "~/other")
    args = printed("zed", "--root", "notes", "--root", "~/papers", "--read-only", *models).args
    assert args[args.index("serve") + 1 :][-9:] == (
        *("--embedder", str(tmp_path / "mine"), "--decoder", str(Path.home() / "other")),
        *("--root", str(tmp_path / "notes"), "--root", str(Path.home() / "papers")),
        "--read-only",
    )


def test_a_root_that_is_no_folder_is_told(tmp_path):
    wrong = tmp_path / "ntoes"
    said = run("config", "zed", "--root", str(tmp_path), "--root", str(wrong)).stderr
    assert f"{wrong} is no folder yet" in said
    assert f"{tmp_path} is no folder" not in said


def test_the_id_of_a_model_stays_one():
    args = launch(Settings(decoder="smollm2-135m-instruct"), Installation("/usr/bin/python")).args
    assert args[args.index("--decoder") + 1] == "smollm2-135m-instruct"


def test_without_a_root_it_is_the_folder_of_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_documents_path", lambda: tmp_path / "Dokumente")
    args = launch(Settings(), Installation("/usr/bin/python")).args
    assert args[-2:] == ("--root", str(tmp_path / "Dokumente"))


def test_http_is_switched_off_for_a_host_that_speaks_over_stdin_and_stdout():
    told = launch(Settings(http=True, port=1), Installation("/usr/bin/python"))
    assert told.env == {"NPU_GATEWAY_HTTP": "0"}
    assert not {"--http", "--port"} & set(told.args)
    assert launch(Settings(), Installation("/usr/bin/python")).env == {}


@pytest.mark.parametrize("name", ["VS Code", "vs-code", "VSCODE", "claude desktop", "claude_code"])
def test_a_host_is_found_as_people_write_it(name):
    assert run("config", name).returncode == 0


@pytest.mark.parametrize(
    ("name", "near"), [("claude", "claude-code or claude-desktop"), ("cursr", "cursor")]
)
def test_an_unknown_host_is_told_the_nearest_and_all(name, near):
    ran = run("config", name)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"Did you mean {near}?" in ran.stderr
    assert all(known in ran.stderr for known in BY_NAME)


def test_without_a_host_all_are_listed():
    assert [line.split()[0] for line in run("config").stdout.splitlines()] == list(BY_NAME)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_host_with_a_command_of_its_own_is_given_one_to_paste(tmp_path):
    said = run("config", "claude-code", "--root", str(tmp_path / "my notes")).stderr
    assert "claude mcp add --scope user npu-gateway -- " in said
    assert f"--root '{tmp_path}/my notes'" in said


def test_what_is_to_be_typed_is_quoted_as_the_shells_of_windows_want():
    words = ["claude", "--", r"C:\Program Files\x.exe", r"C:\R&D", "\\\\a\\Ann's b\\", "D:\\"]
    line = r""" claude -- "C:\Program Files\x.exe" "C:\R&D" "\\a\Ann's b\\" D:\ """
    assert in_shell(words, WINDOWS) == line.strip()
