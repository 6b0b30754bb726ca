"""Who is watched, for chains of processes as hosts make them on every system."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcp_server.launcher import ancestry, system
from mcp_server.launcher.ancestry import lineage, watched
from mcp_server.launcher.system import Process

if sys.platform != "win32":
    import resource


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


SHIM = r"C:\Users\Ann\venv\Scripts\python.exe"

CHAINS = {
    "a host of its own": (["claude", "zsh", "Terminal"], "", 1),
    "uvx on POSIX": (["uv", "claude", "zsh"], "", 2),
    "a command typed into a shell": (["bash", "gnome-terminal"], "", 1),
    "a host that is a Python program": (["python3", "bash"], "", 1),
    "uvx on Windows": (
        [SHIM, r"C:\Users\Ann\bin\npu-gateway.exe", r"C:\Tools\uvx.exe", r"C:\Claude\Claude.exe"],
        SHIM,
        4,
    ),
    "cmd on Windows": ([r"C:\Windows\System32\cmd.exe", r"C:\VS\Code.exe", "explorer.exe"], "", 2),
    "paths in another case": ([SHIM.upper(), r"c:\claude\CLAUDE.EXE", "x"], SHIM, 2),
    "a Python host in the same environment": ([r"C:\Python312\python.exe", SHIM], SHIM, 1),
    "no parent": ([], SHIM, 0),
    "nothing but launchers that are known": (["uvx", "cmd"], "", 2),
}


@pytest.mark.parametrize("case", CHAINS)
def test_launchers_and_the_host_above_them_are_watched_and_nobody_else(case):
    programs, shim, expected = CHAINS[case]
    chain = [Process(100 - n, 99 - n, program, 50 - n) for n, program in enumerate(programs)]
    assert watched(iter(chain), shim) == chain[:expected]


SYSTEMS = {
    "all known": ({9: (5, 30), 5: (3, 20), 3: (1, 10)}, [5, 3]),
    "the numbers of another namespace": ({9: (2, 30), 2: (1, 0), 5: (3, 20)}, []),
    "a number given away": ({9: (5, 30), 5: (3, 40), 3: (1, 10)}, []),
    "one given away further up": ({9: (5, 30), 5: (3, 20), 3: (1, 25)}, [5]),
    "a parent that is gone": ({9: (5, 30)}, []),
    "others hidden": ({}, []),
    "a child of init": ({9: (1, 30), 1: (0, 0)}, []),
    "a container's first process": ({9: (0, 30)}, []),
    "a ring of numbers": ({9: (5, 30), 5: (9, 30)}, [5, 9] * 8),
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_the_lineage_ends_where_a_parent_is_gone_or_its_number_another_ones(case):
    known, expected = SYSTEMS[case]
    found = {pid: Process(pid, parent, "any", began) for pid, (parent, began) in known.items()}
    told = {"a child of init": 1, "a container's first process": 0}.get(case, 5)
    assert [each.pid for each in lineage(9, told, found.get)] == expected


@pytest.mark.skipif(sys.platform == "darwin", reason="needs Linux or Windows")
def test_this_system_tells_of_a_process_as_long_as_it_lives():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = system.find(child.pid)
        assert found is not None
        assert found.parent == os.getpid()
        above = ancestry.lineage(child.pid, os.getpid(), system.find)
        assert next(above).pid == os.getpid()
        is_there = system.check(found)
        assert is_there()
        with no_descriptor_left():
            assert is_there()
        child.kill()
        child.wait()
        assert not is_there()
        assert system.find(child.pid) is None
