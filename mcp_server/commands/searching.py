"""The command search: the user's own documents, from a shell."""

import argparse
from collections.abc import Sequence

from rich.text import Text

from engine.errors import InvalidInput
from engine.search.narrowing import Narrowing
from mcp_server import passages, rendering
from mcp_server.commands.opening import (
    NOTHING,
    embedding_engine,
    notes,
    print_json,
    results,
    said_of_flags,
)
from mcp_server.passages import Asked
from mcp_server.plain import in_a_line, plain
from mcp_server.results import Passage, SearchResult
from mcp_server.settings import Settings

_SNIPPET_CHARACTERS = 600
_WHOLE = 10_000_000
"""More characters than any passage has."""


def search(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the passages that answer a question, with the words looked for highlighted."""
    if not 1 <= arguments.top_k <= 1000:
        raise InvalidInput(f"--top-k must be between 1 and 1000, but is {arguments.top_k}.")
    asked = Asked(
        query=arguments.query,
        top_k=arguments.top_k,
        snippet_characters=_WHOLE if arguments.json else _SNIPPET_CHARACTERS,
        narrowing=Narrowing(
            collections=arguments.collection or (),
            paths=arguments.path or (),
            kinds=arguments.kind or (),
            modified_after=arguments.after,
            modified_before=arguments.before,
            metadata=_pairs(arguments.metadata or ()),
        ),
        mode=arguments.mode,
        explain=arguments.explain,
    )
    flags = said_of_flags(modified_after="--after", modified_before="--before")
    with flags, embedding_engine(settings) as opened:
        found = opened.library.search(asked.request(opened.library))
        result = passages.result(opened.library, asked, found)
    if arguments.json:
        print_json(result.model_dump())
    else:
        _print(result)
    return 0


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if not all(name and separator for name, separator, _ in pairs):
        raise InvalidInput("--metadata takes NAME=VALUE, such as author=Ann.")
    return {name: value for name, _, value in pairs}


def _print(result: SearchResult) -> None:
    if result.degraded:
        notes().print(result.degraded, markup=False)
    if not result.documents:
        notes().print(NOTHING)
    elif not result.passages:
        notes().print("No passage found, or none that matches.")
    for passage in result.passages:
        _print_passage(passage)


def _print_passage(passage: Passage) -> None:
    lines = f"{passage.path}:{passage.line_start}-{passage.line_end}"
    page = f" page {passage.page}" if passage.page else ""
    place = Text.assemble(
        (f"{passage.score:.2f} ", "bold green"),
        (in_a_line(lines), "bold"),
        (in_a_line(f"{page} {passage.heading}"), "dim"),
    )
    results().print(place)
    if passage.explanation:
        results().print(rendering.explanation(passage.explanation), style="dim", markup=False)
    text = Text(plain(passage.text))
    for start, end in passage.highlights:
        text.stylize("bold yellow", start, end)
    results().print(text.append(" ...\n" if passage.cut else "\n"))
