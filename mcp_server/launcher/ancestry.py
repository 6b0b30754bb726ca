"""Whether somebody is still there for whom this server was started.

Hosts start it through others: uvx, the command's own .exe and a virtual environment's python.exe on
Windows. A host that is killed takes none of them along, and stdin ends with it only if no other
program has inherited the pipe. Rule: the server ends once the host or anybody between has ended.
Knows no system call: `lineage` says who is above whom, `watched` whose end matters.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from mcp_server.launcher import system
from mcp_server.launcher.start import Start
from mcp_server.launcher.system import Process

LAUNCHERS = frozenset({"uv", "uvx", "uvw", "pipx", "npu-gateway", "py", "cmd"})
"""Programs that start a server for somebody else and wait for it. No shell of POSIX: whoever types
a command in one may close it and leave the command running. No Node: that may be the host."""

_MOST_ANCESTORS = 16


def lineage(pid: int, parent: int, find: Callable[[int], Process | None]) -> Iterator[Process]:
    """The ancestors of a process, its parent first, as far as they are known.

    A parent younger than its child has only been given the number of one that has ended.

    Args:
        pid: The process.
        parent: Its parent, as it was told itself. Where /proc says otherwise, it is that of another
            namespace, as sandboxes leave it to those within: its numbers are other processes.
        find: Looks for a process.
    """
    child = find(pid)
    if child is None or child.parent != parent:
        return
    for _ in range(_MOST_ANCESTORS):
        above = find(child.parent) if child.parent > 1 else None
        if above is None or above.started > child.started:
            return
        yield above
        child = above


def watched(ancestors: Iterable[Process], shim: str = "") -> list[Process]:
    """Of the ancestors, all launchers, and the first that is none: the host.

    Args:
        ancestors: The parent first.
        shim: Path of the python.exe of a virtual environment, which starts another one.
    """
    found: list[Process] = []
    for each in ancestors:
        found.append(each)
        if _name(each.program) not in LAUNCHERS and not _is(each.program, shim):
            break
    return found


def watch(start: Start) -> Callable[[], bool]:
    """Tells whenever it is asked whether all who are to be watched are still there."""
    above = watched(lineage(system.OWN_PID, start.parent, system.find), system.SHIM)
    checks = [system.parent_check(start.parent), *(system.check(each) for each in above)]
    return lambda: all(is_there() for is_there in checks)


def _name(program: str) -> str:
    return re.split(r"[\\/]", program)[-1].lower().removesuffix(".exe")


def _is(program: str, shim: str) -> bool:
    return bool(shim) and program.lower() == shim.lower()
