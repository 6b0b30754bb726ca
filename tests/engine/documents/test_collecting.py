"""Which collection a path belongs to, and what a run goes through."""

import os
from pathlib import Path

import pytest

from engine.corpus import Collection
from engine.documents.collecting import (
    Part,
    Wishes,
    collection_for,
    parts,
    parts_changed,
)
from engine.errors import InvalidInput
from engine.paths import is_under


def _path(*names: str) -> str:
    return os.path.join(os.path.abspath(os.sep), *names)


NOTES = Collection("notes", _path("home", "notes"), ("*.md",))
WORK = Collection("work", _path("home", "notes", "work"))
CODE = Collection("code", _path("home", "code"))
ALL = [CODE, NOTES, WORK]


def test_a_path_in_no_collection_becomes_one_named_after_its_folder():
    made = collection_for(Path(_path("home", "letters")), ALL)
    assert made == Collection("letters", _path("home", "letters"))


def test_a_name_that_is_taken_gets_a_number():
    roots = [Path(_path(name, "notes")) for name in ("b", "c", "d")]
    known = list(ALL)
    for root in roots:
        known.append(collection_for(root, known))
    assert [one.name for one in known[3:]] == ["notes-2", "notes-3", "notes-4"]


@pytest.mark.parametrize(
    ("root", "name"), [("", "root"), ("a\nb", "ab"), (" x ", "x"), ("y" * 300, "y" * 90)]
)
def test_any_folder_gives_a_name(root, name):
    assert collection_for(Path(_path(root)), []).name == name


def test_a_path_in_a_collection_is_the_innermost_ones():
    assert collection_for(Path(_path("home", "notes", "a", "b.md")), ALL) == NOTES
    assert collection_for(Path(_path("home", "notes", "work")), ALL) == WORK
    assert collection_for(Path(_path("home", "notes", "work", "x")), ALL) == WORK
    assert collection_for(Path(_path("home", "notes-not")), ALL).name == "notes-not"


def test_wishes_change_the_collection_of_the_path_or_make_it_one():
    wishes = Wishes(name="mine", exclude=("drafts/",))
    changed = collection_for(Path(NOTES.root), ALL, wishes)
    assert changed == Collection("mine", NOTES.root, ("*.md",), ("drafts/",))
    made = collection_for(Path(NOTES.root, "inner"), ALL, wishes)
    assert made == Collection("mine", os.path.join(NOTES.root, "inner"), (), ("drafts/",))
    assert collection_for(Path(NOTES.root), ALL, Wishes(include=())).include == ()


@pytest.mark.parametrize("name", ["", " ", " a", "a\nb", "x" * 101, "code"])
def test_a_name_that_is_none_or_taken_is_refused(name):
    with pytest.raises(InvalidInput, match="choose another"):
        collection_for(Path(NOTES.root), ALL, Wishes(name=name))


@pytest.mark.parametrize("pattern", ["", "#x", "a\nb", "a\0b", "!", "/"])
def test_a_pattern_that_is_none_is_refused(pattern):
    for wishes in (Wishes(include=("*.md", pattern)), Wishes(exclude=(pattern,))):
        with pytest.raises(InvalidInput, match="is no pattern"):
            collection_for(Path(NOTES.root), ALL, wishes)


def test_everything_is_each_collection_without_those_inside():
    assert parts(ALL) == [
        Part(CODE.root, CODE),
        Part(NOTES.root, NOTES, (WORK.root,)),
        Part(WORK.root, WORK),
    ]


def test_a_path_is_its_part_of_a_collection_and_the_collections_inside():
    inside = os.path.join(NOTES.root, "a")
    assert parts(ALL, inside) == [Part(inside, NOTES)]
    assert parts(ALL, NOTES.root) == parts(ALL)[1:]
    assert parts(ALL, _path("home")) == parts(ALL)
    assert parts(ALL, _path("else")) == []


def test_a_part_covers_what_is_below_it_and_no_inner_collections():
    (part,) = (part for part in parts(ALL) if part.collection == NOTES)
    assert part.covers(NOTES.root)
    assert part.covers(os.path.join(NOTES.root, "worker"))
    assert not part.covers(os.path.join(WORK.root, "a.md"))
    assert not part.covers(NOTES.root + "2")


def test_paths_that_changed_are_gone_through_once():
    paths = [
        os.path.join(NOTES.root, *names) for names in (("a",), ("a", "b.md"), ("a-b",), ("c",))
    ]
    changed = parts_changed(ALL, [*paths, _path("else"), os.path.join(WORK.root, "x")])
    assert [Path(part.root).name for part in changed] == ["a", "a-b", "c", "x"]
    assert [part.collection.name for part in changed] == ["notes"] * 3 + ["work"]


def test_many_changes_are_their_whole_collection():
    paths = [os.path.join(NOTES.root, f"{number}.md") for number in range(101)]
    assert [part.root for part in parts_changed(ALL, paths[:100])] == sorted(paths[:100])
    changed = parts_changed(ALL, [*paths, os.path.join(CODE.root, "a.py")])
    assert [part.root for part in changed] == [
        os.path.join(CODE.root, "a.py"),
        NOTES.root,
        WORK.root,
    ]


def test_the_top_folder_holds_everything():
    assert is_under(_path("a"), _path())
    assert is_under(_path(), _path())
