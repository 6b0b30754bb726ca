"""Indexes that earlier versions wrote, built as they were by the tables of those versions."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import apsw
import numpy as np
import pytest

from engine.corpus import document_id_of
from engine.errors import NewerSchema
from engine.store.interface import Coverage, EmbeddingSpace

# The tables as they were released; never edited.
SCHEMA_1 = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('generation', 7), ('schema_version', 1);
    CREATE TABLE documents (
        document_id TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
        content_sha256 TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        line_count INTEGER NOT NULL, chunk_count INTEGER NOT NULL, encoding TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE chunks (
        chunk_id INTEGER PRIMARY KEY,
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL, text TEXT NOT NULL, heading_path TEXT NOT NULL,
        line_start INTEGER NOT NULL, line_end INTEGER NOT NULL, byte_start INTEGER NOT NULL,
        byte_end INTEGER NOT NULL, token_count INTEGER NOT NULL, UNIQUE (document_id, ordinal)
    ) STRICT;
    CREATE TABLE vectors (
        chunk_id INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE, vector BLOB NOT NULL
    ) STRICT;
    PRAGMA application_id = 1313887559;
"""
SCHEMA_2 = """
    ALTER TABLE documents RENAME COLUMN mtime_ns TO stamp_ns;
    UPDATE meta SET value = 2 WHERE key = 'schema_version';
"""
VECTOR_TABLE = """
    CREATE VIRTUAL TABLE vector_table USING vec0(chunk_id INTEGER PRIMARY KEY,
        vector float[16] distance_metric=L2, chunk_size=256);
    INSERT INTO vector_table (chunk_id, vector) SELECT chunk_id, vector FROM vectors;
    INSERT INTO meta SELECT 'vector_table_generation', value FROM meta WHERE key = 'generation';
"""

KINDS = [(1, False), (2, False), (1, True), (2, True)]


def _fill(connection, documents, meaning):
    connection.execute(
        "INSERT INTO meta VALUES ('model_id', 'tiny-model'), ('fingerprint', 'fingerprint-1'), "
        "('dimensions', 16), ('chunking', 4)"
    )
    for made, chunks in documents:
        values = [made.document_id, made.path, made.title, made.content_sha256, made.size]
        values += [made.stamp_ns, made.line_count, made.chunk_count, made.encoding]
        connection.execute("INSERT INTO documents VALUES (?,?,?,?,?,?,?,?,?)", values)
        for chunk in chunks:
            row = [made.document_id, chunk.ordinal, chunk.text, json.dumps(chunk.heading_path)]
            row += [chunk.line_start, chunk.line_end, chunk.byte_start, chunk.byte_end]
            connection.execute(
                "INSERT INTO chunks VALUES (NULL,?,?,?,?,?,?,?,?,?)", [*row, chunk.token_count]
            )
            vector = meaning(chunk.embedded_text).astype("<f4").tobytes()
            connection.execute("INSERT INTO vectors VALUES (last_insert_rowid(), ?)", [vector])


@pytest.fixture
def old(path, document, meaning):
    """Makes an index of an earlier version, and says what is in it."""

    def make(schema, with_vector_table=False):
        documents = [
            document("/d/zebra.md", ["shared words\n", "about zebras\n"]),
            document("/d/blank", 0),
            document("/d/lions.md", ["about lions\n", "shared words\n", "日本語\n"]),
        ]
        connection = apsw.Connection(str(path))
        connection.pragma("journal_mode", "wal")
        if with_vector_table:
            sqlite_vec = pytest.importorskip("sqlite_vec", reason="needs sqlite-vec")
            connection.enable_load_extension(True)
            connection.load_extension(sqlite_vec.loadable_path())
        connection.execute(SCHEMA_1)
        _fill(connection, documents, meaning)
        if schema == 2:
            connection.execute(SCHEMA_2)
        if with_vector_table:
            connection.execute(VECTOR_TABLE)
        connection.close()
        return documents

    return make


def _require_everything(store, documents, meaning):
    for made, chunks in documents:
        assert store.document(made.document_id) == made
        assert store.chunks(made.document_id) == chunks
        for chunk in chunks:
            best = store.nearest(meaning(chunk.embedded_text), 1)
            assert best[0].score == pytest.approx(1)
            assert store.hits(best)[0].chunk.text == chunk.text
    for word, texts in (("lions", 3), ("zebra", 2), ("words", 1), ("nowhere", 0)):
        assert len(store.lexical([f'"{word}"'], 9)) == texts
    assert store.coverage() == Coverage(4, 4)
    assert store.verify() == []


@pytest.mark.parametrize(("schema", "with_vector_table"), KINDS)
def test_all_of_an_older_index_is_found_by_words_and_by_meaning(
    path, open_at, tier, old, meaning, schema, with_vector_table
):
    documents = old(schema, with_vector_table)
    store = open_at(path, vector_search=tier)
    _require_everything(store, documents, meaning)
    assert store.statistics().vectors == {"tiny-model": 4}
    store.close()
    _require_everything(open_at(path, vector_search=tier), documents, meaning)


@pytest.mark.parametrize(("schema", "with_vector_table"), KINDS)
def test_an_older_index_can_be_changed(
    path, open_at, old, document, embed, schema, with_vector_table
):
    old(schema, with_vector_table)
    store = open_at(path)
    store.require_chunking(4)
    assert store.document(document_id_of("/d/lions.md")).content_sha256 == "ab"
    store.require_chunking(5)
    assert store.document(document_id_of("/d/lions.md")).content_sha256 == ""
    store.replace(*document("/d/lions.md", ["about lions\n", "and tigers\n"]))
    assert embed(store) == 1
    assert store.delete([document_id_of("/d/zebra.md")]) == 1
    assert store.statistics().texts == 2
    assert store.compact() >= 0
    assert store.verify() == []


def test_an_older_index_of_another_model_keeps_its_vectors_for_that_one(
    path, open_at, old, meaning
):
    documents = old(2)
    other = open_at(path, EmbeddingSpace("other", "other", 24))
    assert other.coverage() == Coverage(0, 4)
    assert other.nearest(np.ones(24, np.float32), 9) == []
    _require_everything(open_at(path), documents, meaning)


def test_an_older_index_without_any_document_is_brought_up_to_date(path, open_at, document, embed):
    connection = apsw.Connection(str(path))
    connection.execute(SCHEMA_1)
    connection.close()
    store = open_at(path)
    assert store.documents() == []
    store.replace(*document("/d/a"))
    assert embed(store) == 1
    assert store.verify() == []


def test_nothing_of_the_old_tables_is_left(path, open_at, old, raw):
    old(2, importlib.util.find_spec("sqlite_vec") is not None)
    open_at(path).close()
    names = {row[0] for row in raw.execute("SELECT name FROM sqlite_schema")}
    assert not {name for name in names if name.startswith(("old_", "vector_table_"))}
    keys = {row[0] for row in raw.execute("SELECT key FROM meta")}
    assert keys == {"schema_version", "generation", "chunking"}


def test_a_newer_schema_is_refused_with_a_sentence(path, open_at, raw):
    open_at(path).close()
    raw.execute("UPDATE meta SET value = 99 WHERE key = 'schema_version'")
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=r"newer version.*schema 99"):
        open_at(path)
    assert path.read_bytes() == before


def test_eight_processes_may_bring_an_older_index_up_to_date_at_once(
    tmp_path, path, open_at, old, meaning, open_in_eight
):
    documents = old(2)
    copies = [Path(shutil.copyfile(path, tmp_path / str(turn))) for turn in range(5)]
    open_in_eight(copies)
    for copy in copies:
        _require_everything(open_at(copy), documents, meaning)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX processes")
def test_a_program_killed_while_it_brings_an_index_up_to_date_leaves_the_old_one(
    path, open_at, old, meaning, child, outcome, integrity
):
    documents = old(1)
    said = outcome(child("kill-while-opening", path))
    copies = [line.split(" ", 1) for line in said.splitlines()]
    assert len(copies) > 30
    assert [said for said, _ in copies] == ["killed"] * (len(copies) - 1) + ["through"]
    assert {integrity(Path(copy)) for _, copy in copies} == {"ok"}
    versions = [_version(copy) for _, copy in copies]
    assert set(versions) == {1, 3}
    assert versions == sorted(versions)
    for _, copy in copies[:: len(copies) // 4]:
        _require_everything(open_at(Path(copy)), documents, meaning)


def _version(path):
    connection = apsw.Connection(path)
    try:
        sql = "SELECT value FROM meta WHERE key = 'schema_version'"
        return connection.execute(sql).fetchall()[0][0]
    finally:
        connection.close()
