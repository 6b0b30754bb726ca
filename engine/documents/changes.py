"""Compares the disk with the store and plans the difference.

Pure: what was found and what is known come in as values.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from engine.corpus import Document
from engine.documents.finder import FoundFile, Skipped


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done so that the store is as the disk."""

    unchanged: int
    """Files of the same size and time as when they were indexed: not even read."""
    pending: tuple[FoundFile, ...]
    """Files to read, the smallest first: new, or of another size or time."""
    gone: tuple[str, ...]
    """Ids of documents whose files are no longer there, or no longer to be indexed."""
    skipped: tuple[Skipped, ...]

    @property
    def total(self) -> int:
        """Files looked at, skipped ones included."""
        return self.unchanged + len(self.pending) + len(self.skipped)


def plan(
    found: Iterable[FoundFile | Skipped], known: Iterable[Document], *, every: bool = False
) -> Plan:
    """Plans.

    Args:
        found: All that the finder yielded for a root.
        known: Every document stored under the same root.
        every: Read every file, known or not.
    """
    documents = {document.path: document for document in known}
    entries = list(found)
    files = [entry for entry in entries if isinstance(entry, FoundFile)]
    skipped = tuple(entry for entry in entries if isinstance(entry, Skipped))
    pending = [file for file in files if every or not _is_as_known(file, documents.get(file.path))]
    # Stopped before its end, a run has done most of the files.
    pending.sort(key=lambda file: (file.size, file.path))
    here = {file.path for file in files}
    unseen = [entry.path for entry in skipped if entry.unseen]
    gone = tuple(
        document.document_id
        for path, document in documents.items()
        if path not in here and not any(_is_under(path, folder) for folder in unseen)
    )
    return Plan(len(files) - len(pending), tuple(pending), gone, skipped)


def _is_as_known(file: FoundFile, document: Document | None) -> bool:
    return document is not None and (document.size, document.stamp_ns) == (file.size, file.stamp_ns)


def _is_under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
