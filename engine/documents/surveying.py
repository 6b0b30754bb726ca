"""Looks at disk and store, part by part, and plans what is to be done in all of them.

Rule: a place that cannot be looked into, or that looks as if a drive were not there, is reported,
and what is indexed of it stays.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.corpus import Document, Filter, SkippedFile
from engine.documents import changes
from engine.documents.changes import Plan
from engine.documents.collecting import Part
from engine.documents.document_store import DocumentStore
from engine.documents.finder import Entry, find, is_bare
from engine.documents.progress import IndexProgress, IndexReport
from engine.errors import InvalidInput

_ROWS_PER_PAGE = 1000
# Files found between two steps of the walk, and how many of them a folder is worth: some 0.2 s.
_WALKED_PER_STEP = 2000
_WEIGHT_OF_A_FOLDER = 10


@dataclass(slots=True)
class Survey:
    """What was seen of all parts together."""

    plan: Plan = field(default_factory=Plan)
    known: dict[str, Document] = field(default_factory=dict[str, Document])
    """Of the files to read, by path; none where they are to be cut in any case."""
    noted: set[str] = field(default_factory=set[str])
    """Of the files to read, those that were left out before."""
    unavailable: tuple[SkippedFile, ...] = ()

    def add(self, plan: Plan, known: Mapping[str, Document], noted: set[str]) -> None:
        """Adds what was seen of a part."""
        self.plan += plan
        paths = (file.path for file in plan.pending)
        self.known |= {path: known[path] for path in paths if path in known}
        self.noted |= noted

    def report(self) -> IndexReport:
        """What needs nothing to be done."""
        left_out = (SkippedFile(one.path, one.reason) for one in self.plan.skipped)
        return IndexReport(
            unchanged=self.plan.unchanged,
            skipped=(*self.plan.refused, *left_out),
            failed=sum(one.unseen for one in self.plan.skipped),
            unavailable=self.unavailable,
        )


def survey(
    store: DocumentStore, parts: Sequence[Part], *, asked: str = "", every: bool = False
) -> Generator[IndexProgress, None, Survey]:
    """Walks and plans; brings up to date what is known to be left out.

    Args:
        store: What is known.
        parts: From `collecting.parts`.
        asked: A path whose absence is an error rather than a line of the report.
        every: Plan to read every file again, changed or not.

    Raises:
        InvalidInput: There is nothing at `asked`.
    """
    seen = Survey()
    for part in parts:
        known = yield from _known(store, part)
        try:
            found = yield from _found(part, known, is_asked=part.root == asked)
        except InvalidInput as error:
            if part.root == asked:
                raise
            seen.unavailable += (SkippedFile(part.root, str(error)),)
            continue
        noted = list(_skipped(store, part.root))
        own = [file for file in noted if part.covers(file.path)]
        plan = changes.plan(found, known.values(), own, every=every)
        again = {file.path for file in plan.pending} & {file.path for file in own}
        others = [one for one in noted if one.path in again or not part.covers(one.path)]
        walked = (SkippedFile(one.path, one.reason) for one in plan.skipped if not one.is_named)
        store.set_skipped(part.root, [*others, *plan.refused, *walked])
        seen.add(plan, {} if every else known, again)
    return seen


def _known(store: DocumentStore, part: Part) -> Generator[IndexProgress, None, dict[str, Document]]:
    """The documents of a part, by path."""
    known: dict[str, Document] = {}
    where, after = Filter(roots=(part.root,)), ""
    while page := store.documents(after=after, limit=_ROWS_PER_PAGE, where=where):
        known |= {one.path: one for one in page if part.covers(one.path)}
        after = page[-1].path
        if len(page) == _ROWS_PER_PAGE:
            yield _looking(part)
    return known


def _skipped(store: DocumentStore, under: str) -> Iterator[SkippedFile]:
    after = ""
    while page := store.skipped(after=after, limit=_ROWS_PER_PAGE, under=under):
        yield from page
        after = page[-1].path


def _found(
    part: Part, known: Mapping[str, Document], *, is_asked: bool
) -> Generator[IndexProgress, None, list[Entry]]:
    """Walks a part.

    Raises:
        InvalidInput: It cannot be looked into, or it is as if a drive were not there.
    """
    if _is_gone(part) and (known or not is_asked):
        return []
    found: list[Entry] = []
    weight = 0
    for entries in find(part):
        found += entries
        weight += _WEIGHT_OF_A_FOLDER + len(entries)
        if weight >= _WALKED_PER_STEP:
            yield _looking(part)
            weight = 0
    if not found and known and part.is_whole and is_bare(part.root):
        raise InvalidInput(
            f"{part.root} is empty, though {len(known)} documents of it are indexed, as if a drive "
            "were not there; nothing in the index changed. If it is meant to be empty, remove its "
            f'collection "{part.collection.name}".'
        )
    return found


def _is_gone(part: Part) -> bool:
    """Whether a path in a collection is not there or a link now, while the collection is there."""
    if part.is_whole or not os.path.isdir(part.collection.root) or is_bare(part.collection.root):
        return False
    return os.path.islink(part.root) or not os.path.lexists(part.root)


def _looking(part: Part) -> IndexProgress:
    return IndexProgress(phase="looking", path=part.root, report=IndexReport())
