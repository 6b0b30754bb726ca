"""Documents, their chunks and the texts that chunks share, within one transaction.

Rule: a text stays while a chunk has it and goes with the last one; its vectors go with it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from engine.corpus import Chunk, Document, Filter
from engine.errors import DocumentNotFound
from engine.store import filtering
from engine.store.connection import View
from engine.store.interface import Extent
from engine.store.lexical_table import LexicalRow, LexicalTable
from engine.store.near_names import near_names
from engine.store.sqlite_schema import text_sha256

DOCUMENT = (
    "document_id, path, title, content_sha256, size, stamp_ns, line_count, chunk_count, encoding, "
    "kind, modified_ns, page_count, metadata"
)
CHUNK = (
    "ordinal, text, heading_path, line_start, line_end, byte_start, byte_end, token_count, "
    "page_start, page_end"
)
DOCUMENT_COLUMNS = DOCUMENT.count(",") + 1

# Among so many documents near names are looked for; more would take seconds.
_NAMES_COMPARED = 10_000


class DocumentsTables:
    """What is stored of documents."""

    def __init__(self, view: View) -> None:
        self._view = view

    def one(self, document_id: str) -> Document:
        """The document of an id; raises `DocumentNotFound`."""
        found = self._view.rows(
            f"SELECT {DOCUMENT} FROM documents WHERE document_id = ?", [document_id]
        )
        if found:
            return document_of(found[0])
        names = self._view.rows(
            "SELECT document_id, path FROM documents ORDER BY path LIMIT ?", [_NAMES_COMPARED]
        )
        near = near_names(document_id, names)
        advice = f"Did you mean {', '.join(near)}?" if near else "Look at the list of documents."
        raise DocumentNotFound(f'No document "{document_id[:200]}" is indexed. {advice}')

    def page(self, after: str, limit: int, where: Filter) -> list[Document]:
        """Documents in the order of their paths."""
        sql, bindings = filtering.condition(where)
        rows = self._view.rows(
            f"SELECT {DOCUMENT} FROM documents WHERE path > ? AND ({sql}) ORDER BY path LIMIT ?",
            [after, *bindings, filtering.rows_of(limit)],
        )
        return [document_of(row) for row in rows]

    def set_times(self, document: Document) -> bool:
        """Updates when a stored document was seen and modified; whether the latter is another."""
        named = [document.document_id]
        sql = "SELECT modified_ns FROM documents WHERE document_id = ?"
        before = self._view.value(sql, named)
        self._view.rows(
            "UPDATE documents SET stamp_ns = ?, modified_ns = ? WHERE document_id = ?",
            [document.stamp_ns, document.modified_ns, *named],
        )
        return before not in (None, document.modified_ns)

    def count(self, where: Filter) -> int:
        """How many documents match."""
        sql, bindings = filtering.condition(where)
        return int(self._view.value(f"SELECT count(*) FROM documents WHERE {sql}", bindings))

    def extent(self, where: Filter) -> Extent:
        """How much the documents that match are together."""
        sql, bindings = filtering.condition(where)
        rows = self._view.rows(
            "SELECT count(*), coalesce(sum(size), 0), coalesce(min(modified_ns), 0), "
            f"coalesce(max(modified_ns), 0) FROM documents WHERE {sql}",
            bindings,
        )
        return Extent(*rows[0])

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document in order; raises `DocumentNotFound`."""
        self.one(document_id)
        rows = self._view.rows(
            f"SELECT {CHUNK} FROM chunks JOIN documents USING (document_key) "
            "WHERE document_id = ? ORDER BY ordinal",
            [document_id],
        )
        return [chunk_of(row) for row in rows]

    def keys(self, document_ids: Iterable[str] | None) -> list[int]:
        """The keys of those documents that are stored; None asks for all."""
        if document_ids is None:
            return [row[0] for row in self._view.rows("SELECT document_key FROM documents")]
        rows = self._view.rows(
            "SELECT document_key FROM documents "
            "WHERE document_id IN (SELECT value FROM json_each(?))",
            [json.dumps(list(document_ids))],
        )
        return [row[0] for row in rows]

    def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Adds a document whose path is free."""
        view = self._view
        row = _document_row(document)
        marks = ",".join("?" * len(row))
        view.rows(f"INSERT INTO documents ({DOCUMENT}) VALUES ({marks})", row)
        key = view.value("SELECT last_insert_rowid()")
        sha256s = [text_sha256(chunk) for chunk in chunks]
        view.run_many(
            "INSERT INTO texts (sha256) VALUES (?) ON CONFLICT DO NOTHING", ([s] for s in sha256s)
        )
        first = view.value(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = ?", ["chunks"]
        )
        view.run_many(
            f"INSERT INTO chunks (chunk_id, document_key, text_id, {CHUNK}) VALUES "
            "(?, ?, (SELECT text_id FROM texts WHERE sha256 = ?), ?,?,?,?,?,?,?,?,?,?)",
            (
                (first + chunk.ordinal, key, sha256, *_chunk_row(chunk))
                for chunk, sha256 in view.heeding(zip(chunks, sha256s, strict=True))
            ),
        )
        LexicalTable(view).add(
            (
                first + chunk.ordinal,
                LexicalRow(document.title, chunk.heading_path, document.path, chunk.text),
            )
            for chunk in view.heeding(chunks)
        )

    def remove(self, keys: Sequence[int]) -> list[int]:
        """Removes documents and their chunks; returns the texts that those had."""
        listed = json.dumps(keys)
        rows = self._view.rows(
            "SELECT chunk_id, text_id FROM chunks "
            "WHERE document_key IN (SELECT value FROM json_each(?))",
            [listed],
        )
        LexicalTable(self._view).remove(row[0] for row in rows)
        self._view.rows(
            "DELETE FROM chunks WHERE document_key IN (SELECT value FROM json_each(?))", [listed]
        )
        self._view.rows(
            "DELETE FROM documents WHERE document_key IN (SELECT value FROM json_each(?))", [listed]
        )
        return sorted({row[1] for row in rows})

    def unused(self, text_ids: Sequence[int]) -> list[int]:
        """Those texts that no chunk has."""
        rows = self._view.rows(
            "SELECT value FROM json_each(?) "
            "WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE text_id = value)",
            [json.dumps(text_ids)],
        )
        return [row[0] for row in rows]


def document_of(row: Sequence[Any]) -> Document:
    """A document from the columns `DOCUMENT`."""
    return Document(*row[:-1], metadata=json.loads(row[-1]))


def chunk_of(row: Sequence[Any]) -> Chunk:
    """A chunk from the columns `CHUNK`."""
    ordinal, text, heading_path, *numbers = row
    return Chunk(ordinal, text, tuple(json.loads(heading_path)), *numbers)


def _document_row(document: Document) -> list[Any]:
    names = DOCUMENT.split(", ")[:-1]
    return [*(getattr(document, name) for name in names), _json(dict(document.metadata))]


def _chunk_row(chunk: Chunk) -> list[Any]:
    row = [getattr(chunk, name) for name in CHUNK.split(", ")]
    row[2] = _json(chunk.heading_path)
    return row


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
