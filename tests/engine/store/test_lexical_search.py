"""Searching by words where common words would take too long to rank in full."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.corpus import Chunk, Document, document_id_of
from engine.store.chunk_map import ChunkMap
from engine.store.database import Database
from engine.store.documents_tables import DocumentsTables
from engine.store.lexical_search import LexicalSearch
from engine.store.sqlite_schema import prepare

CHUNKS = 10
DOCUMENTS = 400
MOST = 300


def text_of(number: int) -> str:
    """A fifth of the chunks hold "common", a fourth "usual", and one of 500 "rare"."""
    words = [f"only{number}", "filler " * (number % 7 + 1)]
    words += ["common"] * (number % 5 == 0) + ["usual"] * (number % 4 == 0)
    words += ["rare"] * (number % 500 == 6) + ["seldom"] * (number % 40 == 3)
    return " ".join(words)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("index") / "index.sqlite")
    prepare(database)
    with database.write() as view:
        for number in range(DOCUMENTS):
            first = number * CHUNKS
            add(view, f"/shelf/{number:03}.md", [text_of(first + n) for n in range(CHUNKS)])
    yield database
    database.close()


def add(view, path: str, texts: Sequence[str]) -> None:
    chunks = [Chunk(n, text, (), 1, 1, 0, 9, 2) for n, text in enumerate(texts)]
    document = Document(document_id_of(path), path, "Title", "0" * 64, 9, 0, 1, len(chunks))
    DocumentsTables(view).add(document, chunks)


@pytest.fixture
def search(database: Database):
    """Searches with little time, or with all there is; chunks are known by their number."""

    def run(*terms: str, limit: int = 20, keys=None, most: int = MOST) -> list[tuple[int, float]]:
        quoted = [f'"{term}"' for term in terms]
        with database.read() as view:
            inside = None if keys is None else ChunkMap().selection(view, keys)
            found = LexicalSearch(most_ranked=most).search(view, quoted, limit, inside)
        return [(text_id - 1, score) for text_id, score in found]

    return run


def test_rare_terms_decide_and_common_ones_still_count(search) -> None:
    expected = search("rare", "common", "usual", limit=8, most=100_000)
    found = search("rare", "common", "usual", limit=8)
    assert [one for one, _ in found] == [one for one, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected])


def test_chunks_with_several_common_terms_are_found_where_a_rare_one_is_asked_for_too(
    search,
) -> None:
    found = [one for one, _ in search("only17", "seldom", "common", "usual", limit=200, most=850)]
    assert found[0] == 17
    assert set(found) & {number for number in range(4_000) if number % 20 == 0}


def test_where_all_terms_are_common_chunks_that_hold_all_of_them_come_first(search) -> None:
    found = search("common", "usual", limit=20)
    assert len(found) == 20
    assert all(one % 20 == 0 for one, _ in found)


def test_a_common_term_alone_is_found_in_the_newest_chunks(search) -> None:
    found = search("common", limit=30)
    assert len(found) == 30
    assert all(one % 5 == 0 and one > 2_000 for one, _ in found)


def test_words_that_do_not_occur_change_nothing(search) -> None:
    assert search("nowhere") == []
    assert search("nowhere", "rare", "common") == search("rare", "common")


@pytest.mark.parametrize("step", [1, 2, 40])
def test_a_filter_lets_only_its_documents_through_and_starves_none(search, step: int) -> None:
    keys = np.arange(1, DOCUMENTS + 1, step)
    documents = set(keys.tolist())
    found = search("seldom", "common", "usual", limit=10, keys=keys)
    assert len(found) == 10
    assert all(one // CHUNKS + 1 in documents for one, _ in found)
    expected = search("seldom", "common", "usual", limit=10, keys=keys, most=100_000)
    assert found[0][1] == pytest.approx(expected[0][1])


@pytest.mark.parametrize("terms", [["common"], ["common", "usual"], ["filler"]])
@pytest.mark.parametrize("keys", [[380], [399, 400], [1, 400]])
def test_common_words_are_found_in_the_newest_documents(search, terms: list[str], keys) -> None:
    found = search(*terms, keys=np.array(keys), most=30)
    assert {one for one, _ in search(*terms, keys=np.array(keys), most=100_000)} >= {
        one for one, _ in found
    }
    assert found


def test_a_word_that_no_document_inside_holds_is_not_found(search) -> None:
    assert search("seldom", most=30) != []
    assert search("seldom", keys=np.array([2]), most=30) == []


def test_a_filter_without_documents_finds_nothing(search) -> None:
    assert search("common", keys=np.zeros(0, np.int64)) == []


def test_a_text_of_several_chunks_is_found_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.sqlite")
    prepare(database)
    with database.write() as view:
        for number in range(30):
            add(view, f"/twin/{number}.md", ["the same words", f"other words {number}"])
    with database.read() as view:
        found = LexicalSearch().search(view, ['"words"'], 40, None)
    database.close()
    assert len(found) == 31
    assert len({text_id for text_id, _ in found}) == 31
