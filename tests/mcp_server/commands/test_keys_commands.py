"""Keys made, listed and taken back on the command line, as a person or a script does it."""

import json
from collections.abc import Callable
from typing import get_args

import pytest
import shell

from mcp_server.__main__ import parser
from mcp_server.keys import Keys, Scope

Run = Callable[..., shell.Ran]


@pytest.fixture
def run(tmp_path) -> Run:
    def keys(*words: str) -> shell.Ran:
        return shell.run("keys", *words, "--data-dir", str(tmp_path))

    return keys


def test_a_key_made_for_a_script_opens_until_it_is_revoked(run, tmp_path):
    keys = Keys(tmp_path / "keys.json")
    made = run("create", "Anna's [bold] laptop")
    assert made.returncode == 0
    assert made.stdout.count("\n") == 1
    key = made.stdout.strip()
    assert keys.find(key).scopes == {"infer", "search"}
    assert key not in made.stderr
    assert "from now on nobody may call" in made.stderr
    listed = run("list").stdout
    assert "Anna's [bold] laptop" in listed
    assert key not in listed
    gone = run("revoke", "Anna's [bold] laptop")
    assert (gone.returncode, gone.stdout) == (0, "")
    assert "No key is left, and one is needed still" in gone.stderr
    assert keys.find(key) is None


def test_keys_are_told_as_json_without_what_opens(run, tmp_path):
    made = json.loads(run("create", "x", "--json", "--scope", "admin", "--scope", "infer").stdout)
    key = made.pop("key")
    assert Keys(tmp_path / "keys.json").find(key).id == made["id"]
    assert made["scopes"] == ["admin", "infer"]
    assert json.loads(run("list", "--json").stdout) == {"needed": True, "keys": [made]}


@pytest.mark.parametrize("words", [[], ["nonsense"], ["create"], ["create", "x", "--scope", "y"]])
def test_misuse_of_keys_is_two_and_says_what_there_is(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["keys", *words])
    assert ended.value.code == 2
    assert "npu-gateway keys" in capsys.readouterr().err


def test_every_scope_can_be_given_to_a_key():
    for scope in get_args(Scope):
        assert parser().parse_args(["keys", "create", "x", "--scope", scope]).scope == [scope]
