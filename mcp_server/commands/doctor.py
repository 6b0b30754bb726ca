"""The command doctor: examines this machine and says what to do about each problem.

Looks only: nothing is fetched, created or changed, and the network is not touched.
"""

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from engine import __version__, memory
from engine.engine import Absence, Device, Engine, ModelStatus
from engine.errors import EngineError
from engine.library import Library
from engine.machine import NATIVE_PYTHON, Machine, look
from mcp_server import placement
from mcp_server.commands.models import TOOLS_OF
from mcp_server.commands.opening import engine, print_json, results
from mcp_server.rendering import count, size
from mcp_server.settings import Settings

State = Literal["ok", "advice", "problem"]

_STYLES: dict[State, str] = {"ok": "green", "advice": "yellow", "problem": "bold red"}

# The two defaults, their archives and what they are converted from.
_ROOM_BYTES = 1_000_000_000

_LONGER_PATHS = (
    "files with longer paths cannot be read: in a PowerShell of an administrator run "
    r"Set-ItemProperty HKLM:\SYSTEM\CurrentControlSet\Control\FileSystem LongPathsEnabled 1, "
    "then restart npu-gateway"
)

_MOST_SHARE = 0.75
"""Of the machine's memory that models may take without advice."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: State
    fact: str
    advice: str = ""
    """What to do; empty where all is well."""


def doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the findings; exit status 1 if one of them is a problem."""
    with engine(settings) as opened:
        findings = list(examine(opened, settings))
    sound = not any(finding.state == "problem" for finding in findings)
    if arguments.json:
        print_json({"ok": sound, "findings": [asdict(finding) for finding in findings]})
        return 0 if sound else 1
    console = results()
    for finding in findings:
        console.print(f"[{_STYLES[finding.state]}]{finding.state:>7}[/]", finding.name, end=": ")
        console.print(finding.fact, markup=False)
        if finding.advice:
            console.print(f"         -> {finding.advice}", markup=False)
    return 0 if sound else 1


def examine(opened: Engine, settings: Settings) -> Iterator[Finding]:
    """All findings, in the order in which problems should be mended."""
    yield Finding("npu-gateway", "ok", __version__)
    machine = look()
    yield of_python(machine)
    yield from of_paths(machine)
    yield _runtime(opened)
    yield _npu(opened, machine)
    yield from _compiled(opened)
    yield _folder(settings.data_dir)
    for status in opened.models():
        yield _model(status)
    yield _memory(opened)
    yield from _index(opened, settings)


def of_python(machine: Machine) -> Finding:
    """Whether this Python is made for this machine."""
    fact = f"{platform.python_version()} for {machine.built_for}, on a machine of type "
    fact += machine.native or "unknown"
    if machine.is_emulated:
        return Finding("Python", "problem", fact, f"this Python is emulated: {NATIVE_PYTHON}")
    return Finding("Python", "ok", fact)


def of_paths(machine: Machine) -> Iterator[Finding]:
    """Whether files of any depth can be read; nothing where that is no question."""
    if machine.long_paths:
        yield Finding("long paths", "ok", "may be read")
    elif machine.long_paths is not None:
        fact = "Windows opens no path of 260 characters and more"
        yield Finding("long paths", "advice", fact, _LONGER_PATHS)


def _runtime(opened: Engine) -> Finding:
    built_in = ", ".join(opened.available_providers)
    return Finding("ONNX Runtime", "ok", f"{opened.runtime_version}, built with {built_in}")


def _npu(opened: Engine, machine: Machine) -> Finding:
    """The NPU, looked at but not used: nothing is compiled. The policy cpu does not even look."""
    policy = opened.options.placement.policy
    if policy == "cpu":
        return Finding("NPU", "ok", placement.UNSOUGHT)
    found = opened.npu()
    if isinstance(found, Device):
        return _device(found, policy)
    if policy == "npu":
        return Finding("NPU", "problem", f"policy npu, but {found.code}", found.reason)
    state = _absence_state(found, machine)
    if state == "ok":
        return Finding("NPU", "ok", f"none, texts are embedded on the CPU: {found.reason}")
    return Finding("NPU", state, f"none: {found.code}", found.reason)


def _device(found: Device, policy: str) -> Finding:
    """A device, and what can be told to be wrong with it without compiling for it."""
    fact = f"{placement.facts(placement.npu(found, None, policy))}; policy {policy}"
    library = found.options.get("backend_path", "")
    if library != Path(library).name and not Path(library).is_file():
        missing = f"there is no file {library}: leave out the NPU option backend_path"
        return Finding("NPU", "problem", fact, missing)
    return Finding("NPU", "advice" if found.note else "ok", fact, found.note)


def _compiled(opened: Engine) -> Iterator[Finding]:
    """What is kept on disk for the NPU, and what became of its nodes there."""
    contexts = opened.compiled()
    if not contexts:
        return
    shapes = [
        f"{context.fields['bucket']} on {context.fields['provider']} in "
        f"{count(context.facts.nodes, 'node')} as {count(context.facts.operators, 'operator')}, "
        f"{context.facts.unsupported} unsupported"
        for context in contexts
    ]
    fact = f"{size(sum(context.disk_bytes for context in contexts))}: {'; '.join(shapes)}"
    yield Finding("compiled for the NPU", "ok", fact)


def _absence_state(absence: Absence, machine: Machine) -> State:
    """A machine without an NPU is sound; one that may have one should have the package."""
    if absence.code == "no-device":
        return "ok"
    if absence.code == "not-installed":
        return "advice" if machine.native == "ARM64" else "ok"
    return "problem"


def _folder(data_dir: Path) -> Finding:
    existing = next((folder for folder in (data_dir, *data_dir.parents) if folder.exists()), None)
    if existing is None:
        return Finding("data folder", "problem", f"{data_dir} cannot exist", "choose --data-dir")
    free = shutil.disk_usage(existing).free
    fact = f"{data_dir}, {size(free)} free"
    if not os.access(existing, os.W_OK):
        return Finding(
            "data folder", "problem", fact, f"{existing} cannot be written: choose --data-dir"
        )
    if free < _ROOM_BYTES:
        return Finding(
            "data folder",
            "advice",
            fact,
            f"fetching models takes up to {size(_ROOM_BYTES)}: free some room or choose --data-dir",
        )
    return Finding("data folder", "ok", fact)


def _model(status: ModelStatus) -> Finding:
    tools = TOOLS_OF[status.task]
    if not status.model_id:
        return Finding(f"model for {tools}", "problem", "none", status.why)
    return Finding(
        f"model for {tools}",
        "problem" if status.obstacle else "ok",
        f"{status.model_id} ({status.license}, {status.source}): {status.why}; "
        f"takes about {size(status.memory_bytes)} of memory",
        status.obstacle,
    )


def _memory(opened: Engine) -> Finding:
    options = opened.options
    limit, there = options.memory_limit_bytes, memory.physical_bytes()
    models = sum(status.memory_bytes for status in opened.models())
    caches = options.decoding.kv_limit_bytes + options.decoding.prefix_cache_bytes
    most = min(limit or models + caches, models + caches)
    fact = f"{size(there)} in this machine, " if there else ""
    fact += f"models take about {size(models)}, with all caches full {size(models + caches)}"
    fact += f", limited to {size(limit)}" if limit else ""
    if there and most > there * _MOST_SHARE:
        return Finding(
            "memory",
            "advice",
            fact,
            "the machine may become slow: set --memory-limit-mb, or a lower --kv-limit-mb",
        )
    return Finding("memory", "ok", fact)


def _index(opened: Engine, settings: Settings) -> Iterator[Finding]:
    if not settings.index_file.exists():
        yield Finding(
            "index", "advice", "nothing is indexed yet", "to search a folder: npu-gateway index DIR"
        )
        return
    library = opened.library
    try:
        statistics = library.index_statistics()
        waiting = _waiting_for_vectors(library, opened.models()[0].model_id)
    except EngineError as error:
        yield Finding("index", "problem", str(settings.index_file), str(error))
        return
    fact = (
        f"{count(statistics.documents, 'document')}, {count(statistics.chunks, 'chunk')}, "
        f"{count(statistics.skipped, 'file')} left out, {size(statistics.size_bytes)}, "
        f"vectors of {' and '.join(statistics.vectors) or 'no model yet'}"
    )
    yield Finding("index", "advice" if waiting else "ok", fact, waiting)
    yield Finding(
        "vector search",
        "advice" if statistics.vector_search_reason else "ok",
        statistics.vector_search,
        statistics.vector_search_reason,
    )


def _waiting_for_vectors(library: Library, model_id: str) -> str:
    """What to say of texts that the model in use has not embedded; empty if there are none."""
    statistics = library.index_statistics()
    embedded = statistics.vectors.get(model_id, 0)
    if not model_id or embedded == statistics.texts:
        return ""
    return (
        f"{statistics.texts - embedded:,} of {count(statistics.texts, 'passage')} have no vector "
        f"of {model_id} and are found by their words only; npu-gateway index embeds them, so does "
        "a running server"
    )
