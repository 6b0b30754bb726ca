"""Examines an index from end to end, within one transaction."""

import json
from collections.abc import Iterator

import numpy as np

from engine.corpus import Chunk
from engine.store.connection import View
from engine.store.sqlite_schema import text_sha256

_FAR_FROM_UNIT = 1e-3
_SHOWN = 5

COMPACTING = (
    "INSERT INTO chunks_fts (chunks_fts) VALUES ('optimize')",
    "VACUUM",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)
"""Statements that overwrite what was deleted and give its space back."""

_MUST_BE_NONE = (
    (
        "chunks without a document",
        "SELECT chunk_id FROM chunks WHERE NOT EXISTS (SELECT 1 FROM "
        "documents WHERE documents.document_key = chunks.document_key)",
    ),
    (
        "documents with another number of chunks than they should have",
        "SELECT path FROM documents "
        "WHERE chunk_count != (SELECT count(*) FROM chunks WHERE chunks.document_key = "
        "documents.document_key)",
    ),
    (
        "documents with chunks out of order",
        "SELECT path FROM documents JOIN chunks USING (document_key) GROUP BY document_key "
        "HAVING min(ordinal) != 0 OR max(ordinal) != count(*) - 1",
    ),
    (
        "documents whose metadata cannot be read",
        "SELECT path FROM documents WHERE NOT json_valid(metadata)",
    ),
    (
        "chunks whose headings cannot be read",
        "SELECT chunk_id FROM chunks WHERE NOT json_valid(heading_path)",
    ),
    (
        "texts that no chunk has",
        "SELECT text_id FROM texts WHERE NOT EXISTS (SELECT 1 FROM chunks "
        "WHERE chunks.text_id = texts.text_id)",
    ),
    (
        "chunks whose words are not found",
        "SELECT chunk_id FROM chunks WHERE NOT EXISTS (SELECT 1 "
        "FROM chunks_fts_docsize WHERE chunks_fts_docsize.id = chunk_id)",
    ),
    (
        "words of chunks that are gone",
        "SELECT id FROM chunks_fts_docsize WHERE NOT EXISTS (SELECT 1 "
        "FROM chunks WHERE chunk_id = id)",
    ),
    (
        "vectors of texts that are gone",
        "SELECT vector_id FROM vectors WHERE NOT EXISTS (SELECT 1 "
        "FROM texts WHERE texts.text_id = vectors.text_id)",
    ),
    (
        "counts that are wrong",
        "SELECT name FROM counts WHERE number != CASE name "
        "WHEN 'documents' THEN (SELECT count(*) FROM documents) "
        "WHEN 'chunks' THEN (SELECT count(*) FROM chunks) "
        "WHEN 'texts' THEN (SELECT count(*) FROM texts) "
        "ELSE (SELECT count(*) FROM vectors WHERE 'vectors of ' || space_id = name) END",
    ),
    (
        "counts that are missing",
        "WITH known (name) AS (VALUES ('documents'), ('chunks'), ('texts') UNION "
        "SELECT 'vectors of ' || space_id FROM vectors) "
        "SELECT name FROM known WHERE name NOT IN (SELECT name FROM counts)",
    ),
)


def problems(view: View) -> Iterator[str]:
    """A sentence for each thing that is wrong."""
    # Else FTS5 checks what this connection read long ago, not what others wrote since (3.54).
    view.rows("SELECT rowid FROM chunks_fts LIMIT 1")
    damages = [row[0] for row in view.rows("PRAGMA integrity_check") if row[0] != "ok"]
    if damages:  # Then nothing else that is read can be trusted.
        yield from (f"SQLite finds: {damage}." for damage in damages)
        return
    for table, *_ in view.rows("PRAGMA foreign_key_check"):
        yield f"A row of {table} refers to nothing."
    for what, sql in _MUST_BE_NONE:
        found = [str(row[0]) for row in view.rows(sql)]
        if found:
            yield f"There are {len(found)} {what}: {', '.join(found[:_SHOWN])}."
    yield from _changed_texts(view)
    yield from _bad_vectors(view)


def _changed_texts(view: View) -> Iterator[str]:
    rows = view.stream(
        "SELECT chunk_id, text, heading_path, sha256 FROM chunks JOIN texts USING (text_id) "
        "WHERE json_valid(heading_path)"
    )
    for chunk_id, text, heading_path, sha256 in rows:
        chunk = Chunk(0, text, tuple(json.loads(heading_path)), 0, 0, 0, 0, 0)
        if text_sha256(chunk) != sha256:
            yield f"Chunk {chunk_id} is not the text it was embedded as."


def _bad_vectors(view: View) -> Iterator[str]:
    rows = view.stream(
        "SELECT vector_id, dimensions, vector FROM vectors JOIN spaces USING (space_id)"
    )
    for vector_id, dimensions, blob in rows:
        if len(blob) != 4 * dimensions:
            yield f"Vector {vector_id} has not {dimensions} dimensions."
        elif not abs(float(np.linalg.norm(np.frombuffer(blob, "<f4"))) - 1) < _FAR_FROM_UNIT:
            yield f"Vector {vector_id} is not of unit length."
