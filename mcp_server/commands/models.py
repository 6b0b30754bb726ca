"""The commands pull, models and remove: which models are on this machine."""

import argparse
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from engine.errors import EngineError
from engine.models import catalog, fetcher, installed, removal
from engine.models.progress import FetchProgress
from engine.models.spec import ModelSpec, Task
from mcp_server.commands.opening import notes, print_json, results
from mcp_server.rendering import size
from mcp_server.settings import Settings

Steps = Generator[FetchProgress, None, ModelSpec]

TOOLS_OF: dict[Task, str] = {
    "embed": "embed, semantic_search, index_documents",
    "generate": "generate",
}


def pull(arguments: argparse.Namespace, settings: Settings) -> int:
    """Fetches the named models, or the two defaults."""
    wanted = arguments.model or [model.model_id for model in catalog.MODELS if model.default]
    for known in [catalog.find(model_id) for model_id in wanted]:
        spec = fetch(known, settings)
        notes().print(f"{spec.model_id} is ready ({spec.license}, {spec.folder}).", markup=False)
    return 0


def fetch(known: catalog.KnownModel, settings: Settings) -> ModelSpec:
    """Fetches one model, showing how far it is; nothing is shown if it is installed."""
    steps = fetcher.fetch(known, settings.models_folder, offline=settings.offline)
    with closing(steps):
        return (_show_bars if notes().is_terminal else _show_lines)(steps)


def _show_bars(steps: Steps) -> ModelSpec:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes()) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}

        def show(step: FetchProgress) -> None:
            key = (step.stage, step.file)
            if key not in tasks:
                tasks[key] = bars.add_task(_label(step), total=None)
            bars.update(tasks[key], completed=step.done_bytes, total=step.total_bytes or None)

        return _all(steps, show)


def _show_lines(steps: Steps) -> ModelSpec:
    shown: set[str] = set()

    def show(step: FetchProgress) -> None:
        if (label := _label(step)) not in shown:
            notes().print(label, markup=False)
            shown.add(label)

    return _all(steps, show)


def _all(steps: Steps, show: Callable[[FetchProgress], None]) -> ModelSpec:
    while True:
        try:
            show(next(steps))
        except StopIteration as end:
            return end.value


def _label(step: FetchProgress) -> str:
    return " ".join(filter(None, (step.model_id, step.stage, Path(step.file).name)))


def models(arguments: argparse.Namespace, settings: Settings) -> int:
    """Lists known and installed models, and which one each tool would use and why."""
    found = {model.model_id: model for model in installed.list_installed(settings.models_folder)}
    uses: dict[Task, tuple[str, str]] = {
        "embed": _use("embed", settings, settings.embedder),
        "generate": _use("generate", settings, settings.decoder),
    }
    if arguments.json:
        print_json(_listing(found, uses))
        return 0
    table = Table("model", "task", "installed", "licence", "source", "what it is")
    for known in catalog.MODELS:
        here = found.pop(known.model_id, None)
        state = f"no ({size(known.download_bytes)} to fetch)"
        if here is not None:
            state = here.broken or size(here.size_bytes)
        table.add_row(
            known.model_id, known.task, state, known.license, str(known.sources[0]), known.title
        )
    results().print(table)
    for task, (model_id, why) in uses.items():
        results().print(f"{TOOLS_OF[task]}: {model_id or 'no model'} ({why})", markup=False)
    return 0


def _use(task: Task, settings: Settings, wanted: str) -> tuple[str, str]:
    try:
        choice = installed.choose(task, settings.models_folder, wanted or None)
    except EngineError as error:
        return "", str(error)
    return choice.spec.model_id, choice.reason


def _listing(
    found: dict[str, installed.InstalledModel], uses: dict[Task, tuple[str, str]]
) -> dict[str, object]:
    return {
        "models": [_entry(known, found.get(known.model_id)) for known in catalog.MODELS],
        "uses": {
            task: {"tools": TOOLS_OF[task], "model": model_id, "why": why}
            for task, (model_id, why) in uses.items()
        },
    }


def _entry(known: catalog.KnownModel, here: installed.InstalledModel | None) -> dict[str, object]:
    return {
        "model": known.model_id,
        "task": known.task,
        "license": known.license,
        "sources": [str(source) for source in known.sources],
        "download_bytes": known.download_bytes,
        "installed": here is not None and not here.broken,
        "size_bytes": here.size_bytes if here else 0,
        "problem": here.broken if here else "",
    }


def remove(arguments: argparse.Namespace, settings: Settings) -> int:
    """Deletes an installed model."""
    freed = removal.remove(arguments.model, settings.models_folder)
    notes().print(f"{arguments.model} removed, {size(freed)} freed.", markup=False)
    return 0
