"""The tables of an index in SQLite, and how an older file is brought up to date.

Rule: a step once released is never edited; a change of the tables is a new step at the end.
The table of sqlite-vec is not here: it is a copy for speed that `vector_table` can remake.
"""

from engine.errors import NewerSchema, StoreError
from engine.store.connection import Database

# "NPUG", in the file's header: tells an index of ours from any other SQLite database.
_APPLICATION_ID = 0x4E505547

_STEPS = (
    """
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
    """,
    "ALTER TABLE documents RENAME COLUMN mtime_ns TO stamp_ns",
)

SCHEMA_VERSION = len(_STEPS)


def prepare(database: Database) -> None:
    """Creates the tables, or brings them up to date; several processes may do so at once.

    Raises:
        NewerSchema: The file was written by a later version of the program.
        StoreError: The file is another program's database, or none at all.
    """
    with database.read():
        version = _version(database)
    database.use_write_ahead_log()
    if version < SCHEMA_VERSION:
        with database.write():
            _upgrade(database, _version(database))


def _upgrade(database: Database, version: int) -> None:
    for step in _STEPS[version:]:
        database.rows(step)
    database.rows(f"PRAGMA application_id = {_APPLICATION_ID}")
    database.rows("INSERT OR REPLACE INTO meta VALUES ('schema_version', ?)", [SCHEMA_VERSION])


def _version(database: Database) -> int:
    if database.value("PRAGMA application_id") != _APPLICATION_ID:
        if database.value("SELECT count(*) FROM sqlite_schema"):
            raise StoreError(
                f"{database.path} is another program's database; "
                "choose another place for the index."
            )
        return 0
    version = int(database.value("SELECT value FROM meta WHERE key = 'schema_version'"))
    if version > SCHEMA_VERSION:
        raise NewerSchema(
            f"The index {database.path} was written by a newer version of npu-gateway (schema "
            f"{version}, this one knows {SCHEMA_VERSION}); upgrade, or choose another place for it."
        )
    return version
