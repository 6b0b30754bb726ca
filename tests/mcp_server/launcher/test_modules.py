"""Modules: what a command stands on, and what it does without."""

import gc
import subprocess
import sys

import pytest

from mcp_server.launcher import modules

FEW_USE = ("rich", "charset_normalizer", "llguidance", "onnx", "tree_sitter")


def test_garbage_is_looked_for_again_once_a_module_is_loaded() -> None:
    modules.load("mcp_server.commands.engine_options")

    assert gc.isenabled()


def test_a_module_that_is_not_there_is_told_and_garbage_is_looked_for_again() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        modules.load("mcp_server.no_such_module")

    assert gc.isenabled()


def test_a_server_begins_without_the_libraries_that_few_use() -> None:
    look = (
        "import sys, mcp_server.__main__, mcp_server.commands.serve, mcp_server.http.serving\n"
        f"print([name for name in {FEW_USE!r} if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True
    )

    assert loaded.stdout == "[]\n"
