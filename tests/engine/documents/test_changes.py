"""What is planned from what was found and what is known."""

import os

from engine.corpus import Document, SkippedFile, document_id_of
from engine.documents.changes import plan
from engine.documents.finder import FoundFile, Skipped


def _known(path: str, size: int = 1, stamp_ns: int = 1) -> Document:
    return Document(document_id_of(path), path, "", "", size, stamp_ns, 1, 1)


def test_only_what_is_new_or_differs_in_size_or_time_is_read():
    found = [FoundFile("longer", 2, 1)]
    found += [FoundFile(name, 1, 1) for name in ("same", "new")] + [FoundFile("older", 1, 0)]
    made = plan(found, [_known(name) for name in ("same", "longer", "older")])
    assert made.unchanged == 1
    assert [file.path for file in made.pending] == ["new", "older", "longer"]
    assert (made.gone, made.settled, made.total) == ((), 1, 4)


def test_every_file_is_read_where_that_is_asked_for():
    made = plan([FoundFile("b", 1, 1), FoundFile("a", 1, 1)], [_known("a")], every=True)
    assert ([file.path for file in made.pending], made.unchanged) == (["a", "b"], 0)


def test_what_is_no_longer_found_is_gone():
    made = plan([FoundFile("a", 1, 1)], [_known("a"), _known("b")])
    assert made.gone == (document_id_of("b"),)


def test_what_could_not_be_looked_at_is_not_gone():
    below = os.path.join("locked", "a")
    known = [_known(path) for path in (below, "file", "locked-not", "large")]
    skipped = [Skipped("locked", "x", unseen=True), Skipped("file", "x", unseen=True)]
    made = plan([*skipped, Skipped("large", "too large")], known)
    assert set(made.gone) == {document_id_of("locked-not"), document_id_of("large")}
    assert (made.settled, made.total) == (3, 5)


def test_what_no_reader_took_is_not_read_again_while_it_stays_as_it_is():
    names = ("same", "longer", "later", "unsure")
    found = [FoundFile("same", 5, 7), FoundFile("longer", 6, 7), FoundFile("later", 5, 8)]
    found += [FoundFile("unsure", 5, 7)]
    refused = [SkippedFile(name, "binary", 5, 7) for name in names[:3]]
    refused += [SkippedFile("unsure", "busy")]
    made = plan(found, [], refused)
    assert [file.path for file in made.pending] == ["later", "unsure", "longer"]
    assert (made.refused, made.unchanged, made.settled) == ((refused[0],), 0, 1)
    assert len(plan(found, [], refused, every=True).pending) == 4


def test_a_document_that_no_reader_takes_any_more_is_gone():
    made = plan([FoundFile("a", 5, 7)], [_known("a")], [SkippedFile("a", "binary", 5, 7)])
    assert (made.gone, made.pending) == ((document_id_of("a"),), ())


def test_plans_of_several_parts_add_up_with_the_smallest_files_first():
    one = plan([FoundFile("b", 3, 1), Skipped("s", "x")], [_known("gone"), _known("gone too")])
    other = plan([FoundFile("a", 2, 1), FoundFile("same", 1, 1)], [_known("same")])
    both = one + other
    assert [file.path for file in both.pending] == ["a", "b"]
    assert (both.unchanged, len(both.gone), both.settled, both.total) == (1, 2, 2, 6)
