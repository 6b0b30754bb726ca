"""LexicalTable: the words of every chunk, as SQLite's full-text search keeps them.

It holds no text: a row is known by its chunk's id, and what is deleted is gone at the next merge.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from engine.store.connection import View
from engine.store.lexical_text import lexical_text, lexical_title

# Folders a file is looked for by, the innermost; those above say where the user keeps things.
_FOLDERS = 4

WEIGHTS = "2.0, 2.0, 1.0, 1.0"
"""Of title, headings, path and text in BM25: a title that is a heading too stands among those."""

TOKENIZER = "porter unicode61 remove_diacritics 2"


@dataclass(frozen=True, slots=True)
class LexicalRow:
    """The words by which a chunk may be found."""

    title: str
    """The document's."""
    heading_path: tuple[str, ...]
    path: str
    text: str

    def columns(self) -> tuple[str, str, str, str]:
        """Title, headings beside it, path and text."""
        headings = lexical_text("\n".join(self.heading_path))
        path = lexical_text("/".join(PurePath(self.path).parts[-_FOLDERS:]))
        title = lexical_title(self.title, self.heading_path)
        return title, headings, path, lexical_text(self.text)


class LexicalTable:
    """The table `chunks_fts` within one transaction."""

    def __init__(self, view: View) -> None:
        self._view = view

    def create(self) -> None:
        """Makes the table."""
        self._view.rows(
            "CREATE VIRTUAL TABLE chunks_fts USING fts5(title, heading, path, text, content='', "
            f"contentless_delete=1, tokenize='{TOKENIZER}')"
        )

    def add(self, rows: Iterable[tuple[int, LexicalRow]]) -> None:
        """Adds chunks by their ids."""
        self._view.run_many(
            "INSERT INTO chunks_fts (rowid, title, heading, path, text) VALUES (?, ?, ?, ?, ?)",
            ((chunk_id, *row.columns()) for chunk_id, row in rows),
        )

    def remove(self, chunk_ids: Iterable[int]) -> None:
        """Removes chunks."""
        self._view.run_many("DELETE FROM chunks_fts WHERE rowid = ?", ([i] for i in chunk_ids))
