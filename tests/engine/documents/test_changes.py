"""What is planned from what was found and what is known."""

import os

from engine.corpus import Document, document_id_of
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
    assert (made.gone, made.total) == ((), 4)


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
    assert made.total == 3
