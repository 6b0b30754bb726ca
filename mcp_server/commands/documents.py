"""The commands index and search: the user's own documents, from a shell."""

import argparse
import unicodedata
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.documents.finder import resolved
from engine.documents.indexer import IndexReport
from engine.engine import Engine
from engine.errors import InvalidInput
from mcp_server import rendering, reports
from mcp_server.commands.opening import embedding_engine, notes, print_json, results
from mcp_server.results import Passage
from mcp_server.settings import Settings

_SNIPPET_CHARACTERS = 600
_SHOWN_FILES = 20
_WHOLE = 10_000_000
"""More characters than any result has."""


def index(arguments: argparse.Namespace, settings: Settings) -> int:
    """Brings a folder's index up to date; files that cannot be read are named."""
    with embedding_engine(settings) as opened:
        folder = resolved(Path(arguments.folder).expanduser())
        report = _indexed(opened, folder, arguments.rebuild)
        shown = len(report.skipped) if arguments.json else _SHOWN_FILES
        result = reports.index(opened, report, complete=True, shown=shown)
    if arguments.json:
        print_json(result.model_dump() | {"embedded_texts": report.embedded_texts})
    else:
        results().print(rendering.index(result), markup=False)
    if report.cleared:
        notes().print(
            f"{rendering.count(report.cleared, 'document')} of other folders went with --rebuild: "
            "index those folders again.",
            markup=False,
        )
    return 0


def _indexed(opened: Engine, folder: Path, rebuild: bool) -> IndexReport:
    report: IndexReport | None = None
    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[path]}", markup=False),
    )
    with Progress(*columns, console=notes(), disable=not notes().is_terminal) as bar:
        task = bar.add_task("", total=None, path="")
        for step in opened.index(folder, rebuild=rebuild):
            bar.update(task, completed=step.done, total=step.total, path=Path(step.path).name)
            report = step.report
    assert report is not None
    return report


def search(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the passages nearest to a question."""
    if not 1 <= arguments.top_k <= 1000:
        raise InvalidInput(f"--top-k must be between 1 and 1000, but is {arguments.top_k}.")
    characters = _WHOLE if arguments.json else _SNIPPET_CHARACTERS
    with embedding_engine(settings) as opened:
        found = opened.search(arguments.query, arguments.top_k)
        result = reports.search(opened, found, characters, _WHOLE)
    if arguments.json:
        print_json(result.model_dump())
        return 0
    if not result.documents:
        notes().print("Nothing is indexed yet; to add a folder: npu-gateway index DIR")
    for passage in result.passages:
        _print_passage(passage)
    return 0


def _print_passage(passage: Passage) -> None:
    place = f"{passage.path}:{passage.line_start}-{passage.line_end}"
    results().print(
        f"[bold green]{passage.score:.2f}[/] [bold]{escape(_plain(place))}[/] "
        f"[dim]{escape(_plain(passage.heading))}[/]"
    )
    results().print(_plain(passage.text) + (" ..." if passage.cut else "") + "\n", markup=False)


def _plain(text: str) -> str:
    """Without the control characters by which a document could steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
