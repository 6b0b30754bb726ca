"""Listing: what is indexed and what was left out, a page at a time.

Collections come first, then what is in them. Blocks while the index is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine import corpus
from engine.corpus import Document, Filter
from engine.library import Library
from engine.search.narrowing import Narrowing
from mcp_server import cursors, rendering, reports
from mcp_server.budgets import RESULT_TOKENS, first, shown_path, tokens_of
from mcp_server.results import CollectionEntry, DocumentEntry, DocumentPage, SkippedFile
from mcp_server.tokens import estimated_tokens

_ROOM = RESULT_TOKENS - 600
"""Tokens of all entries; the rest stands around them, as may a cursor behind a collection."""


File = Document | corpus.SkippedFile


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
    place = cursors.listed(wanted.cursor)
    where = library.narrowed(wanted.narrowing)
    known = [] if place.path else reports.collections(library, after=place.collection)
    collections = first(known, _ROOM, least=1)
    are_all = len(collections) == len(known) < reports.COLLECTIONS
    files = _files(library, wanted, where, place.path) if are_all else ()
    entries = [_entry(one) for one in files]
    room = _ROOM - tokens_of(collections) - _longest_cursor(files)
    shown = first(entries[: wanted.limit], room, least=0 if collections else 1)
    more = not are_all or len(shown) < len(entries)
    total = library.index_statistics().skipped if wanted.skipped else library.count(where)
    return DocumentPage(
        documents=[one for one in shown if isinstance(one, DocumentEntry)],
        skipped_files=[one for one in shown if isinstance(one, SkippedFile)],
        collections=collections,
        total=total,
        notice="" if total else _why_none(wanted, where),
        next_cursor=_behind([*collections, *files[: len(shown)]][-1]) if more else "",
    )


def _behind(entry: CollectionEntry | File) -> str:
    """The cursor of the page behind an entry, whose path may be too long to be shown."""
    if isinstance(entry, CollectionEntry):
        return cursors.after_collection(entry.name)
    return cursors.after_path(entry.path)


def _longest_cursor(files: Sequence[File]) -> int:
    """The tokens of the longest cursor there may be behind one of some files."""
    return max((estimated_tokens(_behind(one)) for one in files), default=0)


def _files(library: Library, wanted: Wanted, where: Filter, after: str) -> Sequence[File]:
    """What comes behind a path, one more than are wanted at most."""
    most = wanted.limit + 1
    if wanted.skipped:
        return library.skipped_files(after=after, limit=most)
    return library.documents(after=after, limit=most, where=where)


def _entry(file: File) -> DocumentEntry | SkippedFile:
    return _document(file) if isinstance(file, Document) else reports.skipped(file)


def _why_none(wanted: Wanted, where: Filter) -> str:
    if wanted.skipped:
        return "No file was left out."
    return rendering.NOTHING_INDEXED if where.is_empty else "No document matches these filters."


def _document(found: Document) -> DocumentEntry:
    return DocumentEntry(
        document_id=found.document_id,
        path=shown_path(found.path),
        title=found.title,
        kind=found.kind,
        lines=found.line_count,
        chunks=found.chunk_count,
        pages=found.page_count,
    )
