"""The commands index, reindex and watch: what keeps the index as the disk is."""

import argparse
from collections.abc import Generator
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.documents.collecting import Wishes
from engine.documents.finder import resolved
from engine.documents.progress import IndexProgress
from engine.errors import InvalidInput
from engine.library import Library
from mcp_server import rendering, reports
from mcp_server.commands.opening import NOTHING, embedding_engine, notes, print_json, results
from mcp_server.plain import in_a_line
from mcp_server.settings import Settings

_SHOWN_FILES = 20
_ALL_FILES = 10_000_000


def index(arguments: argparse.Namespace, settings: Settings) -> int:
    """Brings a folder's index up to date, or that of all; files that cannot be read are named."""
    wishes = Wishes(
        arguments.name,
        tuple(arguments.include) if arguments.include else None,
        tuple(arguments.exclude) if arguments.exclude else None,
    )
    if not (arguments.folder or wishes.are_none):
        raise InvalidInput("--name, --include and --exclude are those of a folder: name it, too.")
    with embedding_engine(settings) as opened:
        steps = _steps(opened.library, arguments.folder, wishes, rebuild=arguments.rebuild)
        return _indexed(opened.library, steps, as_json=arguments.json)


def reindex(arguments: argparse.Namespace, settings: Settings) -> int:
    """Reads every file of a folder or of all collections anew, changed or not."""
    with embedding_engine(settings) as opened:
        steps = _steps(opened.library, arguments.folder, Wishes(), rebuild=True)
        return _indexed(opened.library, steps, as_json=arguments.json)


def watch(_: argparse.Namespace, settings: Settings) -> int:
    """Brings all collections up to date, and again whenever something in them changes."""
    with embedding_engine(settings) as opened:
        if not opened.library.store().collections():
            raise InvalidInput(NOTHING)
        runs = 0
        for step in opened.library.watch():
            if step is None or not step.is_last:
                continue
            runs += 1
            if runs == 1 or step.report.indexed or step.report.removed:
                result = reports.index(opened.library, step, shown=_SHOWN_FILES)
                results().print(rendering.index(result), markup=False)
            if runs == 1:
                notes().print("watching; Ctrl-C ends it", markup=False)
    return 0


def _steps(
    library: Library, folder: str, wishes: Wishes, *, rebuild: bool
) -> Generator[IndexProgress]:
    """A run over a folder, or over all collections without one.

    Raises:
        InvalidInput: There is no collection.
    """
    if folder:
        return library.index(resolved(Path(folder).expanduser()), wishes, rebuild=rebuild)
    if not library.store().collections():
        raise InvalidInput(NOTHING)
    return library.index_all(rebuild=rebuild)


def _indexed(library: Library, steps: Generator[IndexProgress], *, as_json: bool) -> int:
    """Takes all steps and prints what came of them; 1 if a file or folder could not be read."""
    last = _shown(steps)
    result = reports.index(library, last, shown=_ALL_FILES if as_json else _SHOWN_FILES)
    if as_json:
        own = {"embedded_texts": last.report.embedded_texts, "failed": last.report.failed}
        print_json(result.model_dump() | own)
    else:
        results().print(rendering.index(result), markup=False)
    return 1 if last.report.failed or last.report.unavailable else 0


def _shown(steps: Generator[IndexProgress]) -> IndexProgress:
    """Takes all steps, with bar and remaining time on a terminal; the last one."""
    last: IndexProgress | None = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[path]}", markup=False),
    )
    with Progress(*columns, console=notes(), disable=not notes().is_terminal) as bar:
        task = bar.add_task("looking", total=None, path="")
        for last in steps:
            embeds = last.phase == "embedding"
            bar.update(
                task,
                description=last.phase,
                completed=last.texts_done if embeds else last.files_done,
                total=(last.texts_total if embeds else last.files_total) or None,
                path=in_a_line(Path(last.path).name),
            )
    assert last is not None
    return last
