"""Examining, compacting and copying an index."""

import importlib.util
import random
import threading

import apsw
import pytest

from engine.corpus import Collection, document_id_of
from engine.errors import InvalidInput, StoreError


@pytest.fixture
def filled(store, document, embed):
    """A store in which some texts are shared."""
    for name in "abcd":
        store.replace(*document(f"/d/{name}", ["shared\n", f"words of {name}\n", f"more {name}\n"]))
    embed(store)
    return store


DAMAGES = {
    "DELETE FROM documents WHERE path = '/d/a'": "chunks without a document",
    "DELETE FROM chunks WHERE chunk_id = 2": "another number of chunks",
    "UPDATE chunks SET ordinal = 9 WHERE chunk_id = 2": "chunks out of order",
    "UPDATE documents SET metadata = '{x' WHERE path = '/d/a'": "metadata cannot be read",
    "UPDATE chunks SET heading_path = '' WHERE chunk_id = 2": "headings cannot be read",
    "INSERT INTO texts (sha256) VALUES (x'00')": "texts that no chunk has",
    "DELETE FROM texts WHERE text_id = 2": "refers to nothing",
    "DELETE FROM chunks_fts WHERE rowid = 2": "chunks whose words are not found",
    "INSERT INTO chunks_fts (rowid, text) VALUES (99, 'x')": "words of chunks that are gone",
    "DELETE FROM spaces": "refers to nothing",
    "UPDATE vectors SET text_id = 99 WHERE vector_id = 2": "vectors of texts that are gone",
    "UPDATE counts SET number = 4 WHERE name = 'chunks'": "counts that are wrong: chunks",
    "UPDATE counts SET number = 4 WHERE name = 'vectors of 1'": "wrong: vectors of 1",
    "DELETE FROM counts WHERE name = 'texts'": "counts that are missing: texts",
    "DELETE FROM counts WHERE name = 'vectors of 1'": "missing: vectors of 1",
    "UPDATE chunks SET text = 'other' WHERE chunk_id = 2": "Chunk 2 is not the text",
    "UPDATE chunks SET text_id = 2 WHERE chunk_id = 3": "Chunk 3 is not the text",
    "UPDATE vectors SET vector = x'00' WHERE vector_id = 2": "Vector 2 has not 16 dimensions",
    "UPDATE vectors SET vector = zeroblob(64) WHERE vector_id = 2": "Vector 2 is not of unit",
    "DELETE FROM chunks_fts_data WHERE id > 10": "SQLite finds",
}


@pytest.mark.parametrize("sql", DAMAGES)
def test_damage_is_found_and_named(filled, raw, sql):
    assert filled.verify() == []
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    _allow_vector_tables(raw)
    raw.execute(sql)
    found = filled.verify()
    assert DAMAGES[sql] in "\n".join(found)
    assert all(one.endswith(".") for one in found)


def _allow_vector_tables(connection):
    if importlib.util.find_spec("sqlite_vec"):
        connection.enable_load_extension(True)
        connection.load_extension(importlib.import_module("sqlite_vec").loadable_path())


def test_a_damaged_page_is_found_or_refused_with_a_sentence(path, open_at, document, embed):
    store = open_at(path)
    store.replace(*document("/d/a", 300))
    embed(store)
    store.close()
    sound = path.read_bytes()
    found = 0
    for page in random.Random(1).sample(range(1, len(sound) // 4096), 12):
        broken = bytearray(sound)
        broken[page * 4096 : page * 4096 + 300] = random.Random(page).randbytes(300)
        path.write_bytes(broken)
        found += bool(_problems(path, open_at))
    assert found >= 10  # A page that is free, or half empty, may be damaged for nobody to see.


def _problems(path, open_at):
    try:
        store = open_at(path)
        try:
            return store.verify()
        finally:
            store.close()
    except StoreError as error:
        return [str(error)]


def test_verifying_changes_nothing_and_waits_for_no_writer(filled, raw):
    raw.execute("BEGIN IMMEDIATE")
    raw.execute("DELETE FROM chunks")
    assert filled.verify() == []


def test_what_another_program_wrote_meanwhile_is_not_taken_for_damage(path, open_at, document):
    store, other = open_at(path), open_at(path)
    for turn in range(26):
        other.replace(*document("/d/a", 1 + 3 * (turn % 3), f"turn {turn}"))
        if turn == 12:
            store.lexical(['"turn"'], 9)
    assert store.verify() == []


SECRET = "xyzzyquux"


def test_compacting_leaves_little_more_than_a_new_index_would_take(
    tmp_path, store, open_at, tier, document, embed, path
):
    fresh = open_at(tmp_path / "fresh.sqlite", vector_search=tier)
    for number in range(200):
        made = document(f"/d/{number}", [f"passage {number} {n} " * 20 for n in range(5)])
        for one in (store, fresh) if number % 10 == 0 else (store,):
            one.replace(*made)
    embed(store)
    embed(fresh)
    fresh.compact()
    store.delete(document_id_of(f"/d/{number}") for number in range(200) if number % 10)
    before = store.statistics().size_bytes
    freed = store.compact()
    after = store.statistics().size_bytes
    assert freed == before - after > 0
    assert after <= 1.3 * fresh.statistics().size_bytes
    assert path.with_name(path.name + "-wal").stat().st_size == 0
    assert store.count() == 20
    assert store.verify() == []


def test_nothing_of_a_deleted_text_is_left_in_the_files_after_compacting(
    store, document, embed, path, raw
):
    store.replace(*document("/d/kept", 20))
    words = [f"{SECRET}{n} said {SECRET}\n" for n in range(20)]
    store.replace(*document(f"/{SECRET}/gone", words, title=SECRET, metadata={"a": SECRET}))
    store.replace(*document("/d/edited", [f"before {SECRET}\n", "stays\n"]))
    embed(store)
    vector = store.vectors([store.lexical([f'"{SECRET}"'], 1)[0].text_id])
    held = next(iter(vector.values())).astype("<f4").tobytes()
    store.replace(*document("/d/edited", ["after\n", "stays\n"]))
    store.delete([document_id_of(f"/{SECRET}/gone")])
    embed(store)
    store.compact()
    left = b"".join(file.read_bytes() for file in path.parent.iterdir() if file != path.parent)
    assert SECRET.encode() not in left
    assert SECRET[1:-1].encode() not in left  # Full-text search leaves out what two words share.
    assert held not in left
    raw.execute("CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, chunks_fts, row)")
    assert not [row for row in raw.execute("SELECT term FROM v") if "xyz" in row[0]]
    assert len(store.lexical(['"line"'], 100)) == 20
    assert store.verify() == []


def test_compacting_drops_the_vectors_of_models_that_are_not_in_use(
    filled, path, open_at, space, raw
):
    raw.execute("INSERT INTO spaces VALUES (9, 'old', 'old', 16)")
    raw.execute(
        "INSERT INTO vectors (space_id, text_id, vector) "
        "SELECT 9, text_id, vector FROM vectors LIMIT 3"
    )
    assert filled.statistics().vectors == {space.model_id: 9, "old": 3}
    unused = open_at(path, None)
    unused.compact()  # Knows no model in use, and drops none.
    assert unused.statistics().vectors == {space.model_id: 9, "old": 3}
    filled.compact()
    assert filled.statistics().vectors == {space.model_id: 9}
    assert filled.coverage().is_complete
    assert filled.verify() == []


def _is_searched_by_sqlite_vec(raw):
    return raw.execute("SELECT 1 FROM vector_copies WHERE copy = 'vector_table'").fetchall() != []


@pytest.mark.parametrize("model", ["in use", "not in use"])
def test_compacting_leaves_the_vectors_as_quick_to_search(
    filled, path, open_at, space, raw, tier, model
):
    before = _is_searched_by_sqlite_vec(raw)
    assert before == (filled.statistics().vector_search == "sqlite-vec")
    open_at(path, space if model == "in use" else None, vector_search=tier).compact()
    assert _is_searched_by_sqlite_vec(raw) == before


def test_an_index_that_comes_without_sqlite_vec_is_compacted(filled, path, open_at, vectors):
    query = vectors(1)[0]
    expected = filled.nearest(query, 9)
    assert expected
    plain = open_at(path, vector_search="numpy")
    plain.compact()
    assert plain.nearest(query, 9) == filled.nearest(query, 9) == expected
    assert plain.verify() == filled.verify() == []


def test_compacting_an_empty_index_twice_frees_nothing(store):
    store.compact()
    assert store.compact() == 0
    assert store.verify() == []


def _everything(store, vectors):
    documents = store.documents(limit=999)
    return (
        documents,
        [store.chunks(one.document_id) for one in documents],
        store.collections(),
        store.coverage(),
        store.hits(store.lexical(['"words"', '"shared"'], 99)),
        store.hits(store.nearest(vectors(1)[0], 99)),
    )


def test_a_copy_opens_and_is_equal(filled, tmp_path, open_at, tier, vectors):
    filled.put_collection(Collection("d", "/d"))
    filled.backup(tmp_path / "copy.sqlite")
    copy = open_at(tmp_path / "copy.sqlite", vector_search=tier)
    assert _everything(copy, vectors) == _everything(filled, vectors)
    assert copy.verify() == []
    filled.clear()
    assert copy.count() == 4


def test_a_copy_can_be_changed(filled, tmp_path, open_at, tier, document, embed):
    filled.backup(tmp_path / "copy.sqlite")
    copy = open_at(tmp_path / "copy.sqlite", vector_search=tier)
    copy.replace(*document("/d/new"))
    assert embed(copy) == 1
    assert copy.delete([document_id_of("/d/a")]) == 1
    assert copy.verify() == []
    assert filled.count() == 4


def test_copies_made_while_others_write_are_whole(filled, tmp_path, open_at, document, embed):
    stop, failures = threading.Event(), []

    def write():
        try:
            for turn in range(10_000):
                if stop.is_set():
                    return
                filled.replace(*document(f"/w/{turn % 7}", 3, f"turn {turn}"))
                embed(filled)
        except BaseException as error:
            failures.append(error)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            filled.backup(tmp_path / f"{number}.sqlite")
    finally:
        stop.set()
        writer.join()
    assert failures == []
    for number in range(5):
        copy = open_at(tmp_path / f"{number}.sqlite")
        assert copy.verify() == []
        assert copy.count() >= 4
    assert filled.verify() == []


def test_a_copy_is_made_while_another_program_holds_the_lock_for_writing(
    filled, tmp_path, open_at, raw
):
    raw.execute("BEGIN IMMEDIATE")
    raw.execute("DELETE FROM documents")
    filled.backup(tmp_path / "copy.sqlite")
    assert open_at(tmp_path / "copy.sqlite").count() == 4


def test_a_copy_overwrites_nothing_and_makes_no_folder(filled, tmp_path, path):
    (tmp_path / "there").write_text("mine")
    (tmp_path / "empty").touch()
    for taken in (tmp_path / "there", tmp_path / "empty", tmp_path, path):
        with pytest.raises(InvalidInput, match="is there already"):
            filled.backup(taken)
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(InvalidInput, match="is not there"):
        filled.backup(tmp_path / "no folder" / "copy.sqlite")
    assert not (tmp_path / "no folder").exists()


def test_a_copy_that_fails_leaves_no_file(filled, tmp_path):
    def fail_late(connection):
        connection.set_progress_handler(lambda: (tmp_path / "copy.sqlite").exists(), 10)

    apsw.connection_hooks.append(fail_late)
    try:
        with pytest.raises(StoreError):
            filled.backup(tmp_path / "copy.sqlite")
    finally:
        apsw.connection_hooks.remove(fail_late)
    assert not (tmp_path / "copy.sqlite").exists()
    filled.backup(tmp_path / "copy.sqlite")
