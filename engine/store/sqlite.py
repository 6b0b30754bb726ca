"""SqliteStore: the store in one SQLite file.

Ranking beyond similarity, snippets and chunking stay out. The rows of `vectors` are what counts;
sqlite-vec's table beside them only finds the nearest faster.
"""

import json
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from engine.corpus import Chunk, Document, Hit
from engine.errors import DocumentNotFound, InvalidInput, StoreError, WrongEmbedder
from engine.store.connection import Database
from engine.store.interface import EmbeddingSpace, StoreStatistics, Vectors
from engine.store.near_names import near_names
from engine.store.vector_table import VectorTable
from engine.store.vectors import Query, Scored, VectorScan, unit

_DOCUMENT = (
    "document_id, path, title, content_sha256, size, stamp_ns, line_count, chunk_count, encoding"
)
_CHUNK = "ordinal, text, heading_path, line_start, line_end, byte_start, byte_end, token_count"

# Among so many documents near names are looked for; more would take seconds.
_NAMES_COMPARED = 10_000

# SQLite's integers end at 64 bits; no limit needs to be larger.
_MOST_ROWS = 2**31


class SqliteStore:
    """A `Store`. Made by `opening.open_store`, which has prepared the file."""

    def __init__(self, database: Database, slow_reason: str) -> None:
        """Takes over a prepared database.

        Args:
            database: Its tables are there.
            slow_reason: Why sqlite-vec is not used; empty if it is.
        """
        self._database = database
        self._space: EmbeddingSpace | None = None
        self._slow_reason = slow_reason
        self._table = None if slow_reason else VectorTable(database)
        self._scan = VectorScan(database, keep=self._table is None)

    def use(self, space: EmbeddingSpace) -> None:
        """Names the model whose vectors come from now on; see `Store.use`."""
        self._space = space

    def require_chunking(self, version: int) -> None:
        """Names the rules that documents are cut by; see `Store.require_chunking`."""
        with self._database.read():
            if self._meta("chunking") == version:
                return
        with self._database.write():
            self._database.rows("UPDATE documents SET content_sha256 = '', stamp_ns = 0")
            self._database.rows("INSERT OR REPLACE INTO meta VALUES ('chunking', ?)", [version])

    def check_embedder(self) -> None:
        """Raises `WrongEmbedder` if stored vectors are another model's; see `Store`."""
        with self._database.read():
            self._comparable_space()

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Puts a document in the place of whatever had its path; see `Store.replace`."""
        if self._space is None:
            raise _no_embedder()
        rows = unit(vectors, len(chunks), self._space.dimensions).astype("<f4")
        if [chunk.ordinal for chunk in chunks] != list(range(document.chunk_count)):
            raise InvalidInput(f"The chunks of {document.path} are not complete and in order.")
        with self._database.write():
            space = self._comparable_space()
            if self._stored_space() != space:
                self._adopt(space)
            with self._change(space.dimensions) as table:
                self._remove(table, [document.document_id])
                self._add(table, document, chunks, [row.tobytes() for row in rows])

    def refresh(self, document: Document) -> None:
        """Updates the time of a document; see `Store.refresh`."""
        with self._database.write():
            self._database.rows(
                "UPDATE documents SET stamp_ns = ? WHERE document_id = ?",
                [document.stamp_ns, document.document_id],
            )

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes documents; returns how many there were; see `Store.delete`."""
        wanted = list(document_ids)
        with self._database.read():
            if not self._present(wanted):
                return 0
        with self._database.write():
            present = self._present(wanted)
            stored = self._stored_space()
            if present:
                with self._change(stored.dimensions if stored else 0) as table:
                    self._remove(table, present)
            return len(present)

    def document(self, document_id: str) -> Document:
        """The document of an id; see `Store.document`."""
        with self._database.read():
            return self._document(document_id)

    def documents(self, *, after: str = "", limit: int = 100, under: str = "") -> list[Document]:
        """Documents in the order of their paths; see `Store.documents`."""
        folder = under.rstrip(os.sep) + os.sep
        behind_folder = folder[:-1] + chr(ord(os.sep) + 1)
        sql = (
            f"SELECT {_DOCUMENT} FROM documents WHERE path > ? "
            "AND (? = '' OR path = ? OR (path >= ? AND path < ?)) ORDER BY path LIMIT ?"
        )
        bindings = [after, under, under, folder, behind_folder, max(0, min(limit, _MOST_ROWS))]
        with self._database.read():
            return [Document(*row) for row in self._database.rows(sql, bindings)]

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document in order; see `Store.chunks`."""
        with self._database.read():
            self._document(document_id)
            rows = self._database.rows(
                f"SELECT {_CHUNK} FROM chunks WHERE document_id = ? ORDER BY ordinal", [document_id]
            )
        return [_chunk(row) for row in rows]

    def search(self, vector: Vectors, limit: int) -> list[Hit]:
        """The chunks nearest to a vector, best first; see `Store.search`."""
        with self._database.read():
            space = self._comparable_space()
            query = unit(vector[None], 1, space.dimensions)[0]
            if limit < 1 or self._stored_space() != space:
                return []
            return self._hits(self._nearest(query, limit))

    def statistics(self) -> StoreStatistics:
        """What is stored, and how it is searched."""
        with self._database.read():
            stored = self._stored_space() or EmbeddingSpace("", "", 0)
            return StoreStatistics(
                documents=self._database.value("SELECT count(*) FROM documents"),
                chunks=self._database.value("SELECT count(*) FROM chunks"),
                size_bytes=self._database.size_bytes(),
                embedder_id=stored.model_id,
                fingerprint=stored.fingerprint,
                dimensions=stored.dimensions,
                vector_search="numpy" if self._table is None else "sqlite-vec",
                vector_search_reason=self._slow_reason,
            )

    def clear(self) -> int:
        """Removes every document; returns how many there were; see `Store.clear`."""
        with self._database.write():
            count = int(self._database.value("SELECT count(*) FROM documents"))
            self._database.rows("DELETE FROM documents")
            self._adopt(None)
            self._count_change()
            return count

    def interrupt(self) -> None:
        """Makes a call that waits for another program fail at once; see `Store.interrupt`."""
        self._database.interrupt()

    def close(self, timeout: float = -1) -> None:
        """Frees the store; may be called twice; see `Store.close`."""
        self._database.close(timeout)

    def _nearest(self, query: Query, limit: int) -> list[Scored]:
        if self._table is not None and self._table.is_current():
            best = self._table.nearest(query, limit)
            if best is not None:
                return best
        return self._scan.nearest(query, limit, self._meta("generation"))

    def _hits(self, best: list[Scored]) -> list[Hit]:
        rows = self._database.rows(
            f"SELECT chunk_id, {_DOCUMENT}, {_CHUNK} FROM chunks JOIN documents USING (document_id)"
            " WHERE chunk_id IN (SELECT value FROM json_each(?))",
            [json.dumps([chunk_id for chunk_id, _ in best])],
        )
        found = {row[0]: row[1:] for row in rows}
        documents = _DOCUMENT.count(",") + 1
        return [
            Hit(Document(*found[one][:documents]), _chunk(found[one][documents:]), score)
            for one, score in best
        ]

    def _document(self, document_id: str) -> Document:
        found = self._database.rows(
            f"SELECT {_DOCUMENT} FROM documents WHERE document_id = ?", [document_id]
        )
        if found:
            return Document(*found[0])
        names = self._database.rows(
            "SELECT document_id, path FROM documents ORDER BY path LIMIT ?", [_NAMES_COMPARED]
        )
        near = near_names(document_id, names)
        advice = f"Did you mean {', '.join(near)}?" if near else "Look at the list of documents."
        raise DocumentNotFound(f'No document "{document_id[:200]}" is indexed. {advice}')

    def _add(
        self,
        table: VectorTable | None,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: list[bytes],
    ) -> None:
        database = self._database
        database.rows("INSERT INTO documents VALUES (?,?,?,?,?,?,?,?,?)", astuple(document)[:9])
        first = database.value("SELECT coalesce(max(chunk_id), 0) + 1 FROM chunks")
        database.run_many(
            f"INSERT INTO chunks (chunk_id, document_id, {_CHUNK}) VALUES (?,?,?,?,?,?,?,?,?,?)",
            ((first + chunk.ordinal, document.document_id, *_chunk_row(chunk)) for chunk in chunks),
        )
        pairs = list(enumerate(vectors, first))
        database.run_many("INSERT INTO vectors VALUES (?, ?)", pairs)
        if table:
            table.add(pairs)

    def _present(self, document_ids: list[str]) -> list[str]:
        rows = self._database.rows(
            "SELECT document_id FROM documents "
            "WHERE document_id IN (SELECT value FROM json_each(?))",
            [json.dumps(document_ids)],
        )
        return [row[0] for row in rows]

    def _remove(self, table: VectorTable | None, document_ids: list[str]) -> None:
        ids = json.dumps(document_ids)
        if table:
            chunk_ids = self._database.rows(
                "SELECT chunk_id FROM chunks WHERE document_id IN (SELECT value FROM json_each(?))",
                [ids],
            )
            table.remove(row[0] for row in chunk_ids)
        self._database.rows(
            "DELETE FROM documents WHERE document_id IN (SELECT value FROM json_each(?))", [ids]
        )

    @contextmanager
    def _change(self, dimensions: int) -> Generator[VectorTable | None]:
        """Around every change of the vectors: keeps generations true, hands out the table."""
        table = self._table if self._table and self._table.make_current(dimensions) else None
        yield table
        self._count_change()
        if table:
            table.mark_current()

    def _count_change(self) -> None:
        self._database.rows("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    def _comparable_space(self) -> EmbeddingSpace:
        """The space in use, once it is sure that no vectors of another one are stored."""
        stored = self._stored_space()
        if self._space is None:
            raise _no_embedder()
        same = stored is None or stored.fingerprint == self._space.fingerprint
        if same or not self._database.value("SELECT EXISTS (SELECT 1 FROM vectors)"):
            return self._space
        raise _wrong_embedder(stored, self._space)

    def _stored_space(self) -> EmbeddingSpace | None:
        if self._meta("fingerprint") is None:
            return None
        return EmbeddingSpace(
            self._meta("model_id"), self._meta("fingerprint"), self._meta("dimensions")
        )

    def _adopt(self, space: EmbeddingSpace | None) -> None:
        if self._table:
            self._table.drop()
        self._database.rows("DELETE FROM meta WHERE key IN ('model_id','fingerprint','dimensions')")
        if space:
            self._database.rows(
                "INSERT INTO meta VALUES ('model_id', ?), ('fingerprint', ?), ('dimensions', ?)",
                astuple(space),
            )

    def _meta(self, key: str) -> Any:
        return self._database.value("SELECT value FROM meta WHERE key = ?", [key])


def _chunk_row(chunk: Chunk) -> tuple[Any, ...]:
    ordinal, text, heading_path, *numbers = astuple(chunk)[:8]
    return ordinal, text, json.dumps(heading_path), *numbers


def _chunk(row: Sequence[Any]) -> Chunk:
    ordinal, text, heading_path, *numbers = row
    return Chunk(ordinal, text, tuple(json.loads(heading_path)), *numbers)


def _no_embedder() -> StoreError:
    return StoreError(
        "No embedding model is in use, so the index can only be listed and read; "
        "install one with `npu-gateway pull`."
    )


def _wrong_embedder(stored: EmbeddingSpace | None, used: EmbeddingSpace) -> WrongEmbedder:
    if stored is None or stored.model_id == used.model_id:
        return WrongEmbedder(
            f"The index was built with another version of {used.model_id} than the one in use; "
            "rebuild it with `npu-gateway index --rebuild DIR`."
        )
    return WrongEmbedder(
        f"The index was built with {stored.model_id} ({stored.dimensions} dimensions), but "
        f"{used.model_id} ({used.dimensions} dimensions) is in use; start with `--embedder "
        f"{stored.model_id}`, or rebuild the index with `npu-gateway index --rebuild DIR`."
    )
