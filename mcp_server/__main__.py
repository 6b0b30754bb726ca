"""Runs one command: reads its line, calls its function, and says in one sentence what failed.

Commands are loaded by name when they are called, so that no command pays for another's libraries.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TextIO

from engine.errors import EngineError
from mcp_server import settings
from mcp_server.command_line import COMMANDS, parser
from mcp_server.http import logs
from mcp_server.launcher import modules, start
from mcp_server.misuse import parsed
from mcp_server.plain import plain


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process: 0 done, 1 failed, 2 misused, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    read = parsed(parser(), COMMANDS, words)
    sys.exit(_served(read) if read.command == "serve" else _run(read))


def _served(arguments: argparse.Namespace) -> int:
    if sys.stdout is None or _is_descriptor_1(sys.stdout):
        start.taken()
    return _called(arguments)


def _run(arguments: argparse.Namespace) -> int:
    _open_what_is_closed()
    _keep_stdout_for_results()
    _use_utf8(sys.stdin, sys.stdout)
    try:
        status = _called(arguments)
        sys.stdout.flush()
    except OSError as error:
        if _takes_results():
            raise
        # Whoever reads no further, as `head` does, knows why.
        if not isinstance(error, BrokenPipeError):
            _tell(f"The results cannot be written ({error.strerror}).")
        return 1
    return status


def _called(arguments: argparse.Namespace) -> int:
    _use_utf8(sys.stderr)
    try:
        chosen = settings.read(arguments, arguments.command)
        _log_to_stderr(chosen)
        module = modules.load(f"mcp_server.commands.{COMMANDS[arguments.command][0]}")
        return int(getattr(module, arguments.command.replace(" ", "_"))(arguments, chosen))
    except settings.BadSetting as error:
        _tell(str(error))
        return 2
    except EngineError as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130


def _tell(text: str) -> None:
    sys.stderr.write(plain(f"npu-gateway: {text}") + "\n")
    sys.stderr.flush()


def _log_to_stderr(chosen: settings.Settings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logs.formatter(chosen.json_logs))
    logging.basicConfig(level=chosen.log_level.upper(), handlers=[handler])


def _open_what_is_closed() -> None:
    """A stream that the program was started without is empty, and takes all that is written.

    Else the next file that is opened had its descriptor, and what is printed would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _takes_results() -> bool:
    """Whether stdout takes what is left; if not, it is let go, so that the end is quiet."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        return False
    return True


def _keep_stdout_for_results() -> None:
    """What native libraries print goes to stderr until the process ends; Python's own to stdout.

    The NPU's simulator prints on file descriptor 1, as it likes. On Windows it does not exist.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError, ValueError):
        if _is_descriptor_1(sys.stdout):
            sys.stdout.flush()
            kept = os.dup(1)
            os.dup2(2, 1)
            sys.stdout = os.fdopen(kept, "w", buffering=1 if os.isatty(kept) else -1)


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False


def _use_utf8(*streams: TextIO | None) -> None:
    """Pipes carry UTF-8 on every system, and a file name that is no text ends no command."""
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()
