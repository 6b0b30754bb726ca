"""What every store promises, kept by the SQLite store in both ways of searching."""

import threading

import apsw
import numpy as np
import pytest

from engine.errors import DocumentNotFound, InvalidInput, StoreError, WrongEmbedder
from engine.store.interface import EmbeddingSpace

OTHER_SPACE = EmbeddingSpace("other-model", "fingerprint-2", 24)


def _places(hits):
    return [(hit.document.path, hit.chunk.ordinal) for hit in hits]


def _places_and_scores(hits):
    return [(hit.document.path, hit.chunk.ordinal, hit.score) for hit in hits]


def _brute_force(stored, query, limit):
    """Rows in the order of their cosine similarity in double precision, ties by row."""
    wide, asked = stored.astype(np.float64), query.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1) * np.linalg.norm(asked)
    scores = (wide @ asked) / norms
    order = np.lexsort((np.arange(len(scores)), -scores))[:limit]
    return [(int(row), float(scores[row])) for row in order]


def test_what_is_stored_is_read_back(store, document, vectors):
    made, chunks = document("/d/a.md", 3, "日本語 \U0001f469‍\U0001f680")
    store.replace(made, chunks, vectors(3))
    assert store.document(made.document_id) == made
    assert store.chunks(made.document_id) == chunks


@pytest.mark.parametrize("limit", [1, 10, 500, 1999, 2000, 5000])
def test_a_search_equals_comparing_with_every_vector(store, document, vectors, limit):
    stored = vectors(2000)
    for part in range(4):
        made, chunks = document(f"/d/{part}", 500)
        store.replace(made, chunks, stored[500 * part : 500 * part + 500])
    for query in vectors(5, seed=1):
        hits = store.search(query, limit)
        expected = _brute_force(stored, query, limit)
        assert _places(hits) == [(f"/d/{row // 500}", row % 500) for row, _ in expected]
        found = [hit.score for hit in hits]
        np.testing.assert_allclose(found, [score for _, score in expected], atol=1e-6)


def test_hits_beyond_what_sqlite_vec_returns_at_once_are_found(store, document, vectors):
    stored = vectors(5000)
    made, chunks = document("/d/many", 5000)
    store.replace(made, chunks, stored)
    hits = store.search(stored[7], 4500)
    assert len(hits) == 4500
    expected = [row for row, _ in _brute_force(stored, stored[7], 4500)]
    assert [hit.chunk.ordinal for hit in hits] == expected


def test_among_equal_chunks_the_older_comes_first(store, document, vectors):
    same = np.repeat(vectors(1), 300, axis=0)
    made, chunks = document("/d/same", 300)
    store.replace(made, chunks, same)
    other, more = document("/d/earlier name", 1)
    store.replace(other, more, same[:1])
    hits = store.search(same[0], 12)
    assert _places(hits) == [("/d/same", ordinal) for ordinal in range(12)]
    assert {hit.score for hit in hits} == {hits[0].score}


def test_both_ways_of_searching_agree_to_the_last_bit(tmp_path, open_at, document, vectors):
    near = np.repeat(vectors(20), 40, axis=0)
    near[::3] += vectors(len(near[::3]), seed=2) * np.float32(1e-7)
    path = tmp_path / "index.sqlite"
    fast, slow = open_at(path), open_at(path, vector_search="numpy")
    made, chunks = document("/d/near", len(near))
    fast.replace(made, chunks, near)
    for query in [*near[:5], *vectors(5, seed=3), -near[0]]:
        for limit in (1, 7, 60, 800):
            assert _places_and_scores(fast.search(query, limit)) == _places_and_scores(
                slow.search(query, limit)
            )


def test_what_one_way_wrote_the_other_finds(tmp_path, open_at, document, vectors):
    path = tmp_path / "index.sqlite"
    stored = vectors(4)
    for number, tier in enumerate(["fastest", "numpy", "fastest", "numpy"]):
        store = open_at(path, vector_search=tier)
        made, chunks = document(f"/d/{number}")
        store.replace(made, chunks, stored[number : number + 1])
    fast, slow = open_at(path), open_at(path, vector_search="numpy")
    slow.delete([document("/d/0")[0].document_id])
    for store in (fast, slow):
        for number in range(4):
            best = store.search(stored[number], 1)[0].document.path
            assert (best == f"/d/{number}") == (number > 0)
    fast.delete([document("/d/1")[0].document_id])
    assert all(len(store.search(stored[0], 10)) == 2 for store in (fast, slow))


def test_scores_are_cosines_of_vectors_of_any_length(store, document):
    made, chunks = document("/d/a", 2)
    stored = np.zeros((2, 16), np.float32)
    stored[0, :2], stored[1, 0] = 5.0, -1e-3
    store.replace(made, chunks, stored)
    query = np.zeros(16, np.float32)
    query[0] = 100.0
    assert [hit.score for hit in store.search(query, 2)] == pytest.approx([0.5**0.5, -1.0])


def test_an_empty_index_has_no_hits(store, vectors):
    assert store.search(vectors(1)[0], 5) == []


def test_a_limit_below_one_has_no_hits(store, document, vectors):
    store.replace(*document("/d/a"), vectors(1))
    assert store.search(vectors(1)[0], 0) == []
    assert store.search(vectors(1)[0], -3) == []


def test_replacing_a_document_leaves_nothing_of_the_old_one(store, document, vectors):
    made, chunks = document("/d/a", 5, "old")
    store.replace(made, chunks, vectors(5))
    renewed, fewer = document("/d/a", 2, "new")
    store.replace(renewed, fewer, vectors(2, seed=1))
    hits = store.search(vectors(5)[4], 10)
    assert len(hits) == 2
    assert all(hit.chunk.text.startswith("new") for hit in hits)
    assert store.statistics().chunks == 2


def test_a_document_without_chunks_is_listed_and_never_found(store, document, vectors):
    made, chunks = document("/d/blank", 0)
    store.replace(made, chunks, np.zeros((0, 0), np.float32))
    assert store.documents() == [made]
    assert store.search(vectors(1)[0], 5) == []


def test_refreshing_changes_the_time_only(store, document, vectors):
    made, chunks = document("/d/a", 2)
    store.replace(made, chunks, vectors(2))
    touched = type(made)(**{**{f: getattr(made, f) for f in made.__slots__}, "stamp_ns": 999})
    store.refresh(touched)
    assert store.document(made.document_id) == touched
    assert store.chunks(made.document_id) == chunks


def test_deleting_counts_what_was_there_and_lasts(tmp_path, open_at, tier, document, vectors):
    store = open_at(tmp_path / "index.sqlite", vector_search=tier)
    for name in "abc":
        made, chunks = document(f"/d/{name}", 2)
        store.replace(made, chunks, vectors(2))
    ids = [document(f"/d/{name}")[0].document_id for name in "ab"]
    assert store.delete([*ids, "no such id"]) == 2
    assert store.delete(ids) == 0
    store.close()
    again = open_at(tmp_path / "index.sqlite", vector_search=tier)
    assert [found.path for found in again.documents()] == ["/d/c"]
    assert {hit.document.path for hit in again.search(vectors(1)[0], 10)} == {"/d/c"}


def test_deleting_nothing_writes_nothing(tmp_path, open_at, tier, document, vectors):
    path = tmp_path / "index.sqlite"
    store = open_at(path, vector_search=tier)
    store.replace(*document("/d/a"), vectors(1))
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    assert store.delete([]) == 0
    assert store.delete(["no such id"]) == 0
    other.close()
    again = apsw.Connection(str(path))
    assert again.execute("SELECT value FROM meta WHERE key = 'generation'").fetchall() == [(1,)]
    again.close()


def test_clearing_counts_what_was_there(store, document, vectors):
    for name in "abc":
        store.replace(*document(f"/d/{name}"), vectors(1))
    assert store.clear() == 3
    assert store.clear() == 0


def test_pages_show_each_document_once_in_the_order_of_paths(store, document, vectors):
    paths = [f"/d/{name}" for name in ("b", "a/x", "é", "a", "a b", "日本", "Z")]
    for path in paths:
        store.replace(*document(path), vectors(1))
    seen, after = [], ""
    while page := store.documents(after=after, limit=2):
        seen += [found.path for found in page]
        after = page[-1].path
    assert seen == sorted(paths)
    assert store.documents(limit=0) == []


def test_a_folder_holds_only_what_lies_in_it(store, document, vectors, tmp_path):
    folder = tmp_path / "a%_"
    inside = [str(folder / "x"), str(folder / "y" / "z")]
    for path in [*inside, str(tmp_path / "a%_b" / "x"), str(tmp_path / "aXY" / "x")]:
        store.replace(*document(path), vectors(1))
    assert [found.path for found in store.documents(under=str(folder))] == inside
    assert [found.path for found in store.documents(under=inside[0])] == inside[:1]
    assert len(store.documents(under=str(tmp_path))) == 4


def test_an_unknown_document_is_refused_with_near_ones(store, document, vectors):
    for number in range(8):
        store.replace(*document(f"/d/notes-{number}.md"), vectors(1))
    with pytest.raises(DocumentNotFound) as refused:
        store.document("notes-3.markdown")
    assert "/d/notes-3.md" in str(refused.value)
    assert str(refused.value).count("/d/") <= 3
    with pytest.raises(DocumentNotFound):
        store.chunks("nothing like it")
    wanted = store.documents()[0].document_id
    with pytest.raises(DocumentNotFound, match=wanted):
        store.document(wanted[:-1])


@pytest.mark.parametrize(
    "spoiled",
    [
        np.full((2, 16), np.nan, np.float32),
        np.full((2, 16), np.inf, np.float32),
        np.zeros((2, 16), np.float32),
        np.ones((2, 15), np.float32),
        np.ones((3, 16), np.float32),
        np.ones(32, np.float32),
    ],
    ids=["nan", "infinite", "zeros", "dimensions", "rows", "flat"],
)
def test_vectors_that_cannot_be_compared_are_refused(store, document, vectors, spoiled):
    made, chunks = document("/d/a", 2, "old")
    store.replace(made, chunks, vectors(2))
    renewed, others = document("/d/a", 2, "new")
    with pytest.raises(InvalidInput):
        store.replace(renewed, others, spoiled)
    assert store.chunks(made.document_id) == chunks
    for query in (spoiled[0], vectors(1)[0][:8]):
        with pytest.raises(InvalidInput):
            store.search(np.atleast_1d(query) * np.nan, 1)


def test_chunks_that_are_not_complete_are_refused(store, document, vectors):
    made, chunks = document("/d/a", 3)
    with pytest.raises(InvalidInput):
        store.replace(made, chunks[1:], vectors(2))
    assert store.documents() == []


def test_half_a_character_is_refused(store):
    with pytest.raises(InvalidInput):
        store.document("\ud800")


def test_another_models_index_is_listed_and_read_but_not_searched(
    tmp_path, open_at, tier, document, vectors
):
    made, chunks = document("/d/a", 2)
    open_at(tmp_path / "index", vector_search=tier).replace(made, chunks, vectors(2))
    store = open_at(tmp_path / "index", OTHER_SPACE, vector_search=tier)
    assert store.documents() == [made]
    assert store.chunks(made.document_id) == chunks
    for refused in (
        store.check_embedder,
        lambda: store.search(vectors(1, dimensions=24)[0], 1),
        lambda: store.replace(made, chunks, vectors(2, dimensions=24)),
    ):
        with pytest.raises(WrongEmbedder, match=r"tiny-model.*other-model.*--embedder tiny-model"):
            refused()
    assert store.statistics().embedder_id == "tiny-model"


def test_other_weights_under_the_same_name_are_another_model(tmp_path, open_at, document, vectors):
    open_at(tmp_path / "index").replace(*document("/d/a"), vectors(1))
    store = open_at(tmp_path / "index", EmbeddingSpace("tiny-model", "fingerprint-9", 16))
    with pytest.raises(WrongEmbedder, match="another version of tiny-model"):
        store.search(vectors(1)[0], 1)


def test_a_cleared_index_takes_any_model(tmp_path, open_at, tier, document, vectors):
    open_at(tmp_path / "index", vector_search=tier).replace(*document("/d/a"), vectors(1))
    store = open_at(tmp_path / "index", OTHER_SPACE, vector_search=tier)
    store.clear()
    assert store.documents() == []
    assert store.statistics().embedder_id == ""
    made, chunks = document("/d/b", 3)
    stored = vectors(3, dimensions=24)
    store.replace(made, chunks, stored)
    assert _places(store.search(stored[2], 1)) == [("/d/b", 2)]
    assert store.statistics().dimensions == 24


def test_an_index_emptied_document_by_document_takes_any_model(
    tmp_path, open_at, tier, document, vectors
):
    first = open_at(tmp_path / "index", vector_search=tier)
    first.replace(*document("/d/a"), vectors(1))
    first.delete([document("/d/a")[0].document_id])
    store = open_at(tmp_path / "index", OTHER_SPACE, vector_search=tier)
    store.check_embedder()
    assert store.search(vectors(1, dimensions=24)[0], 3) == []
    store.replace(*document("/d/b"), vectors(1, dimensions=24))
    assert len(store.search(vectors(1, dimensions=24)[0], 3)) == 1


def test_a_store_without_a_model_lists_reads_and_deletes(tmp_path, open_at, document, vectors):
    made, chunks = document("/d/a", 2)
    open_at(tmp_path / "index").replace(made, chunks, vectors(2))
    store = open_at(tmp_path / "index", None)
    assert store.chunks(made.document_id) == chunks
    with pytest.raises(StoreError, match="npu-gateway pull"):
        store.search(vectors(1)[0], 1)
    with pytest.raises(StoreError, match="npu-gateway pull"):
        store.replace(made, chunks, vectors(2))
    store.use(EmbeddingSpace("tiny-model", "fingerprint-1", 16))
    assert len(store.search(vectors(1)[0], 5)) == 2
    assert store.delete([made.document_id]) == 1


def test_statistics_say_what_is_stored(store, document, vectors, tier):
    empty = store.statistics()
    assert (empty.documents, empty.chunks, empty.embedder_id) == (0, 0, "")
    made, chunks = document("/d/a", 400)
    store.replace(made, chunks, vectors(400))
    filled = store.statistics()
    assert (filled.documents, filled.chunks, filled.dimensions) == (1, 400, 16)
    assert (filled.embedder_id, filled.fingerprint) == ("tiny-model", "fingerprint-1")
    assert filled.size_bytes > empty.size_bytes
    assert (filled.vector_search == "numpy") == (tier == "numpy")
    assert bool(filled.vector_search_reason) == (tier == "numpy")


def test_threads_may_share_a_store(store, document, vectors):
    failures = []

    def work(number):
        try:
            for turn in range(15):
                made, chunks = document(f"/d/{number}-{turn % 3}", 3)
                store.replace(made, chunks, vectors(3, seed=number))
                assert store.search(vectors(1, seed=number)[0], 1)[0].score == pytest.approx(1)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.statistics().documents == 12


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.documents()
