"""What a caller says of the documents that may answer."""

from datetime import UTC, datetime

import pytest

from engine.corpus import Collection, Filter
from engine.errors import CollectionNotFound, InvalidInput
from engine.search.narrowing import Narrowing, narrowed

KNOWN = (Collection("notes", "/home/me/notes"), Collection("letters", "/home/me/letters"))


def ns(*moment: int) -> int:
    return int(datetime(*moment).timestamp()) * 10**9


def test_nothing_said_lets_every_document_answer():
    assert narrowed(Narrowing(), KNOWN) == Filter()
    assert narrowed(Narrowing(), KNOWN).is_empty


def test_collections_are_meant_by_their_roots():
    found = narrowed(Narrowing(collections=["letters", "notes"]), KNOWN)
    assert found.roots == ("/home/me/letters", "/home/me/notes")


def test_an_unknown_collection_is_refused_with_near_names():
    with pytest.raises(CollectionNotFound, match='no collection "Note"; there is notes'):
        narrowed(Narrowing(collections=["Note"]), KNOWN)


def test_an_unknown_collection_in_an_empty_index_says_that_it_is_empty():
    with pytest.raises(CollectionNotFound, match="nothing is indexed yet"):
        narrowed(Narrowing(collections=["notes"]), ())


def test_an_unknown_kind_is_refused_with_near_ones():
    with pytest.raises(InvalidInput, match='kind "markdwon"; say markdown'):
        narrowed(Narrowing(kinds=["markdwon"]), KNOWN)


def test_a_kind_unlike_any_is_refused_with_all_of_them():
    with pytest.raises(InvalidInput, match="say markdown or text or rst or source"):
        narrowed(Narrowing(kinds=["?!"]), KNOWN)


def test_a_day_is_meant_as_a_whole():
    found = narrowed(Narrowing(modified_after="2026-02-03", modified_before="2026-02-03"), ())
    assert (found.modified_after_ns, found.modified_before_ns) == (ns(2026, 2, 3), ns(2026, 2, 4))


def test_a_moment_may_say_its_offset_from_utc():
    found = narrowed(Narrowing(modified_before="2026-02-03T10:00+02:00"), ())
    assert found.modified_before_ns == int(datetime(2026, 2, 3, 8, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "9999999999", "2026-02-30", "\0"])
def test_what_is_no_time_is_refused_by_name(text):
    with pytest.raises(InvalidInput, match="modified_after must be a day or a time such as"):
        narrowed(Narrowing(modified_after=text), ())


def test_patterns_and_metadata_are_handed_on():
    found = narrowed(Narrowing(paths=["docs/**"], metadata={"author": "Ann"}), ())
    assert (found.path_globs, found.metadata) == (("docs/**",), (("author", "Ann"),))


def test_a_pattern_longer_than_any_path_is_refused():
    with pytest.raises(InvalidInput, match="A pattern of paths may have 5,000 characters at most"):
        narrowed(Narrowing(paths=["*.md", "a" * 60_000]), ())
