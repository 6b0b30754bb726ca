"""Listing: what is indexed and what was left out, a page at a time.

Blocks while the index is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from engine import corpus
from engine.corpus import Document
from engine.library import Library
from engine.search.narrowing import Narrowing
from mcp_server import cursors, reports
from mcp_server.results import DocumentEntry, DocumentPage

_PAGE_CHARACTERS = 30_000
"""Of paths, titles and reasons; ids and the rest are about as much again."""

ListedT = TypeVar("ListedT", Document, corpus.SkippedFile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which page of which list a caller wants."""

    cursor: str = ""
    limit: int = 50
    narrowing: Narrowing = field(default_factory=Narrowing)
    skipped: bool = False
    """Files that were left out, instead of documents; of all collections."""


def page(library: Library, wanted: Wanted) -> DocumentPage:
    """A page.

    Raises:
        CollectionNotFound: There is no collection of a name; near ones are named.
        InvalidInput: The cursor is none.
    """
    after = cursors.path_of(wanted.cursor)
    where = library.narrowed(wanted.narrowing)
    documents: list[Document] = []
    skipped: list[corpus.SkippedFile] = []
    if wanted.skipped:
        found = library.skipped_files(after=after, limit=wanted.limit + 1)
        skipped, more = _fitting(found, wanted.limit, lambda one: one.reason)
        total = library.index_statistics().skipped
    else:
        listed = library.documents(after=after, limit=wanted.limit + 1, where=where)
        documents, more = _fitting(listed, wanted.limit, lambda one: one.title)
        total = library.count(where)
    return DocumentPage(
        documents=[_document(one) for one in documents],
        skipped_files=[reports.skipped(file) for file in skipped],
        collections=[] if after else reports.collections(library),
        total=total,
        next_cursor=cursors.after_path([*documents, *skipped][-1].path) if more else "",
    )


def _document(found: Document) -> DocumentEntry:
    return DocumentEntry(
        document_id=found.document_id,
        path=found.path,
        title=found.title,
        kind=found.kind,
        lines=found.line_count,
        chunks=found.chunk_count,
        pages=found.page_count,
    )


def _fitting(
    found: Sequence[ListedT], limit: int, words: Callable[[ListedT], str]
) -> tuple[list[ListedT], bool]:
    """The first of some entries, as many as fit on a page, and whether there are more."""
    shown: list[ListedT] = []
    characters = 0
    for entry in found[:limit]:
        characters += len(entry.path) + len(words(entry))
        if shown and characters > _PAGE_CHARACTERS:
            break
        shown.append(entry)
    return shown, len(found) > len(shown)
