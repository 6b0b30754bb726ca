"""The commands pull, models and remove: which models are on this machine."""

import argparse
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from engine.errors import EngineError
from engine.models import catalog, fetcher, installed, removal
from engine.models.progress import FetchProgress
from engine.models.spec import ModelSpec, Task
from mcp_server.commands import tables
from mcp_server.commands.opening import notes, print_json, results
from mcp_server.plain import in_a_line
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
        TextColumn("{task.description}", markup=False),
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
    entries = _entries(settings)
    uses: dict[Task, tuple[str, str]] = {
        "embed": _use("embed", settings, settings.embedder),
        "generate": _use("generate", settings, settings.decoder),
    }
    if arguments.json:
        named = {
            task: {"tools": TOOLS_OF[task], "model": model_id, "why": why}
            for task, (model_id, why) in uses.items()
        }
        print_json({"models": [asdict(entry) for entry in entries], "uses": named})
        return 0
    names = ("model", "for", "size", "installed", "licence", "source")
    tables.show(results(), names, [_row(entry) for entry in entries])
    for entry in entries:
        if entry.problem:
            results().print(in_a_line(f"{entry.model}: {entry.problem}"), markup=False)
    for task, (model_id, why) in uses.items():
        results().print(f"{TOOLS_OF[task]}: {model_id or 'no model'} ({why})", markup=False)
    return 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that is known, or installed, or both."""

    model: str
    task: str
    license: str
    source: str
    """Where it came from; where it would come from first if it is not installed."""
    installed: bool
    size_bytes: int
    """On disk; to fetch if it is not installed."""
    problem: str


def _entries(settings: Settings) -> list[Entry]:
    found = {model.model_id: model for model in installed.list_installed(settings.models_folder)}
    entries = [_entry(known, found.pop(known.model_id, None)) for known in catalog.MODELS]
    return entries + [_own(model) for model in found.values()]


def _entry(known: catalog.KnownModel, here: installed.InstalledModel | None) -> Entry:
    return Entry(
        model=known.model_id,
        task=known.task,
        license=known.license,
        source=here.spec.source if here and here.spec else str(known.sources[0]),
        installed=here is not None and not here.broken,
        size_bytes=here.size_bytes if here else known.download_bytes,
        problem=here.broken if here else "",
    )


def _own(model: installed.InstalledModel) -> Entry:
    spec = model.spec
    return Entry(
        model=model.model_id,
        task=spec.task if spec else "",
        license=spec.license if spec else "unknown",
        source=spec.source if spec else "unknown",
        installed=not model.broken,
        size_bytes=model.size_bytes,
        problem=model.broken,
    )


def _row(entry: Entry) -> list[str]:
    here = "damaged" if entry.problem else "yes" if entry.installed else "no"
    cells = (entry.task, size(entry.size_bytes), here, entry.license, entry.source)
    return [in_a_line(text) for text in (entry.model, *cells)]


def _use(task: Task, settings: Settings, wanted: str) -> tuple[str, str]:
    try:
        choice = installed.choose(task, settings.models_folder, wanted or None)
    except EngineError as error:
        return "", str(error)
    return choice.spec.model_id, choice.reason


def remove(arguments: argparse.Namespace, settings: Settings) -> int:
    """Deletes an installed model."""
    freed = removal.remove(arguments.model, settings.models_folder)
    notes().print(f"{arguments.model} removed, {size(freed)} freed.", markup=False)
    return 0
