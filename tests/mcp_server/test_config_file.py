"""The file of settings: where it is looked for, what it may hold, and what stops a start."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from mcp_server import settings
from mcp_server.settings import BadSetting, Settings


def read(file: Path | None, *words: str, command: str = "serve", **env: str) -> Settings:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser, command)
    named = {f"NPU_GATEWAY_{name.upper()}": value for name, value in env.items()}
    given = ["--config", str(file)] if file else []
    return settings.read(parser.parse_args([*given, *words]), command, named)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "gateway.toml"


@pytest.fixture
def default_file() -> Iterator[Path]:
    """Where a user's file would be; for these tests that is an empty folder."""
    path = Path(platformdirs.user_config_dir("npu-gateway")) / "config.toml"
    path.touch()
    yield path
    path.unlink()


def test_every_kind_of_value_is_read(file, tmp_path):
    file.write_text(
        f"""
        data_dir = '{tmp_path}'
        http = true
        read_only = false
        port = 8_000
        energy_weight = 2
        log_level = "INFO"
        root = ['{tmp_path / "a"}', '{tmp_path / "b:c"}']
        tools = ["embed", "generate,status"]
        cors_origin = ["https://a.example:8443"]
        """
    )
    assert read(file) == Settings(
        config=file,
        data_dir=tmp_path,
        http=True,
        port=8000,
        energy_weight=2.0,
        log_level="info",
        root=(tmp_path / "a", tmp_path / "b:c"),
        tools=("embed", "generate", "status"),
        cors_origin=("https://a.example:8443",),
    )


def test_the_line_comes_before_the_environment_and_that_before_the_file(file):
    file.write_text("threads = 1\nslots = 1\nqueue = 1\nhttp = true")
    chosen = read(file, "--threads", "3", threads="2", slots="2", http="0")
    assert (chosen.threads, chosen.slots, chosen.queue, chosen.http) == (3, 2, 1, False)


def test_the_file_of_the_user_is_read_where_none_is_named(default_file, file):
    default_file.write_text("threads = 5")
    file.write_text("slots = 5")
    assert read(None).threads == 5
    assert read(None).config is None
    assert read(None, config=str(file)) == read(file) == Settings(config=file, slots=5)


def test_only_a_file_that_was_named_has_to_be_there(file):
    assert read(None) == Settings()
    for missing in (file, file / "config.toml"):
        with pytest.raises(BadSetting, match="is not there"):
            read(missing)
    with pytest.raises(BadSetting, match="cannot be read"):
        read(file.parent)


def test_a_file_serves_all_commands_and_is_checked_by_each(file):
    file.write_text("slots = 2\nthreads = 2")
    chosen = read(file, command="models")
    assert (chosen.slots, chosen.threads) == (Settings().slots, 2)
    file.write_text("slots = 0")
    with pytest.raises(BadSetting, match="slots takes a whole number from 1"):
        read(file, command="models")


def test_what_needs_http_may_stand_in_a_file_without_it(file):
    file.write_text('host = "0.0.0.0"\nport = 80')
    assert read(file).host == "0.0.0.0"
    file.write_text('http = true\nuds = "gateway.sock"')
    with pytest.raises(BadSetting, match="--uds takes the place"):
        read(file, "--port", "80")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thread = 1", "thread is no setting; did you mean threads?"),
        ("data-dir = 'x'", "data-dir is no setting; did you mean data_dir?"),
        ("[serve]\nport = 1", "serve is no setting"),
        ("xyzzy = 1", "xyzzy is no setting."),
        ("config = 'other.toml'", "config names this file"),
        ("threads = '1'", "threads takes a whole number, not '1'"),
        ("threads = 1.0", "threads takes a whole number"),
        ("threads = true", "threads takes a whole number"),
        ("threads = -1", "threads takes a whole number from 0 (all cores)"),
        ("energy_weight = '1'", "energy_weight takes a number"),
        ("energy_weight = nan", "energy_weight takes a number from 0 on"),
        ("http = 1", "http takes true or false"),
        ("http = 'yes'", "http takes true or false"),
        ("root = 'x'", "root takes a list of texts in quotes"),
        ("root = [1]", "root takes a list of texts in quotes"),
        ("cors_origin = ['https://a.example', '*']", "cors_origin takes scheme://host"),
        ("data_dir = 2026-01-01", "data_dir takes a text in quotes"),
        ("models_dir = {}", "models_dir takes a text in quotes"),
        ("policy = 'gpu'", "policy takes one of auto, npu, cpu"),
        ("threads = ", "is not TOML"),
        ("threads = 1\nthreads = 2", "is not TOML"),
        ("threads = [" * 100_000, "is not TOML"),
        (b"\xff\xfet\x00", "is not TOML"),
        (b"\x00", "is not TOML"),
    ],
)
def test_a_bad_file_stops_the_start_by_the_name_of_file_and_key(file, text, said):
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadSetting) as stopped:
        read(file)
    assert str(file) in str(stopped.value)
    assert said in str(stopped.value)


def test_a_file_may_begin_with_a_byte_order_mark_and_end_its_lines_as_windows_does(file):
    file.write_bytes(b"\xef\xbb\xbfthreads = 2\r\nslots = 3\r\n")
    assert (read(file).threads, read(file).slots) == (2, 3)


def test_a_start_with_a_bad_file_is_two_and_one_sentence(file):
    file.write_text("thread = 1")
    command = [sys.executable, "-m", "mcp_server", "models", "--config", str(file)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"npu-gateway: {file}: thread is no setting; did you mean threads?\n"
