"""A change is whole or has not been, whatever goes wrong within it."""

import dataclasses
import sys
from pathlib import Path

import apsw
import pytest

from engine.corpus import Collection, SkippedFile, document_id_of
from engine.errors import EngineError, StoreError


class Faults:
    """Fails the statement that is counted down to, on every connection made meanwhile."""

    def __init__(self):
        self.left = 0
        self.error = apsw.FullError("a fault of the test")
        self.cut_short = False

    def watch(self, connection):
        connection.exec_trace = self._trace
        connection.set_progress_handler(self._progress, 25)

    def _trace(self, cursor, sql, bindings):
        if not self.cut_short and sql != "ROLLBACK" and self._is_due():
            raise self.error
        return True

    def _progress(self):
        return self.cut_short and self._is_due()

    def _is_due(self):
        self.left -= 1
        return self.left == 0


@pytest.fixture
def faults():
    made = Faults()
    apsw.connection_hooks.append(made.watch)
    yield made
    apsw.connection_hooks.remove(made.watch)


def _content(store, vectors):
    """All that can be asked of a store."""
    documents = store.documents()
    return {
        "documents": documents,
        "chunks": [store.chunks(made.document_id) for made in documents],
        "collections": store.collections(),
        "skipped": store.skipped(),
        "coverage": store.coverage(),
        "lacking": store.lacking(100),
        "words": store.hits(store.lexical(['"line"', '"old"', '"new"'], 100)),
        "nearest": store.hits(store.nearest(vectors(1)[0], 100)),
        "statistics": dataclasses.replace(store.statistics(), size_bytes=0),
    }


@pytest.fixture
def filled(faults, path, open_at, tier, document, embed):
    """A store with shared texts, a text without a vector, a collection and a skipped file."""
    store = open_at(path, vector_search=tier)
    store.replace(*document("/d/a", ["shared\n", "old words\n", "line\n"]))
    store.replace(*document("/d/b", ["shared\n", "alone\n"]))
    embed(store)
    store.replace(*document("/d/c", ["lacks a vector\n"]))
    store.put_collection(Collection("d", "/d"))
    store.put_collection(Collection("e", "/d/e"))
    store.set_skipped("/d", [SkippedFile("/d/x", "binary")])
    return store


@pytest.fixture
def changes(filled, document, vectors):
    """Every way to change the store, by its name."""
    lacking = [one.text_id for one in filled.lacking(9)]
    skipped = [SkippedFile("/d/y", "too large")]
    return {
        "replace": lambda: filled.replace(*document("/d/a", ["shared\n", "new\n", "newer\n"])),
        "add": lambda: filled.replace(*document("/d/new", ["shared\n", "new line\n"])),
        "delete": lambda: filled.delete([document_id_of("/d/a"), document_id_of("/d/b")]),
        "add_vectors": lambda: filled.add_vectors(lacking, vectors(len(lacking))),
        "drop_collection": lambda: filled.drop_collection("d"),
        "set_skipped": lambda: filled.set_skipped("/d", skipped),
        "require_chunking": lambda: filled.require_chunking(9),
        "clear": filled.clear,
    }


CHANGES = ("replace", "add", "delete", "add_vectors", "drop_collection", "set_skipped", "clear")


def _fail_at_every_point(store, faults, change, vectors):
    """Fails ever later until the change gets through; returns how often it failed."""
    before = _content(store, vectors)
    for number in range(1, 2000):
        faults.left = number
        try:
            change()
        except EngineError:
            faults.left = 0
            assert store.verify() == [], number
            assert _content(store, vectors) == before, number
        else:
            faults.left = 0
            assert store.verify() == []
            assert _content(store, vectors) != before
            return number - 1
    raise AssertionError("The change never got through.")


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_in_any_statement_leaves_all_as_it_was(filled, changes, faults, vectors, name):
    assert _fail_at_every_point(filled, faults, changes[name], vectors) > 4


@pytest.mark.parametrize("name", ["replace", "delete", "add_vectors", "clear"])
def test_a_statement_cut_short_anywhere_leaves_all_as_it_was(
    filled, changes, faults, vectors, name
):
    faults.cut_short = True
    assert _fail_at_every_point(filled, faults, changes[name], vectors) > 4


def test_what_is_no_error_of_the_disk_leaves_all_as_it_was_too(filled, changes, faults, vectors):
    before = _content(filled, vectors)
    faults.error, faults.left = KeyboardInterrupt(), 8
    with pytest.raises(KeyboardInterrupt):
        changes["replace"]()
    assert _content(filled, vectors) == before
    changes["replace"]()
    assert filled.verify() == []


def test_another_store_sees_nothing_of_a_change_that_failed(
    filled, path, open_at, tier, changes, faults, vectors
):
    other = open_at(path, vector_search=tier)
    before = _content(other, vectors)
    faults.left = 12
    with pytest.raises(StoreError, match="disk is full"):
        changes["replace"]()
    assert _content(other, vectors) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX processes")
def test_a_program_killed_while_it_changes_an_index_leaves_it_sound(
    path, open_at, document, embed, child, outcome
):
    store = open_at(path)
    store.replace(*document("/a", ["old\n", "shared\n"]))
    store.replace(*document("/b", ["shared\n"]))
    embed(store)
    store.close()
    said = outcome(child("kill-while-changing", path))
    copies = [line.split(" ", 1) for line in said.splitlines()]
    assert len(copies) > 15
    assert [said for said, _ in copies] == ["killed"] * (len(copies) - 1) + ["through"]
    seen = []
    for _, copy in copies:
        found = open_at(Path(copy))
        assert found.verify() == []
        seen.append((found.count(), len(found.chunks(document_id_of("/a")))))
    assert list(dict.fromkeys(seen)) == [(2, 2), (2, 3), (1, 3)]
