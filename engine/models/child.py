"""A child process whose output is read as it comes; it is killed when its generator or we end.

Its output goes to a file, never to our own stdout, and is polled: no thread, no full pipe.
"""

import os
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO

# How often a waiting caller hears of the child, in seconds: a smooth bar, and a prompt cancel.
_TICK = 0.2

# Started without site packages, it takes some 20 ms.
_BETWEEN = (sys.executable, "-I", "-S", str(Path(__file__).with_name("child_program.py")))

_ENDING_SECONDS = 5.0

_FLAGS = (
    subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    if sys.platform == "win32"
    else 0
)

# A signed address serves whoever holds it: its query is as secret as a password.
_QUERY = re.compile(r"\?[^\s'\"<>?]*=[^\s'\"<>]*")
_USER = re.compile(r"://[^/\s]*@")


class ChildFailed(Exception):
    """The child could not be started or did not exit with 0; what it said, without secrets."""

    def __init__(self, lines: list[str], exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        """As the system gave it, on POSIX minus the signal's number; None: nothing was started."""
        self.lines = [_USER.sub("://", _QUERY.sub("", line)) for line in lines]
        super().__init__(self.lines[-1] if lines else "it said nothing")


def run(command: Sequence[str], log: Path) -> Generator[list[str]]:
    """Runs a command to its end, with no standard input, in our own environment.

    Args:
        command: Program and arguments.
        log: File that takes what the child prints, standard error included.

    Yields:
        The lines printed since the last time, several times a second, even where there are none.

    Raises:
        ChildFailed: With every line it printed, addresses without user, password and query.
    """
    seen: list[str] = []
    with log.open("wb") as out, log.open("rb") as printed:
        process = _start(command, out)
        try:
            while not _ended(process):
                seen += (lines := _new_lines(printed, ended=False))
                yield lines
        finally:
            _kill(process)
        seen += (lines := _new_lines(printed, ended=True))
        yield lines
    if process.returncode != 0:
        raise ChildFailed(seen, process.returncode)


def _start(command: Sequence[str], out: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [*_BETWEEN, *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            creationflags=_FLAGS,
        )
    except OSError as error:
        raise ChildFailed([f"{command[0]} could not be started ({error})"]) from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the child, if it has not ended, and the program between."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_TICK)
    except subprocess.TimeoutExpired:
        return False
    return True


def _new_lines(printed: IO[bytes], *, ended: bool) -> list[str]:
    """What came since the last call; a line still being written waits for the next one."""
    block = printed.read()
    whole = len(block) if ended else block.rfind(b"\n") + 1
    printed.seek(whole - len(block), os.SEEK_CUR)
    text = block[:whole].decode("utf-8", "replace")
    return [line for line in (line.strip() for line in text.splitlines()) if line]
