"""Commands, run in the process of the tests or in one of their own."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest

from mcp_server.__main__ import main

AS_IT_IS: Mapping[str, str] = MappingProxyType({})


@dataclass
class Ran:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: str, env: Mapping[str, str] = AS_IT_IS) -> Ran:
    """Runs a command in this process, as the program runs it: without a second of imports."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as ended:
            main(words)
    return Ran(ended.value.code, output.getvalue(), errors.getvalue())


def piped(*words: str, env: Mapping[str, str] = AS_IT_IS, **options: Any) -> Ran:
    """Runs a command in a process of its own, whose system prefers another encoding."""
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server", *words],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "cp1252"} | env,
        **options,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
