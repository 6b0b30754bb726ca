"""Collections, and the files that were left out of them."""

import os

import pytest

from engine.corpus import Collection, Filter, SkippedFile
from engine.errors import CollectionNotFound, InvalidInput

ROOT = os.path.abspath(os.sep)


def _at(*parts):
    return os.path.join(ROOT, *parts)


def _paths(store):
    return [made.path for made in store.documents(limit=999)]


def test_collections_are_read_back_in_the_order_of_their_names(store):
    notes = Collection("notes", _at("n"), ("*.md", "!x[1].md"), ("日本/", "# not a comment"))
    books = Collection("Books", _at("b"))
    for one in (notes, books):
        store.put_collection(one)
    assert store.collections() == [books, notes]


def test_a_collection_is_known_by_its_root(store):
    store.put_collection(Collection("notes", _at("n"), ("*.md",)))
    renamed = Collection("papers", _at("n"), ("*.pdf",), ("old",))
    store.put_collection(renamed)
    assert store.collections() == [renamed]


def test_a_name_belongs_to_one_root(store):
    store.put_collection(Collection("notes", _at("n")))
    with pytest.raises(InvalidInput, match='"notes" is that of'):
        store.put_collection(Collection("notes", _at("elsewhere")))
    assert store.collections() == [Collection("notes", _at("n"))]


def test_a_collection_that_is_as_it_was_writes_nothing(store, raw):
    one = Collection("notes", _at("n"), ("*.md",))
    store.put_collection(one)
    raw.execute("BEGIN IMMEDIATE")  # Whoever wrote now would wait for it.
    store.put_collection(one)
    assert store.collections() == [one]


def test_dropping_a_collection_takes_what_no_other_one_covers(store, document, embed):
    inside = [_at("n", "a"), _at("n", "inner", "b")]
    for path in [*inside, _at("n2", "c"), _at("n")]:
        store.replace(*document(path))
    embed(store)
    for name, root in (("outer", "n"), ("inner", "n/inner"), ("beside", "n2")):
        store.put_collection(Collection(name, _at(*root.split("/"))))
    assert store.drop_collection("inner") == 0
    store.put_collection(Collection("inner", _at("n", "inner")))
    assert store.drop_collection("outer") == 2
    assert _paths(store) == [inside[1], _at("n2", "c")]
    assert [one.name for one in store.collections()] == ["beside", "inner"]
    assert store.drop_collection("inner") == 1
    assert store.drop_collection("beside") == 1
    assert store.statistics().texts == 0
    assert store.verify() == []


def test_dropping_a_collection_forgets_what_it_left_out(store):
    for name in ("n", "n2"):
        store.put_collection(Collection(name, _at(name)))
        store.set_skipped(_at(name), [SkippedFile(_at(name, "x"), "binary")])
    store.drop_collection("n")
    assert store.skipped() == [SkippedFile(_at("n2", "x"), "binary")]


def test_a_collection_of_the_whole_disk_can_be_dropped(store, document):
    store.replace(*document(_at("a")))
    store.put_collection(Collection("all", ROOT))
    assert store.drop_collection("all") == 1


def test_an_unknown_collection_is_refused_with_near_ones(store):
    with pytest.raises(CollectionNotFound, match="nothing is indexed"):
        store.drop_collection("notes")
    for name in ("my-notes", "papers", "recipes", "mail"):
        store.put_collection(Collection(name, _at(name)))
    with pytest.raises(CollectionNotFound, match=r"my-notes") as refused:
        store.drop_collection("My-Note")
    assert "recipes" not in str(refused.value)
    assert len(store.collections()) == 4


def test_skipped_files_are_replaced_under_a_path_only(store):
    def skip(*names):
        return [SkippedFile(_at(*name.split("/")), f"reason of {name}", 3, 4) for name in names]

    store.set_skipped(_at("a"), skip("a/x", "a/y", "a"))
    store.set_skipped(_at("b"), skip("b/x"))
    store.set_skipped(_at("a b"), skip("a b/x"))
    assert store.skipped(under=_at("a")) == skip("a", "a/x", "a/y")
    assert store.statistics().skipped == 5
    store.set_skipped(_at("a"), skip("a/y"))
    assert store.skipped() == sorted(skip("a/y", "b/x", "a b/x"), key=lambda one: one.path)
    store.set_skipped(_at("a", "y"), [])
    assert [one.path for one in store.skipped()] == [_at("a b", "x"), _at("b", "x")]
    store.set_skipped("", [])
    assert store.skipped() == []


def test_skipped_files_come_in_pages(store):
    files = [SkippedFile(_at(f"{n:03}"), "too large", n, n) for n in range(25)]
    store.set_skipped(ROOT, files)
    seen, after = [], ""
    while page := store.skipped(after=after, limit=10):
        seen += page
        after = page[-1].path
    assert seen == files


def test_what_was_left_out_and_is_still_the_same_writes_nothing(store, raw):
    files = [SkippedFile(_at("a", "x"), "binary", 3, 4)]
    store.set_skipped(_at("a"), files)
    raw.execute("BEGIN IMMEDIATE")  # Whoever wrote now would wait for it.
    store.set_skipped(_at("a"), files)
    assert store.skipped() == files


def test_clearing_forgets_collections_and_what_was_left_out(store, document):
    store.put_collection(Collection("notes", _at("n")))
    store.set_skipped(_at("n"), [SkippedFile(_at("n", "x"), "binary")])
    store.replace(*document(_at("n", "a")))
    assert store.clear() == 1
    assert store.collections() == store.skipped() == store.documents() == []
    assert store.count(Filter(roots=(_at("n"),))) == 0
