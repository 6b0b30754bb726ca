"""Misuse: who names a command or flag that is not there is told in one sentence what there is.

Knows no command: those that there are come in.
"""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import NoReturn

from mcp_server.plain import plain

_FLAG = re.compile("--[a-z][a-z0-9-]*")


class Parser(argparse.ArgumentParser):
    """Ends the process with 2 and a sentence, without all that could have been written instead."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong in argparse's words, and where to read more."""
        self.refuse(f"{self.prog}: {message}; {self.prog} --help shows what it takes.")

    def refuse(self, sentence: str) -> NoReturn:
        """Ends the process; what was typed steers no terminal."""
        self.exit(2, plain(f"{sentence}\n"))


def parsed(top: Parser, commands: Collection[str], words: Sequence[str]) -> argparse.Namespace:
    """What a line says.

    Args:
        top: The whole command line; each command's own parser is its default for `parser`.
        commands: Their names, of one word or two.
        words: The line, without the program.

    Raises:
        SystemExit: It was misused (2), or --help or --version was asked for (0).
    """
    if not words:
        top.print_help(sys.stderr)
        top.exit(2)
    _check_command(top, commands, words)
    arguments, left = top.parse_known_args(words)
    if left:
        _refuse_word(arguments.parser, next((word for word in left if word[0:1] == "-"), left[0]))
    return arguments


def _check_command(top: Parser, commands: Collection[str], words: Sequence[str]) -> None:
    first = words[0]
    family = [name for name in commands if name.startswith(f"{first} ")]
    word = " ".join(words[:2]) if family else first
    if word in commands or any(part.startswith("-") for part in word.split(" ")):
        return
    there_are = family or commands
    near = get_close_matches(word, there_are, n=1) if word != first or not family else []
    offer = f"did you mean {near[0]}? {top.prog} --help lists all" if near else ""
    offer = offer or f"there are {', '.join(there_are)}"
    top.refuse(f"{top.prog}: There is no command {word!r}; {offer}.")


def _refuse_word(below: Parser, word: str) -> NoReturn:
    """Refuses a flag that the command does not have, or a word too many."""
    more = f"{below.prog} --help shows what it takes"
    if not word.startswith("-"):
        together = "several words that belong together go in quotes"
        below.refuse(f"{below.prog} has no place for {word!r}: {together}, and {more}.")
    flag = word.partition("=")[0]
    near = get_close_matches(flag, _FLAG.findall(below.format_usage()), n=1)
    below.refuse(
        f"{below.prog} has no {flag}; {f'did you mean {near[0]}? ' if near else ''}{more}."
    )
