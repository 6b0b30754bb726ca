"""Reading: lines of a document, as many as fit into a result, and where to read on.

Blocks while the index is read.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.library import Library, StoredText
from mcp_server.budgets import RESULT_TOKENS
from mcp_server.tokens import fitting

_NOTE_TOKENS = 50
"""How to read on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which part of a document a caller wants."""

    document_id: str
    line_start: int = 1
    line_end: int = 0
    """0 reads to the end."""
    character_start: int = 0
    """Characters of the first line to leave out."""
    page: int = 0
    """1-based; reads the lines of its passages instead. 0 reads by lines."""


def read(library: Library, wanted: Wanted) -> tuple[str, str]:
    """A part of a document, as much as fits into a result, and a note: how to read on where it was
    cut, which lines a page has.

    Args:
        library: Whose document it is.
        wanted: Which part.

    Raises:
        DocumentNotFound: No document has that id; near ids are named.
        InvalidInput: The lines or the page do not exist.
    """
    stored = library.read_document(wanted.document_id)
    lines = stored.lines()
    count = max(len(lines), 1)
    first, last = _of_page(stored, wanted.page) if wanted.page else _of_lines(wanted, count)
    if first > count or last < first:
        raise InvalidInput(
            f"Lines {first}-{last} do not exist in {stored.document.path}: it has lines "
            f"1-{len(lines)}."
        )
    text, more = _cut(lines[first - 1 : last], first, wanted.character_start)
    if more:
        return text, f"[cut here; of {len(lines)} lines, get_document goes on with {more}]"
    of = f"{wanted.page} of {stored.document.page_count}"
    return text, f"[page {of}: lines {first}-{last}]" if wanted.page else ""


def _of_lines(wanted: Wanted, count: int) -> tuple[int, int]:
    return wanted.line_start, wanted.line_end or count


def _of_page(stored: StoredText, page: int) -> tuple[int, int]:
    """The lines of the passages that stand on a page.

    Raises:
        InvalidInput: There is no such page.
    """
    document = stored.document
    if not document.page_count:
        raise InvalidInput(f"{document.path} has no pages; read it by line_start and line_end.")
    if page > document.page_count:
        raise InvalidInput(f"{document.path} has pages 1-{document.page_count}, not {page}.")
    on_it = [one for one in stored.chunks if one.page_start <= page <= one.page_end]
    if not on_it:
        raise InvalidInput(f"Page {page} of {document.path} has no text.")
    return on_it[0].line_start, on_it[-1].line_end


def _cut(lines: Sequence[str], first: int, skipped: int) -> tuple[str, str]:
    """Text that fits, and the arguments that read on; none where all fits."""
    wanted = list(lines)
    if wanted:
        wanted[0] = wanted[0][skipped:]
    text = "".join(wanted)
    characters = fitting(text, RESULT_TOKENS - _NOTE_TOKENS)
    if characters == len(text):
        return text, ""
    ends = list(itertools.accumulate(map(len, wanted)))
    whole = sum(end <= characters for end in ends)
    if whole == 0:
        start = skipped + characters
        return text[:characters], f"line_start={first} character_start={start}"
    return text[: ends[whole - 1]], f"line_start={first + whole}"
