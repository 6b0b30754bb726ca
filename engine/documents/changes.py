"""Compares the disk with the store and plans the difference.

Pure: what was found and what is known come in as values.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from engine.corpus import Document, SkippedFile
from engine.documents.finder import Entry, FoundFile, Skipped
from engine.paths import is_under


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done so that the store is as the disk."""

    unchanged: int = 0
    """Files of the same size and time as when they were indexed: not even read."""
    pending: tuple[FoundFile, ...] = ()
    """Files to read, the smallest first: new, or of another size or time."""
    gone: tuple[str, ...] = ()
    """Ids of documents whose files are no longer there, or no longer to be indexed."""
    skipped: tuple[Skipped, ...] = ()
    """What the walk left out."""
    refused: tuple[SkippedFile, ...] = ()
    """Files that no reader took and that are as they were then: not read again."""

    @property
    def total(self) -> int:
        """Everything that is to be dealt with or is already, documents that are gone among it."""
        return self.settled + len(self.pending) + len(self.gone)

    @property
    def settled(self) -> int:
        """What needs nothing to be done."""
        return self.unchanged + len(self.skipped) + len(self.refused)

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(
            self.unchanged + other.unchanged,
            _smallest_first(self.pending + other.pending),
            self.gone + other.gone,
            self.skipped + other.skipped,
            self.refused + other.refused,
        )


def plan(
    found: Iterable[Entry],
    known: Iterable[Document],
    refused: Iterable[SkippedFile] = (),
    *,
    every: bool = False,
) -> Plan:
    """Plans.

    Args:
        found: All that the finder yielded for a part of a collection.
        known: Every document stored of the same part.
        refused: Every file of it that is known to be left out.
        every: Read every file, known or not.
    """
    documents = {document.path: document for document in known}
    out = {file.path: file for file in refused if file.size >= 0}
    entries = list(found)
    skipped = tuple(entry for entry in entries if isinstance(entry, Skipped))
    unread: list[SkippedFile] = []
    pending: list[FoundFile] = []
    here: set[str] = set()
    for file in (entry for entry in entries if isinstance(entry, FoundFile)):
        if not every and _is_same(file, out.get(file.path)):
            unread.append(out[file.path])
            continue
        here.add(file.path)
        if every or not _is_same(file, documents.get(file.path)):
            pending.append(file)
    unseen = [entry.path for entry in skipped if entry.unseen]
    gone = tuple(
        document.document_id
        for path, document in documents.items()
        if path not in here and not any(is_under(path, folder) for folder in unseen)
    )
    return Plan(len(here) - len(pending), _smallest_first(pending), gone, skipped, tuple(unread))


def _smallest_first(files: Iterable[FoundFile]) -> tuple[FoundFile, ...]:
    """Stopped before its end, a run has done most of the files."""
    return tuple(sorted(files, key=lambda file: (file.size, file.path)))


def _is_same(file: FoundFile, known: Document | SkippedFile | None) -> bool:
    return known is not None and (known.size, known.stamp_ns) == (file.size, file.stamp_ns)
