"""The tables of an index in SQLite, and how an older file is brought up to date.

Rule: a step once released is never edited; a change of the tables is a new step at the end. The
table of sqlite-vec is not here: it is a copy for speed that `vector_table` can remake.
"""

import hashlib
import json
from collections.abc import Callable

from engine.corpus import Chunk
from engine.errors import NewerSchema, StoreError
from engine.store import vector_table
from engine.store.connection import View
from engine.store.database import Database
from engine.store.lexical_table import LexicalRow, LexicalTable

# "NPUG", in the file's header: tells an index of ours from any other SQLite database.
_APPLICATION_ID = 0x4E505547

_DOCUMENTS_AND_VECTORS = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('generation', 0);
    CREATE TABLE documents (
        document_id TEXT PRIMARY KEY,
        path TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        content_sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        line_count INTEGER NOT NULL,
        chunk_count INTEGER NOT NULL,
        encoding TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE chunks (
        chunk_id INTEGER PRIMARY KEY,
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        text TEXT NOT NULL,
        heading_path TEXT NOT NULL, -- A JSON list.
        line_start INTEGER NOT NULL,
        line_end INTEGER NOT NULL,
        byte_start INTEGER NOT NULL,
        byte_end INTEGER NOT NULL,
        token_count INTEGER NOT NULL,
        UNIQUE (document_id, ordinal)
    ) STRICT;
    CREATE TABLE vectors (
        chunk_id INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE,
        vector BLOB NOT NULL -- Little-endian 32-bit floats of unit length.
    ) STRICT;
"""

_TEXTS_STORED_ONCE = """
    ALTER TABLE documents RENAME TO old_documents;
    ALTER TABLE chunks RENAME TO old_chunks;
    ALTER TABLE vectors RENAME TO old_vectors;
    CREATE TABLE documents (
        document_key INTEGER PRIMARY KEY AUTOINCREMENT,
        document_id TEXT NOT NULL UNIQUE,
        path TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        content_sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        stamp_ns INTEGER NOT NULL,
        line_count INTEGER NOT NULL,
        chunk_count INTEGER NOT NULL,
        encoding TEXT NOT NULL,
        kind TEXT NOT NULL,
        modified_ns INTEGER NOT NULL,
        page_count INTEGER NOT NULL,
        metadata TEXT NOT NULL -- A JSON object of texts.
    ) STRICT;
    CREATE TABLE texts (
        text_id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 BLOB NOT NULL UNIQUE -- Of what the embedder is given.
    ) STRICT;
    CREATE TABLE chunks (
        chunk_id INTEGER PRIMARY KEY AUTOINCREMENT,
        document_key INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        text_id INTEGER NOT NULL REFERENCES texts,
        text TEXT NOT NULL,
        heading_path TEXT NOT NULL, -- A JSON list.
        line_start INTEGER NOT NULL,
        line_end INTEGER NOT NULL,
        byte_start INTEGER NOT NULL,
        byte_end INTEGER NOT NULL,
        token_count INTEGER NOT NULL,
        page_start INTEGER NOT NULL,
        page_end INTEGER NOT NULL,
        UNIQUE (document_key, ordinal)
    ) STRICT;
    CREATE INDEX chunks_of_text ON chunks (text_id, document_key);
    CREATE TABLE spaces (
        space_id INTEGER PRIMARY KEY AUTOINCREMENT,
        model_id TEXT NOT NULL,
        fingerprint TEXT NOT NULL UNIQUE,
        dimensions INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE vectors (
        vector_id INTEGER PRIMARY KEY AUTOINCREMENT,
        space_id INTEGER NOT NULL REFERENCES spaces ON DELETE CASCADE,
        text_id INTEGER NOT NULL REFERENCES texts ON DELETE CASCADE,
        vector BLOB NOT NULL, -- Little-endian 32-bit floats of unit length.
        UNIQUE (text_id, space_id)
    ) STRICT;
    CREATE TABLE removed_vectors ( -- For those who hold vectors in memory.
        removal_id INTEGER PRIMARY KEY AUTOINCREMENT,
        vector_id INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE packed_pages ( -- The signs of vectors, many together.
        page_id INTEGER PRIMARY KEY,
        space_id INTEGER NOT NULL REFERENCES spaces ON DELETE CASCADE,
        last_vector_id INTEGER NOT NULL,
        vector_ids BLOB NOT NULL, -- Little-endian int64[vectors], rising.
        text_ids BLOB NOT NULL, -- Little-endian int64[vectors].
        bits BLOB NOT NULL -- Little-endian uint64[words, vectors].
    ) STRICT;
    CREATE INDEX packed_pages_of_space ON packed_pages (space_id, last_vector_id);
    CREATE TABLE vector_copies ( -- How far a copy of the vectors has followed them.
        copy TEXT NOT NULL, -- vector_table, of one space at most, or packed_bits.
        space_id INTEGER NOT NULL REFERENCES spaces ON DELETE CASCADE,
        last_vector_id INTEGER NOT NULL,
        last_removal_id INTEGER NOT NULL,
        first_count INTEGER NOT NULL, -- Vectors there were when the centre was made.
        centre BLOB NOT NULL, -- Little-endian 32-bit floats; empty for vector_table.
        PRIMARY KEY (copy, space_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO counts VALUES ('documents', 0), ('chunks', 0), ('texts', 0);
    CREATE TABLE collections (
        name TEXT PRIMARY KEY,
        root TEXT NOT NULL UNIQUE,
        include TEXT NOT NULL, -- JSON lists.
        exclude TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE skipped_files (
        path TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        size INTEGER NOT NULL,
        stamp_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER vectors_added AFTER INSERT ON vectors BEGIN
        INSERT INTO counts VALUES ('vectors of ' || NEW.space_id, 1)
            ON CONFLICT DO UPDATE SET number = number + 1;
    END;
    CREATE TRIGGER vectors_removed AFTER DELETE ON vectors BEGIN
        UPDATE counts SET number = number - 1 WHERE name = 'vectors of ' || OLD.space_id;
        INSERT INTO removed_vectors (vector_id) VALUES (OLD.vector_id);
    END;
""" + "".join(
    f"""
    CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN
        UPDATE counts SET number = number + 1 WHERE name = '{table}';
    END;
    CREATE TRIGGER {table}_removed AFTER DELETE ON {table} BEGIN
        UPDATE counts SET number = number - 1 WHERE name = '{table}';
    END;
    """
    for table in ("documents", "chunks", "texts")
)


def _store_texts_once(view: View) -> None:
    """Chunks share texts, texts have vectors of any model, and words can be searched."""
    vector_table.take_out(view)
    view.run(_TEXTS_STORED_ONCE)
    view.rows(
        "INSERT INTO documents SELECT NULL, document_id, path, title, content_sha256, size, "
        "stamp_ns, line_count, chunk_count, encoding, 'text', 0, 0, '{}' FROM old_documents "
        "ORDER BY path"
    )
    lexical = LexicalTable(view)
    lexical.create()
    chunks = view.rows(
        "SELECT chunk_id, path, title, text, heading_path FROM old_chunks "
        "JOIN documents USING (document_id)"
    )
    for chunk_id, path, title, text, heading_path in chunks:
        headings = tuple(json.loads(heading_path))
        sha256 = text_sha256(Chunk(0, text, headings, 0, 0, 0, 0, 0))
        view.rows("INSERT INTO texts (sha256) VALUES (?) ON CONFLICT DO NOTHING", [sha256])
        view.rows(
            "INSERT INTO chunks SELECT o.chunk_id, d.document_key, o.ordinal, t.text_id, o.text, "
            "o.heading_path, o.line_start, o.line_end, o.byte_start, o.byte_end, o.token_count, 0, "
            "0 FROM old_chunks AS o JOIN documents AS d USING (document_id) "
            "JOIN texts AS t ON t.sha256 = ? WHERE o.chunk_id = ?",
            [sha256, chunk_id],
        )
        lexical.add([(chunk_id, LexicalRow(title, headings, path, text))])
    view.run("""
        INSERT INTO spaces (model_id, fingerprint, dimensions)
            SELECT m.value, f.value, d.value FROM meta AS m, meta AS f, meta AS d
            WHERE m.key = 'model_id' AND f.key = 'fingerprint' AND d.key = 'dimensions';
        INSERT INTO vectors (space_id, text_id, vector)
            SELECT s.space_id, c.text_id, v.vector
            FROM old_vectors AS v JOIN chunks AS c USING (chunk_id), spaces AS s
            GROUP BY c.text_id ORDER BY c.text_id;
        DROP TABLE old_vectors;
        DROP TABLE old_chunks;
        DROP TABLE old_documents;
        DELETE FROM meta WHERE key NOT IN ('generation', 'schema_version', 'chunking');
    """)


def text_sha256(chunk: Chunk) -> bytes:
    """What a text is known by: the SHA-256 of what the embedder is given."""
    return hashlib.sha256(chunk.embedded_text.encode()).digest()


_STEPS: tuple[Callable[[View], None], ...] = (
    lambda view: view.run(_DOCUMENTS_AND_VECTORS),
    lambda view: view.run("ALTER TABLE documents RENAME COLUMN mtime_ns TO stamp_ns"),
    _store_texts_once,
)

SCHEMA_VERSION = len(_STEPS)


def prepare(database: Database) -> None:
    """Creates the tables, or brings them up to date; several processes may do so at once.

    Raises:
        NewerSchema: The file was written by a later version of the program.
        StoreError: The file is another program's database, or none at all.
    """
    with database.read() as view:
        version = _version(view, database)
    database.use_write_ahead_log()
    if version < SCHEMA_VERSION:
        with database.write() as view:
            _upgrade(view, _version(view, database))


def _upgrade(view: View, version: int) -> None:
    for step in _STEPS[version:]:
        step(view)
    view.rows(f"PRAGMA application_id = {_APPLICATION_ID}")
    view.rows("INSERT OR REPLACE INTO meta VALUES ('schema_version', ?)", [SCHEMA_VERSION])


def _version(view: View, database: Database) -> int:
    if view.value("PRAGMA application_id") != _APPLICATION_ID:
        if view.value("SELECT count(*) FROM sqlite_schema"):
            raise StoreError(
                f"{database.path} is another program's database; "
                "choose another place for the index."
            )
        return 0
    version = int(view.value("SELECT value FROM meta WHERE key = 'schema_version'"))
    if version > SCHEMA_VERSION:
        raise NewerSchema(
            f"The index {database.path} was written by a newer version of npu-gateway (schema "
            f"{version}, this one knows {SCHEMA_VERSION}); upgrade, or choose another place for it."
        )
    return version
