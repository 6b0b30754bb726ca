"""What every store promises, kept by the SQLite store in both ways of searching."""

import dataclasses
import threading

import numpy as np
import pytest

from engine.corpus import Filter, document_id_of
from engine.errors import DocumentNotFound, InvalidInput, StoreError
from engine.store.interface import EmbeddingSpace, Extent


def _brute_force(stored, query, limit):
    """Unit rows in the order of their cosine similarity in double precision, ties by row."""
    wide, asked = stored.astype(np.float64), query.astype(np.float64)
    scores = (wide * (asked / np.linalg.norm(asked))).sum(axis=1)
    order = np.lexsort((np.arange(len(scores)), -scores))[:limit]
    return [(int(row), float(scores[row])) for row in order]


def test_what_is_stored_is_read_back(store, document):
    fields = {"kind": "pdf", "modified_ns": 2**62, "page_count": 3, "metadata": {"author": "Zoë"}}
    made, chunks = document("/d/a.md", 3, "日本語 \U0001f469‍\U0001f680", encoding="", **fields)
    chunks = [dataclasses.replace(one, page_start=1, page_end=2) for one in chunks]
    store.replace(made, chunks)
    assert store.document(made.document_id) == made
    assert store.chunks(made.document_id) == chunks


def test_how_much_some_documents_are_is_told(store, document):
    assert store.extent() == Extent(0, 0, 0, 0)
    for number, path in enumerate(("/d/a", "/d/b", "/e/c"), 1):
        store.replace(*document(path, size=10 * number, modified_ns=number))
    assert store.extent() == Extent(3, 60, 1, 3)
    assert store.extent(Filter(roots=("/d",))) == Extent(2, 30, 1, 2)


def test_words_are_found_before_any_vector_is_there(path, open_at, document):
    store = open_at(path, None)
    store.replace(*document("/d/a", ["the lighthouse", "the harbour"]))
    found = store.lexical(['"harbour"'], 5)
    assert [hit.chunk.text for hit in store.hits(found)] == ["the harbour"]
    assert found[0].score > 0
    assert store.lexical(['"nowhere"'], 5) == store.lexical([], 5) == []
    assert store.lexical(['"harbour"'], 0) == []


@pytest.mark.parametrize("limit", [1, 10, 500, 1999, 2000, 5000])
def test_a_search_equals_comparing_with_every_vector(store, add, vectors, places, limit):
    stored = vectors(2000)
    for part in range(4):
        add(store, f"/d/{part}", stored[500 * part : 500 * part + 500])
    for query in vectors(3, seed=1):
        expected = _brute_force(stored, query, limit)
        assert places(store, query, limit) == [(f"/d/{r // 500}", r % 500) for r, _ in expected]
        found = [one.score for one in store.nearest(query, limit)]
        np.testing.assert_allclose(found, [score for _, score in expected], atol=1e-6)


def test_ten_thousand_hits_are_found_and_named(store, add, vectors):
    add(store, "/d/many", vectors(10_500))
    ids = [row.text_id for row in store.nearest(vectors(1)[0], 20_000)]
    stored = np.stack([row for _, row in sorted(store.vectors(ids).items())])
    query = stored[7]
    found = store.nearest(query, 10_000)
    expected = [row for row, _ in _brute_force(stored, query, 10_000)]
    assert [hit.chunk.ordinal for hit in store.hits(found)] == expected
    words = store.lexical(['"line"'], 10_000)
    assert len(words) == len({one.text_id for one in words}) == 10_000


def test_among_equal_texts_the_older_comes_first(store, add, vectors, places):
    same = np.repeat(vectors(1), 300, axis=0)
    add(store, "/d/same", same)
    add(store, "/d/earlier name", same[:1])
    assert places(store, same[0], 12) == [("/d/same", ordinal) for ordinal in range(12)]
    found = store.nearest(same[0], 12)
    assert {one.score for one in found} == {found[0].score}


def test_both_ways_of_searching_agree_to_the_last_bit(path, open_at, add, vectors):
    near = np.repeat(vectors(20), 40, axis=0)
    near[::3] += vectors(len(near[::3]), seed=2) * np.float32(1e-7)
    fast, slow = open_at(path), open_at(path, vector_search="numpy")
    add(fast, "/d/near", near)
    for query in [*near[:3], *vectors(3, seed=3), -near[0]]:
        for limit in (1, 7, 60, 800):
            assert fast.nearest(query, limit) == slow.nearest(query, limit)


def test_what_one_way_wrote_the_other_finds(path, open_at, add, vectors, places):
    stored = vectors(4)
    for number, tier in enumerate(["fastest", "numpy", "fastest", "numpy"]):
        add(open_at(path, vector_search=tier), f"/d/{number}", stored[number : number + 1])
    fast, slow = open_at(path), open_at(path, vector_search="numpy")
    slow.delete([document_id_of("/d/0")])
    for store in (fast, slow):
        for number in range(4):
            best = places(store, stored[number], 1)[0][0]
            assert (best == f"/d/{number}") == (number > 0)
    fast.delete([document_id_of("/d/1")])
    assert all(len(store.nearest(stored[0], 10)) == 2 for store in (fast, slow))


def test_scores_are_cosines_of_vectors_of_any_length(store, add):
    stored = np.zeros((2, 16), np.float32)
    stored[0, :2], stored[1, 0] = 5.0, -1e-3
    add(store, "/d/a", stored)
    query = np.zeros(16, np.float32)
    query[0] = 100.0
    found = store.nearest(query, 2)
    assert [one.score for one in found] == pytest.approx([0.5**0.5, -1.0])
    ids = [one.text_id for one in found]
    assert store.similarities(query, [*ids, 999]) == {one.text_id: one.score for one in found}
    assert sorted(store.vectors([*ids, 999])) == sorted(ids)
    np.testing.assert_allclose(store.vectors(ids)[ids[1]], stored[1] * 1e3, rtol=1e-6)


def test_an_empty_index_has_no_hits(store, vectors):
    assert store.nearest(vectors(1)[0], 5) == store.lexical(['"a"'], 5) == store.hits([]) == []
    assert store.similarities(vectors(1)[0], [1]) == store.vectors([1]) == {}


def test_a_limit_below_one_has_no_hits(store, add, vectors):
    add(store, "/d/a", vectors(1))
    assert store.nearest(vectors(1)[0], 0) == store.nearest(vectors(1)[0], -3) == []


def test_replacing_a_document_leaves_nothing_of_the_old_one(store, add, vectors):
    add(store, "/d/a", vectors(5), "old")
    add(store, "/d/a", vectors(2, seed=1), "new")
    hits = store.hits(store.nearest(vectors(5)[4], 10))
    assert len(hits) == 2
    assert all(hit.chunk.text.startswith("new") for hit in hits)
    assert store.lexical(['"old"'], 9) == []
    statistics = store.statistics()
    assert (statistics.chunks, statistics.texts, statistics.vectors) == (2, 2, {"tiny-model": 2})


def test_a_document_without_chunks_is_listed_and_never_found(store, document, vectors):
    made, chunks = document("/d/blank", 0)
    store.replace(made, chunks)
    assert store.documents() == [made]
    assert store.nearest(vectors(1)[0], 5) == []
    assert store.coverage().is_complete


def test_refreshing_changes_the_times_only(store, add, vectors):
    made, chunks = add(store, "/d/a", vectors(2))
    touched = dataclasses.replace(made, stamp_ns=999, modified_ns=888)
    store.refresh(dataclasses.replace(touched, title="not taken over"))
    assert store.document(made.document_id) == touched
    assert store.chunks(made.document_id) == chunks
    assert store.coverage().is_complete


def test_deleting_counts_what_was_there_and_lasts(path, open_at, tier, document, embed, vectors):
    store = open_at(path, vector_search=tier)
    for name in "abc":
        store.replace(*document(f"/d/{name}", 2))
    embed(store)
    ids = [document_id_of(f"/d/{name}") for name in "ab"]
    assert store.delete([*ids, "no such id"]) == 2
    assert store.delete(ids) == 0
    store.close()
    again = open_at(path, vector_search=tier)
    assert [found.path for found in again.documents()] == ["/d/c"]
    hits = again.hits(again.nearest(vectors(1)[0], 10) + again.lexical(['"line"'], 10))
    assert [hit.document.path for hit in hits] == ["/d/c"] * 4


def test_deleting_nothing_and_knowing_all_write_nothing(store, document, raw):
    store.replace(*document("/d/a"))
    store.require_chunking(3)
    generation = store.statistics().generation
    raw.execute("BEGIN IMMEDIATE")  # Whoever wrote now would wait for it.
    assert store.delete([]) == 0
    assert store.delete(["no such id"]) == 0
    store.require_chunking(3)
    store.set_skipped("/d", [])
    assert store.statistics().generation == generation


def test_clearing_counts_what_was_there(store, document, embed, vectors):
    for name in "abc":
        store.replace(*document(f"/d/{name}"))
    embed(store)
    assert store.clear() == 3
    assert store.clear() == 0
    assert store.nearest(vectors(1)[0], 3) == store.lexical(['"line"'], 3) == []
    assert store.statistics().vectors == {}


def test_other_rules_of_chunking_make_every_file_count_as_changed(store, add, vectors):
    store.require_chunking(1)
    made, _ = add(store, "/d/a", vectors(2))
    store.require_chunking(1)
    assert store.documents() == [made]
    store.require_chunking(2)
    assert store.documents() == [dataclasses.replace(made, content_sha256="", stamp_ns=0)]
    assert len(store.nearest(vectors(1)[0], 5)) == 2


def test_pages_show_each_document_once_in_the_order_of_paths(store, document):
    paths = [f"/d/{name}" for name in ("b", "a/x", "é", "a", "a b", "日本", "Z")]
    for path in paths:
        store.replace(*document(path))
    seen, after = [], ""
    while page := store.documents(after=after, limit=2):
        seen += [found.path for found in page]
        after = page[-1].path
    assert seen == sorted(paths)
    assert store.documents(limit=0) == []
    assert len(store.documents(limit=2**70)) == len(paths)


def test_an_unknown_document_is_refused_with_near_ones(store, document):
    for number in range(8):
        store.replace(*document(f"/d/notes-{number}.md"))
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
    store.replace(*document("/d/a", 2))
    ids = [one.text_id for one in store.lacking(5)]
    with pytest.raises(InvalidInput):
        store.add_vectors(ids, spoiled)
    assert store.coverage().embedded == 0
    store.add_vectors(ids, vectors(2))
    for query in (np.atleast_1d(spoiled[0]) * np.nan, vectors(1)[0][:8]):
        with pytest.raises(InvalidInput):
            store.nearest(query, 1)
        with pytest.raises(InvalidInput):
            store.similarities(query, ids)


def test_chunks_that_are_not_complete_are_refused(store, document):
    made, chunks = document("/d/a", 3)
    for wrong in (chunks[1:], chunks[::-1], chunks[:2]):
        with pytest.raises(InvalidInput):
            store.replace(made, wrong)
    assert store.documents() == []


def test_half_a_character_is_refused(store, document):
    with pytest.raises(InvalidInput):
        store.document("\ud800")
    with pytest.raises(InvalidInput):
        store.replace(*document("/d/a", ["\udfff"]))
    assert store.documents() == []
    assert store.verify() == []


def test_a_store_without_a_model_lists_reads_finds_words_and_deletes(
    path, open_at, add, document, vectors, space
):
    made, chunks = add(open_at(path), "/d/a", vectors(2))
    store = open_at(path, None)
    assert store.chunks(made.document_id) == chunks
    assert len(store.lexical(['"line"'], 5)) == 2
    for refused in (
        lambda: store.nearest(vectors(1)[0], 1),
        lambda: store.similarities(vectors(1)[0], [1]),
        lambda: store.vectors([1]),
        lambda: store.add_vectors([1], vectors(1)),
    ):
        with pytest.raises(StoreError, match="npu-gateway pull"):
            refused()
    store.replace(*document("/d/b"))
    store.use(space)
    assert len(store.nearest(vectors(1)[0], 5)) == 2
    assert store.delete([made.document_id]) == 1


def test_statistics_say_what_is_stored(store, add, vectors, tier):
    empty = store.statistics()
    assert (empty.documents, empty.chunks, empty.texts, empty.vectors) == (0, 0, 0, {})
    add(store, "/d/a", vectors(400))
    filled = store.statistics()
    assert (filled.documents, filled.chunks, filled.texts) == (1, 400, 400)
    assert filled.vectors == {"tiny-model": 400}
    assert filled.size_bytes > empty.size_bytes
    assert filled.generation > empty.generation


def test_the_way_of_searching_is_told_with_its_reason(store, add, vectors, tier):
    add(store, "/d/a", vectors(4))
    statistics = store.statistics()
    assert (statistics.vector_search == "numpy") == (tier == "numpy")
    assert bool(statistics.vector_search_reason) == (tier == "numpy")


def test_hits_are_the_oldest_chunk_of_a_text_in_a_document_that_matches(store, document):
    for name in ("b", "a", "c"):
        store.replace(*document(f"/{name}", ["shared words"], kind=name))
    found = store.lexical(['"shared"'], 5)
    assert len(found) == 1
    assert [hit.document.path for hit in store.hits(found)] == ["/b"]
    assert store.hits(found)[0].text_id == found[0].text_id
    of_c = store.hits(found, Filter(kinds=("c", "x")))
    assert [hit.document.path for hit in of_c] == ["/c"]
    assert store.hits(found, Filter(kinds=("x",))) == []


def test_hits_keep_the_order_and_pass_over_what_is_gone(store, add, vectors):
    add(store, "/d/a", vectors(3))
    add(store, "/d/b", vectors(3, seed=1))
    found = store.nearest(vectors(1)[0], 6)
    store.delete([document_id_of("/d/a")])
    left = store.hits(found)
    assert {hit.document.path for hit in left} == {"/d/b"}
    assert [hit.score for hit in left] == sorted((hit.score for hit in left), reverse=True)


def test_threads_may_share_a_store(store, document, embed, meaning):
    failures = []

    def work(number):
        try:
            for turn in range(12):
                made, chunks = document(f"/d/{number}-{turn % 3}", 3)
                store.replace(made, chunks)
                embed(store)
                found = store.nearest(meaning(chunks[0].embedded_text), 1)
                assert found[0].score == pytest.approx(1)
                assert store.hits(found)[0].document == made
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
    assert store.verify() == []


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    for refused in (store.documents, store.clear, store.compact, store.verify):
        with pytest.raises(StoreError, match="closed"):
            refused()


def test_two_spaces_of_one_model_are_counted_apart(path, open_at, add, document, embed, vectors):
    add(open_at(path), "/d/a", vectors(3))
    newer = open_at(path, EmbeddingSpace("tiny-model", "fingerprint-9", 16))
    assert newer.nearest(vectors(1)[0], 5) == []
    newer.add_vectors([newer.lacking(1)[0].text_id], vectors(1))
    assert newer.statistics().vectors == {"tiny-model": 1}
    assert len(newer.nearest(vectors(1)[0], 5)) == 1
