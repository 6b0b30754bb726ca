"""The commands collections, gc, backup and verify: what is indexed, and that it stays sound."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from engine.corpus import SkippedFile
from engine.library import Library
from mcp_server import rendering, reports
from mcp_server.commands.opening import NOTHING, engine, notes, print_json, results
from mcp_server.settings import Settings

_FILES_AT_ONCE = 1_000
_LINES = 20
"""What is shown of all that is wrong with an index."""


def collections(arguments: argparse.Namespace, settings: Settings) -> int:
    """Lists collections, or with --skipped the files left out of them; --drop removes one."""
    with engine(settings) as opened:
        if arguments.drop is not None:
            return _drop(opened.library, arguments.drop, as_json=arguments.json)
        known = [reports.collection(one) for one in opened.library.collections()]
        skipped = list(_skipped(opened.library)) if arguments.skipped else []
    if arguments.json:
        files = [reports.skipped(one).model_dump() for one in skipped]
        shown = {"collections": [one.model_dump() for one in known]}
        print_json(shown | ({"skipped_files": files} if arguments.skipped else {}))
        return 0
    for entry in known:
        results().print(rendering.collection(entry), markup=False)
    for file in skipped:
        results().print(rendering.skipped(reports.skipped(file)), markup=False)
    if not known:
        notes().print(NOTHING)
    return 0


def gc(arguments: argparse.Namespace, settings: Settings) -> int:
    """Gives back the space of what is no longer used, which is overwritten first."""
    with engine(settings) as opened:
        freed = opened.library.store().compact()
        size = opened.library.index_statistics().size_bytes
    return _say(
        arguments,
        {"freed_bytes": freed, "size_bytes": size},
        f"{rendering.size(freed)} given back; the index takes {rendering.size(size)} now.",
    )


def backup(arguments: argparse.Namespace, settings: Settings) -> int:
    """Copies the index as it is now into a new file, while others read and write it."""
    target = Path(arguments.file).expanduser().absolute()
    with engine(settings) as opened:
        opened.library.store().backup(target)
    size = target.stat().st_size
    return _say(
        arguments,
        {"file": str(target), "size_bytes": size},
        f"{target}: {rendering.size(size)}. To use it, put it in the place of {settings.index_file}"
        " while nothing runs.",
    )


def verify(arguments: argparse.Namespace, settings: Settings) -> int:
    """Examines the whole index; 1 if something is wrong."""
    with engine(settings) as opened:
        problems = opened.library.store().verify()
    lines = [line for problem in problems for line in problem.splitlines()]
    more = [f"... and {len(lines) - _LINES:,} lines more: --json"] if len(lines) > _LINES else []
    text = "\n".join(lines[:_LINES] + more) or "The index is sound."
    _say(arguments, {"ok": not problems, "problems": problems}, text)
    if not problems:
        return 0
    notes().print(
        f"The index is damaged: move {settings.index_file} away and index your folders again, or "
        "put a backup in its place. Your documents are untouched.",
        markup=False,
    )
    return 1


def _drop(library: Library, name: str, *, as_json: bool) -> int:
    removed = library.drop_collection(name)
    sentence = (
        f"{name} is no longer kept; {rendering.count(removed, 'document')} went from the index. "
        "npu-gateway gc gives the space back."
    )
    return _say(argparse.Namespace(json=as_json), {"dropped": name, "removed": removed}, sentence)


def _skipped(library: Library) -> Iterator[SkippedFile]:
    after = ""
    while page := library.skipped_files(after=after, limit=_FILES_AT_ONCE):
        yield from page
        after = page[-1].path


def _say(arguments: argparse.Namespace, facts: dict[str, object], sentence: str) -> int:
    if arguments.json:
        print_json(facts)
    else:
        results().print(sentence, markup=False)
    return 0
