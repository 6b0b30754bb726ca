"""The commands index and search: the user's own documents, from a shell."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.corpus import Hit
from engine.documents.indexer import IndexReport
from engine.engine import Engine
from engine.errors import InvalidInput
from mcp_server.commands.opening import engine, notes, print_json, results
from mcp_server.rendering import HOW_TO_INDEX, count, snippet
from mcp_server.settings import Settings

_SNIPPET_CHARACTERS = 600
_SHOWN_SKIPPED = 20


def index(arguments: argparse.Namespace, settings: Settings) -> int:
    """Brings a folder's index up to date; exit status 1 if a file could not be read."""
    with engine(settings) as opened:
        if arguments.rebuild:
            opened.clear_index()
        report = _indexed(opened, Path(arguments.folder).expanduser().resolve())
        documents = opened.index_statistics().documents
    if arguments.json:
        print_json(asdict(report) | {"documents": documents})
        return 0
    for skipped in report.skipped[:_SHOWN_SKIPPED]:
        notes().print(f"skipped {skipped.path}: {skipped.reason}", markup=False)
    if len(report.skipped) > _SHOWN_SKIPPED:
        notes().print(f"... and {len(report.skipped) - _SHOWN_SKIPPED} more skipped (--json)")
    results().print(
        f"{report.indexed} indexed, {report.unchanged} unchanged, {report.removed} removed, "
        f"{len(report.skipped)} skipped; {count(documents, 'document')} in the index now.",
        markup=False,
    )
    return 0


def _indexed(opened: Engine, folder: Path) -> IndexReport:
    report: IndexReport | None = None
    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[path]}"),
    )
    with Progress(*columns, console=notes(), disable=not notes().is_terminal) as bar:
        task = bar.add_task("", total=None, path="")
        for step in opened.index(folder):
            bar.update(task, completed=step.done, total=step.total, path=Path(step.path).name)
            report = step.report
    assert report is not None
    return report


def search(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the passages nearest to a question."""
    if not 1 <= arguments.top_k <= 1000:
        raise InvalidInput(f"--top-k must be between 1 and 1000, but is {arguments.top_k}.")
    with engine(settings) as opened:
        hits = opened.search(arguments.query, arguments.top_k)
        documents = opened.index_statistics().documents
    if arguments.json:
        print_json({"passages": [_passage(hit) for hit in hits], "documents": documents})
        return 0
    if not documents:
        notes().print(f"Nothing is indexed yet. {HOW_TO_INDEX}.", markup=False)
    for hit in hits:
        _print_hit(hit)
    return 0


def _print_hit(hit: Hit) -> None:
    text, cut = snippet(hit.chunk.text, _SNIPPET_CHARACTERS)
    place = f"{hit.document.path}:{hit.chunk.line_start}-{hit.chunk.line_end}"
    heading = " > ".join(hit.chunk.heading_path)
    results().print(
        f"[bold green]{hit.score:.2f}[/] [bold]{escape(place)}[/] [dim]{escape(heading)}[/]"
    )
    results().print(text + (" ..." if cut else "") + "\n", markup=False)


def _passage(hit: Hit) -> dict[str, object]:
    return {
        "document_id": hit.document.document_id,
        "path": hit.document.path,
        "line_start": hit.chunk.line_start,
        "line_end": hit.chunk.line_end,
        "heading": " > ".join(hit.chunk.heading_path),
        "score": hit.score,
        "text": hit.chunk.text,
    }
