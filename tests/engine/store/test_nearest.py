"""Every way of finding the nearest vectors, beside a comparison with all that are stored."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.corpus import Chunk, Document, document_id_of
from engine.store import vector_table
from engine.store.chunk_map import ChunkMap
from engine.store.database import Database
from engine.store.documents_tables import DocumentsTables
from engine.store.interface import EmbeddingSpace
from engine.store.nearest import NearestVectors
from engine.store.spaces import Spaces
from engine.store.sqlite_schema import prepare

DIMENSIONS = 130
CHUNKS = 5
SPACE = EmbeddingSpace("model", "print", DIMENSIONS)
OTHER = EmbeddingSpace("other", "other print", DIMENSIONS)


class Shelf:
    """An index file, and what searches it."""

    def __init__(self, path: Path, *, exact_limit: int = 50_000, vec: bool = True) -> None:
        self.database = Database(path)
        reason = self.database.load_vector_search() if vec else "sqlite-vec is not wanted."
        prepare(self.database)
        self.chunk_map = ChunkMap()
        self.nearest = NearestVectors(reason, exact_limit=exact_limit)

    def add(
        self, numbers: range, *, seed: int = 0, space: EmbeddingSpace = SPACE, same: bool = False
    ) -> None:
        """Documents of five chunks, each with a random vector, or all with the same texts."""
        random = np.random.default_rng(seed + numbers.start)
        with self.database.write() as view:
            for number in numbers:
                path = f"/shelf/{number:05}.md"
                texts = [f"text {n if same else number * CHUNKS + n}" for n in range(CHUNKS)]
                chunks = [Chunk(n, text, (), 1, 1, 0, 9, 2) for n, text in enumerate(texts)]
                document = Document(document_id_of(path), path, "Title", "0" * 64, 9, 0, 1, CHUNKS)
                DocumentsTables(view).add(document, chunks)
            spaces = Spaces(view)
            space_id = spaces.number(space)
            lacking = spaces.lacking(space_id, 0, 100_000)
            vectors = clustered(len(lacking), random)
            spaces.add(
                space_id,
                [
                    (one.text_id, row.astype("<f4").tobytes())
                    for one, row in zip(lacking, vectors, strict=True)
                ],
            )
            self.nearest.changed(view, space_id)

    def remove(self, numbers: range) -> None:
        with self.database.write() as view:
            tables, spaces = DocumentsTables(view), Spaces(view)
            ids = [document_id_of(f"/shelf/{number:05}.md") for number in numbers]
            spaces.forget(tables.unused(tables.remove(tables.keys(ids))))
            self.nearest.changed(view, spaces.find(SPACE))

    def search(self, query: np.ndarray, limit: int, keys: np.ndarray | None = None):
        with self.database.read() as view:
            inside = None if keys is None else self.chunk_map.selection(view, keys).texts
            return self.nearest.search(view, Spaces(view).find(SPACE), query, limit, inside)

    def compared(self, query: np.ndarray, limit: int, keys: np.ndarray | None = None):
        """What comparing with every stored vector says."""
        inside = "" if keys is None else f"WHERE document_key IN ({','.join(map(str, keys))})"
        with self.database.read() as view:
            rows = view.rows(
                "SELECT text_id, vector FROM vectors WHERE space_id = ? AND text_id IN "
                f"(SELECT text_id FROM chunks {inside})",
                [Spaces(view).find(SPACE)],
            )
        text_ids = np.array([row[0] for row in rows])
        stored = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), -1)
        scores = (stored.astype(np.float64) * query).sum(axis=1)
        best = np.lexsort((text_ids, -scores))[:limit]
        return list(zip(text_ids[best].tolist(), scores[best].tolist(), strict=True))

    def way(self) -> str:
        with self.database.read() as view:
            return self.nearest.way(view, Spaces(view).find(SPACE))[0]


def clustered(count: int, random: np.random.Generator) -> np.ndarray:
    """Unit vectors about 50 subjects, and off zero in all dimensions, as models' are."""
    subjects = np.random.default_rng(7).standard_normal((50, DIMENSIONS)) + 0.5
    rows = subjects[random.integers(0, 50, count)] + random.standard_normal((count, DIMENSIONS))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def questions(count: int) -> np.ndarray:
    return clustered(count, np.random.default_rng(99))


def recall(shelf: Shelf, limit: int, keys: np.ndarray | None = None) -> float:
    found = [
        len(
            {one for one, _ in shelf.search(query, limit, keys)}
            & {one for one, _ in shelf.compared(query, limit, keys)}
        )
        for query in questions(10)
    ]
    return sum(found) / (10 * limit)


def agrees(shelf: Shelf, limit: int, keys: np.ndarray | None = None) -> None:
    for query in questions(5):
        found, expected = shelf.search(query, limit, keys), shelf.compared(query, limit, keys)
        assert [one for one, _ in found] == [one for one, _ in expected]
        assert np.allclose(
            [score for _, score in found], [score for _, score in expected], atol=1e-12
        )


@pytest.fixture(params=[True, False], ids=["sqlite-vec", "numpy"])
def exact(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "index.sqlite", vec=request.param)
    shelf.add(range(300))
    yield shelf
    shelf.database.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "index.sqlite"
    shelf = Shelf(path, exact_limit=4_000)
    shelf.add(range(3_400))
    shelf.database.close()
    return path


@pytest.fixture
def packed(large: Path, tmp_path: Path) -> Iterator[Shelf]:
    """A copy of the test's own."""
    shelf = Shelf(shutil.copyfile(large, tmp_path / "index.sqlite"), exact_limit=4_000)
    yield shelf
    shelf.database.close()


def test_below_the_limit_the_nearest_are_those_of_a_comparison_with_all(exact: Shelf) -> None:
    for limit in (1, 10, 100):
        agrees(exact, limit)


def test_more_neighbours_than_sqlite_vec_returns_are_found(exact: Shelf) -> None:
    exact.add(range(1_000, 1_700))
    agrees(exact, 4_500)


def test_a_filter_gives_what_comparing_the_documents_inside_gives(exact: Shelf) -> None:
    for keys in (np.array([7]), np.arange(3, 280, 40), np.arange(1, 250)):
        agrees(exact, 10, keys)


def test_a_filter_without_documents_finds_nothing(exact: Shelf) -> None:
    assert exact.search(questions(1)[0], 10, np.zeros(0, np.int64)) == []


def test_sqlite_vec_is_told_which_few_of_all_may_answer_though_they_are_the_oldest(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path / "index.sqlite")
    shelf.add(range(900))
    with shelf.database.read() as view:
        oldest = shelf.chunk_map.selection(view, np.array([1])).texts
        vectors = [vector for _, vector in Spaces(view).vectors(1, np.nonzero(oldest)[0].tolist())]
        away = -np.sum([np.frombuffer(vector, "<f4") for vector in vectors], axis=0, dtype=float)
        found = vector_table.nearest(view, 1, away / np.linalg.norm(away), CHUNKS, oldest)
    shelf.database.close()
    assert found is not None
    assert len(found) == CHUNKS


def test_changes_are_found_at_once(exact: Shelf) -> None:
    agrees(exact, 10)
    exact.remove(range(100, 200))
    agrees(exact, 10)
    exact.add(range(300, 340))
    exact.add(range(100, 110), seed=5)
    agrees(exact, 10)
    agrees(exact, 10, np.arange(250, 352))


def test_a_text_of_several_documents_is_found_through_each(exact: Shelf) -> None:
    exact.add(range(2_000, 2_003), same=True)
    agrees(exact, 50, np.array([1, 302]))
    agrees(exact, 50, np.array([301]))
    exact.remove(range(1))
    agrees(exact, 50, np.array([302]))


def test_equal_vectors_come_in_the_order_of_their_texts(tmp_path: Path) -> None:
    for vec in (True, False):
        shelf = Shelf(tmp_path / f"{vec}.sqlite", vec=vec)
        shelf.add(range(40))
        with shelf.database.write() as view:
            vector = view.value("SELECT vector FROM vectors WHERE vector_id = 7")
            view.rows("UPDATE vectors SET vector = ?", [vector])
            view.rows("DELETE FROM vector_copies")
            shelf.nearest.changed(view, 1)
        found = shelf.search(questions(1)[0], 12)
        assert [one for one, _ in found] == list(range(1, 13))
        shelf.database.close()


def test_what_a_program_without_sqlite_vec_wrote_is_found_and_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with_table, without = Shelf(path), Shelf(path, vec=False)
    with_table.add(range(100))
    without.add(range(100, 150))
    without.remove(range(10, 20))
    agrees(with_table, 20)
    agrees(without, 20)
    with_table.add(range(150, 160))
    agrees(with_table, 20)
    with with_table.database.read() as view:
        assert view.value("SELECT count(*) FROM vector_table") == 150 * CHUNKS
    with_table.database.close()
    without.database.close()


def test_above_the_limit_packed_bits_find_nearly_all(packed: Shelf) -> None:
    assert packed.way() == "packed bits"
    assert recall(packed, 10) >= 0.97
    assert recall(packed, 100) >= 0.97
    with packed.database.read() as view:
        assert not view.rows("SELECT 1 FROM sqlite_schema WHERE name = 'vector_table'")
        assert view.value("SELECT count(*) FROM packed_pages") == 1


def test_scores_above_the_limit_are_exact(packed: Shelf) -> None:
    for query in questions(5):
        expected = dict(packed.compared(query, 30_000))
        for text_id, score in packed.search(query, 50):
            assert score == pytest.approx(expected[text_id], abs=1e-12)


def test_a_filter_above_the_limit_gives_what_comparing_the_documents_inside_gives(
    packed: Shelf,
) -> None:
    agrees(packed, 10, np.arange(7, 3_000, 200))
    assert recall(packed, 10, np.arange(1, 3_400, 2)) >= 0.97


def test_every_vector_can_be_asked_for_above_the_limit(packed: Shelf) -> None:
    assert recall(packed, 10_000) >= 0.97


def test_packed_bits_follow_changes_of_this_program_and_of_others(packed: Shelf) -> None:
    other = Shelf(packed.database.path, exact_limit=4_000, vec=False)
    assert recall(other, 10) >= 0.97
    packed.remove(range(1_000, 1_400))
    packed.add(range(5_000, 5_050))
    other.add(range(6_000, 6_050))
    for shelf in (packed, other):
        assert recall(shelf, 10) >= 0.97
        newest = shelf.compared(questions(1)[0], 10, np.arange(3_401, 3_501))
        assert shelf.search(questions(1)[0], 10, np.arange(3_401, 3_501)) == newest
    other.database.close()


def test_packed_bits_survive_that_the_log_of_removals_is_emptied(packed: Shelf) -> None:
    other = Shelf(packed.database.path, exact_limit=4_000)
    assert recall(other, 10) >= 0.97
    packed.remove(range(0, 600))
    with packed.database.write() as view:
        packed.nearest.trim(view)
        assert not view.value("SELECT count(*) FROM removed_vectors")
    assert recall(packed, 10) >= 0.97
    assert recall(other, 10) >= 0.97
    fresh = Shelf(packed.database.path, exact_limit=4_000)
    assert recall(fresh, 10) >= 0.97
    other.database.close()
    fresh.database.close()


def test_when_enough_is_removed_every_vector_is_compared_again(packed: Shelf) -> None:
    packed.remove(range(100, 2_800))
    assert packed.way() == "packed bits"
    packed.remove(range(2_700, 3_000))
    assert packed.way() == "sqlite-vec"
    agrees(packed, 20)
    with packed.database.read() as view:
        assert not view.value("SELECT count(*) FROM packed_pages")


def test_vectors_of_another_model_are_never_compared(packed: Shelf) -> None:
    packed.add(range(7_000, 7_001), space=OTHER)
    assert recall(packed, 10) >= 0.97
    with packed.database.read() as view:
        other = Spaces(view).find(OTHER)
        assert packed.nearest.way(view, other)[0] == "packed bits"


def test_threads_search_packed_bits_while_another_changes_them(packed: Shelf) -> None:
    question = questions(1)[0]

    def searched(_: int) -> list[float]:
        return [score for _, score in packed.search(question, 20)]

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(searched, n) for n in range(40)]
        for number in range(8_000, 8_010):
            packed.add(range(number, number + 1))
            packed.remove(range(number - 8_000, number - 7_999))
        found = [one.result() for one in waiting]
    assert all(len(one) == 20 and one == sorted(one, reverse=True) for one in found)
    assert recall(packed, 10) >= 0.97
