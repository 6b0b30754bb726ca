"""The turns of examples/agent_turns are answered as they should be, within the budgets."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from eras import NEWEST, OLDER

from mcp_server import budgets

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent_turns"
FEW = 4
"""Notes to be passed over: enough here."""

MINUTES = 600


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"agent_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.anyio
@pytest.mark.parametrize("era", [NEWEST, pytest.param(OLDER, marks=pytest.mark.nightly)])
async def test_all_turns_are_answered_within_their_budgets(connect, home):
    turns = loaded("turns")
    loaded("documents").make(home.documents, FEW)
    async with connect() as client:
        rows = await turns.take_all(client, home.documents, patience=60)
    assert len(rows) == 2 + len(turns.SCRIPT["turns"])
    lines = turns.table(rows)
    assert lines[-1].split()[0] == "maximum"


def test_the_budgets_of_the_turns_are_those_that_are_enforced():
    limits = loaded("turns").SCRIPT["budgets"]
    whole = 3 * budgets.RESULT_TOKENS
    tools = ("status", "list_documents", "index_documents", "get_document", "remove_documents")
    assert {limits[name] for name in (*tools, "resource", "prompt")} == {whole}
    assert limits["semantic_search"] == 3 * budgets.SEARCH_TOKENS
    assert limits["embed"] == limits["generate"] == budgets.LARGEST_CHARACTERS
    assert limits["failure"] == budgets.FAILURE_CHARACTERS


@pytest.mark.nightly
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("client", ["python", "node"])
def test_both_official_clients_take_all_turns_over_stdio(
    client, era, tmp_path, models_dir, by_node
):
    documents = tmp_path / "documents"
    loaded("documents").make(documents)
    server = [sys.executable, "-m", "mcp_server", "serve", "--root", str(documents)]
    server += ["--data-dir", str(tmp_path / "data"), "--models-dir", str(models_dir)]
    by_python = [sys.executable, str(EXAMPLE / "turns.py")]
    script = by_python if client == "python" else by_node(EXAMPLE / "turns.mjs")
    told = subprocess.run(
        [*script, era, str(documents), *server],
        capture_output=True,
        encoding="utf-8",
        timeout=MINUTES,
        env=os.environ | {"PYTHONUTF8": "1"},
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.search(r"^ +maximum ", told.stdout, re.MULTILINE)
