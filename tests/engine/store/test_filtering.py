"""Filters: the store's answer is what going through every document by hand gives."""

import dataclasses
import fnmatch
import ntpath
import os
import posixpath
import random
import sqlite3
from pathlib import PurePath

import numpy as np
import pytest

from engine.corpus import Filter
from engine.errors import InvalidInput
from engine.store.filtering import glob
from engine.store.interface import NO_FILTER

ROOT = os.path.abspath(os.sep)
KINDS = ("markdown", "pdf", "text")
AUTHORS = ("Zoë", "MAX", "Ann, Max", "max planck", "Straße", "")
FOLDERS = ("notes", "notes b", "no[t]es", "src", "Src", "a*b", "what?", "été", "a%_")
NAMES = ("x.md", "y.md", "README", "a[1].txt", "a1.txt", "*.md", "q?.pdf", "日本.md")


NAMED = (
    (("notes", "a.md"), "On tides"),
    (("Notes", "b%.md"), "Été"),
    (("x", "c[a].md"), ""),
    (("x", "ÉTÉ_d.md"), "Tides"),
)


def _at(*parts):
    return os.path.join(ROOT, *parts)


def _native(path):
    return path.replace("/", os.sep)


def _is_under(path, root):
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _matches_glob(path, pattern):
    native = _native(pattern)
    for prefix in ("**" + os.sep, "." + os.sep):
        native = native.removeprefix(prefix)
    if not os.path.isabs(native):
        native = f"*{os.sep}{native}"
    native = native.rstrip(os.sep)
    ways = {native, native.replace(f"{os.sep}**{os.sep}", os.sep)}
    return any(
        fnmatch.fnmatchcase(os.path.normcase(path), os.path.normcase(way + end))
        for way in ways
        for end in ("", os.sep + "*")
    )


def _says(document, name, value):
    said = {key.casefold(): text for key, text in document.metadata.items()}
    text = said.get(name.casefold())
    if text is None:
        return False
    parts = [text.casefold(), *text.casefold().split(", ")]
    return value.casefold() in parts


def _matches(document, where):
    return all(
        (
            not where.roots or any(_is_under(document.path, root) for root in where.roots),
            not where.path_globs or any(_matches_glob(document.path, g) for g in where.path_globs),
            not where.kinds or document.kind in where.kinds,
            not where.modified_after_ns or document.modified_ns >= where.modified_after_ns,
            not where.modified_before_ns or document.modified_ns < where.modified_before_ns,
            all(_says(document, name, value) for name, value in where.metadata),
        )
    )


def _random_path(chance):
    folders = [chance.choice(FOLDERS) for _ in range(chance.randrange(3))]
    return _at(*folders, f"{chance.randrange(10)}{chance.choice(NAMES)}")


def _random_documents(chance, document, count):
    paths = {_at(name) for name in NAMES} | {_random_path(chance) for _ in range(count)}
    for path in sorted(paths):
        said = {"Author": chance.choice(AUTHORS)} if chance.random() < 0.8 else {}
        if chance.random() < 0.3:
            said["tags"] = ", ".join(chance.sample(["red", "Green", "deep blue", "été"], 2))
        yield document(
            path,
            [f"common text {chance.randrange(3)}\n", f"words of {path}\n"],
            kind=chance.choice(KINDS),
            modified_ns=chance.randrange(1, 20),
            metadata=said,
        )


GLOBS = (
    "*.md",
    "**/*.md",
    "./notes/*",
    "notes",
    "notes/",
    "src/**/*.md",
    "?rc/*",
    "[nS]*/*.md",
    "no[[]t[]]es",
    "a[*]b",
    "what[?]/*",
    "a[[]1].txt",
    "README",
    "*1*",
    "été/**",
    "a%_",
    "日本.md",
    _at("notes*"),
    _at("*.md"),
    _at("**", "x.md"),
    _at("no such folder", "*"),
)
ROOTS = (
    ROOT,
    _at("notes"),
    _at("notes b"),
    _at("no[t]es"),
    _at("a*b"),
    _at("what?"),
    _at("a%_"),
    _at("src") + os.sep,
    _at("README"),
    _at("nowhere"),
)


def _random_filter(chance):
    def some(values, share):
        if chance.random() > share:
            return ()
        return tuple(chance.sample(values, chance.randrange(1, 3)))

    authors = [*AUTHORS, "zoë", "Max", "ax", "STRASSE", "max planck", "Ann, max", ", "]
    pairs = [("author", one) for one in authors] + [("TAGS", "green"), ("tags", "ÉTÉ"), ("x", "y")]
    return Filter(
        roots=some(ROOTS, 0.3),
        path_globs=some(GLOBS, 0.4),
        kinds=some(KINDS, 0.3),
        modified_after_ns=chance.choice((0, 0, 0, 5, 10)),
        modified_before_ns=chance.choice((0, 0, 0, 11, 18)),
        metadata=tuple(chance.sample(pairs, 1)) if chance.random() < 0.3 else (),
    )


@pytest.fixture
def filled(store, document, embed):
    """A store with some hundred documents, and these."""
    documents = list(_random_documents(random.Random(5), document, 150))
    for made, chunks in documents:
        store.replace(made, chunks)
    embed(store)
    return store, documents


def _texts_of(documents, where):
    return {c.embedded_text for made, chunks in documents if _matches(made, where) for c in chunks}


def _filters():
    chance = random.Random(11)
    single = [Filter(path_globs=(glob,)) for glob in GLOBS] + [Filter(roots=(r,)) for r in ROOTS]
    return [Filter(), *single, *(_random_filter(chance) for _ in range(120))]


def test_filters_list_and_count_what_going_through_every_document_gives(filled):
    store, documents = filled
    for where in _filters():
        expected = sorted(made.path for made, _ in documents if _matches(made, where))
        assert [made.path for made in store.documents(where=where, limit=999)] == expected, where
        assert store.count(where) == len(expected)


def test_the_filters_of_these_tests_let_through_none_some_and_all(filled):
    _, documents = filled
    shares = [sum(_matches(made, where) for made, _ in documents) for where in _filters()]
    assert 0 in shares
    assert len(documents) in shares
    assert sum(0 < share < len(documents) for share in shares) > 60


@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_filtered_nearest_is_what_is_left_of_all(filled, vectors, limit):
    store, documents = filled
    query = vectors(1)[0]
    everything = store.nearest(query, 10_000)
    text_of = {hit.text_id: hit.chunk.embedded_text for hit in store.hits(everything)}
    assert len(text_of) == len(documents) + 3
    for where in _filters():
        inside = _texts_of(documents, where)
        expected = [one for one in everything if text_of[one.text_id] in inside][:limit]
        assert store.nearest(query, limit, where) == expected, where


@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_filtered_words_are_what_is_left_of_all(filled, limit):
    store, documents = filled
    terms = ['"words"', '"notes"', '"md"']
    everything = store.lexical(terms, 10_000)
    text_of = {hit.text_id: hit.chunk.embedded_text for hit in store.hits(everything)}
    assert len(text_of) >= len(documents)
    own = [one for one in everything if "common" not in text_of[one.text_id]]
    for where in _filters():
        inside = _texts_of(documents, where)
        expected = [one for one in own if text_of[one.text_id] in inside][:limit]
        found = store.lexical(terms, 10_000, where)
        assert [one for one in found if "common" not in text_of[one.text_id]][:limit] == expected
        assert store.lexical(terms, limit, where) == found[:limit]
        assert {text_of[one.text_id] for one in found} <= inside


def test_a_shared_text_answers_for_every_document_that_holds_it(filled):
    store, documents = filled
    for where in _filters()[:60]:
        inside = {text for text in _texts_of(documents, where) if "common" in text}
        found = store.lexical(['"common"'], 100, where)
        hits = store.hits(found, where)
        assert {hit.chunk.embedded_text for hit in hits} == inside, where
        assert len(hits) == len(found) == len(inside)
        assert all(_matches(hit.document, where) for hit in hits)


def test_a_small_collection_is_not_starved_by_a_large_one(store, document, add, vectors):
    add(store, _at("large", "a"), np.repeat(vectors(1), 3000, axis=0))
    far = -vectors(1)
    add(store, _at("small", "b"), far)
    found = store.nearest(vectors(1)[0], 5, Filter(roots=(_at("small"),)))
    assert [one.score for one in found] == pytest.approx([-1])
    words = store.lexical(['"line"'], 5, Filter(roots=(_at("small"),)))
    assert [PurePath(hit.document.path).name for hit in store.hits(words)] == ["b"]


def test_a_document_is_named_by_the_beginning_of_its_id_or_a_part_of_path_or_title(store, document):
    made = [document(_at(*parts), 0, title=title)[0] for parts, title in NAMED]
    for one in made:
        store.replace(one, [])
    for name in (
        "notes",
        "ÉTÉ",
        "été",
        "TIDES",
        "%",
        "_",
        "[a]",
        "no such",
        made[0].document_id[:4],
    ):
        wanted = name.casefold()
        expected = sorted(
            one.path
            for one in made
            if one.document_id.startswith(wanted)
            or wanted in one.path.casefold()
            or wanted in one.title.casefold()
        )
        assert [one.path for one in store.documents(where=Filter(named=name))] == expected, name
        assert store.count(Filter(named=name)) == len(expected)
    assert store.documents(where=Filter(named=made[0].document_id[1:])) == []


def test_a_filter_that_nothing_matches_answers_nothing(filled, vectors):
    store, _ = filled
    nothing = Filter(kinds=("docx",))
    assert store.nearest(vectors(1)[0], 10, nothing) == []
    assert store.lexical(['"words"'], 10, nothing) == []
    assert store.documents(where=nothing) == []
    assert store.count(nothing) == 0


def test_filters_follow_what_is_replaced_refreshed_and_deleted(store, document, embed, vectors):
    one, chunks = document(_at("a"), kind="text", modified_ns=5)
    store.replace(one, chunks)
    embed(store)
    query = vectors(1)[0]
    assert len(store.nearest(query, 5, Filter(kinds=("text",)))) == 1
    store.replace(*document(_at("a"), kind="html", modified_ns=5))
    assert store.nearest(query, 5, Filter(kinds=("text",))) == []
    assert len(store.nearest(query, 5, Filter(kinds=("html",)))) == 1
    store.refresh(document(_at("a"), modified_ns=50)[0])
    assert len(store.nearest(query, 5, Filter(modified_after_ns=50))) == 1
    store.replace(*document(_at("b"), [chunks[0].text], kind="csv"))
    assert len(store.nearest(query, 5, Filter(kinds=("csv",)))) == 1
    store.delete([one.document_id])
    assert store.nearest(query, 5, Filter(kinds=("html",))) == []
    assert len(store.nearest(query, 5, Filter(kinds=("csv",)))) == 1


def test_the_same_filter_follows_every_change_of_times(store, add, vectors):
    made, _ = add(store, _at("a"), vectors(1))
    late = Filter(modified_after_ns=made.modified_ns + 1)
    assert store.nearest(vectors(1)[0], 5, late) == []
    assert store.lexical(['"line"'], 5, late) == []
    before = store.generation()
    store.refresh(dataclasses.replace(made, stamp_ns=made.stamp_ns + 1))
    assert store.generation() == before
    store.refresh(dataclasses.replace(made, modified_ns=made.modified_ns + 1))
    assert store.generation() > before
    assert len(store.nearest(vectors(1)[0], 5, late)) == 1
    assert len(store.lexical(['"line"'], 5, late)) == 1


def test_a_pattern_is_not_taken_for_sql(filled):
    store, _ = filled
    for text in ("' OR 1=1 --", "%", "_", '"', "\\", "[", "]", "[]", "\x00", "(" * 50):
        assert store.count(Filter(kinds=(text,))) == 0
        assert store.count(Filter(metadata=((text, text),))) == 0
        assert store.count(Filter(roots=(_at(text, "x"),))) == 0
        assert store.count(Filter(path_globs=(text + "nowhere",))) == 0
        assert store.count(Filter(named=text + "nowhere")) == 0


@pytest.mark.parametrize("limit", [2**63, 10**400], ids=["64 bits", "more"])
def test_no_limit_is_too_large(filled, vectors, limit):
    store, _ = filled
    query = vectors(1)[0]
    everything = store.documents(limit=999)
    assert store.documents(limit=limit) == everything
    for where in (NO_FILTER, Filter(roots=(ROOT,)), Filter(modified_before_ns=limit)):
        assert store.nearest(query, limit, where) == store.nearest(query, 10_000, where)
        assert store.lexical(['"common"'], limit, where)
    assert store.lacking(limit) == store.lacking(999)
    assert store.lacking(1, after=limit) == store.skipped(limit=limit) == []
    assert store.count(Filter(modified_after_ns=limit)) == 0
    assert store.documents(limit=-1) == store.lacking(-1) == store.nearest(query, -1) == []


def test_any_number_of_conditions_is_understood(filled):
    store, _ = filled
    nowhere = [_at("nowhere", str(number)) for number in range(3000)]
    assert store.count(Filter(roots=(*nowhere, ROOT))) == store.count()
    assert store.count(Filter(path_globs=(*nowhere, "**/*"))) == store.count()


def test_a_pattern_longer_than_any_path_is_refused(filled):
    store, _ = filled
    with pytest.raises(InvalidInput, match="60,000 characters long"):
        store.count(Filter(path_globs=("a" * 60_000,)))


@pytest.mark.parametrize(
    ("pattern", "path", "rules", "expected"),
    [
        ("*.md", r"C:\notes\a.md", ntpath, True),
        ("*.MD", r"C:\notes\a.md", ntpath, True),
        ("BÜCHER/*", r"C:\Bücher\a.md", ntpath, True),
        ("notes/*", r"C:\Notes\deep\A.md", ntpath, True),
        ("Notes\\deep", r"C:\notes\Deep\a.md", ntpath, True),
        ("**/deep/**/a.md", r"C:\notes\deep\a.md", ntpath, True),
        ("c:/NOTES/*.md", r"C:\notes\a.md", ntpath, True),
        ("c:\\notes", r"C:\Notes\a.md", ntpath, True),
        ("//server/share/*.md", r"\\Server\share\a.md", ntpath, True),
        ("/notes/*.md", r"C:\notes\a.md", ntpath, False),
        ("D:/notes/*", r"C:\notes\a.md", ntpath, False),
        ("otes/*", r"C:\notes\a.md", ntpath, False),
        ("*.MD", "/notes/a.md", posixpath, False),
        ("*.md", "/notes/a.md", posixpath, True),
        ("/notes/*.md", "/notes/a.md", posixpath, True),
    ],
)
def test_globs_mean_on_windows_what_its_files_are_called(pattern, path, rules, expected):
    sql, bindings = glob(pattern, rules)
    database = sqlite3.connect(":memory:")
    database.create_function("casefold", 1, str.casefold)
    try:
        [[found]] = database.execute(f"SELECT {sql} FROM (SELECT ? AS path)", [*bindings, path])
    finally:
        database.close()
    assert bool(found) is expected
