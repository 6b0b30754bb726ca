"""Opens the engine and the terminal for a command."""

import json
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from engine.engine import Engine
from engine.errors import InvalidInput
from mcp_server.commands.engine_options import options
from mcp_server.settings import Settings


@contextmanager
def engine(settings: Settings) -> Generator[Engine]:
    """An engine that is closed when the command ends."""
    opened = Engine(options(settings, lambda text: notes().print(text, markup=False)))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def embedding_engine(settings: Settings) -> Generator[Engine]:
    """The same for a command that embeds. With the policy npu it first waits until the NPU takes
    texts, which the CPU would otherwise have embedded before."""
    with engine(settings) as opened:
        if settings.policy == "npu":
            with opened.embedder.lease() as embedder:
                embedder.wait_until_prepared()
        yield opened


def results() -> Console:
    """Where results go: colours and boxes on a terminal, plain lines elsewhere."""
    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def notes() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


NOTHING = "Nothing is indexed yet; to add a folder: npu-gateway index DIR"


@contextmanager
def said_of_flags(**flags: str) -> Generator[None]:
    """Lets a refusal that begins with a field of the engine name the flag that gave it."""
    try:
        yield
    except InvalidInput as error:
        text = re.sub(r"\w+", lambda found: flags.get(found[0], found[0]), str(error), count=1)
        raise InvalidInput(text) from error


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
