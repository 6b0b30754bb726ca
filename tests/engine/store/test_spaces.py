"""Texts that chunks share, and their vectors in several models' spaces."""

import pytest

from engine.corpus import document_id_of
from engine.store.interface import Coverage, EmbeddingSpace

OTHER_SPACE = EmbeddingSpace("other-model", "fingerprint-2", 24)


def _vector_rows(raw):
    return raw.execute("SELECT space_id, text_id, vector FROM vectors ORDER BY 1, 2").fetchall()


def _left(raw):
    """Rows that hold a text, its words or its vectors."""
    return {
        table: raw.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
        for table in ("documents", "chunks", "texts", "vectors", "chunks_fts_docsize")
    }


def test_a_text_in_many_files_is_embedded_and_found_once(store, document, embed, meaning):
    for name in "abc":
        store.replace(*document(f"/d/{name}", ["the same\n", f"only in {name}\n"]))
    assert embed(store) == 4
    same = store.chunks(document_id_of("/d/a"))[0].embedded_text
    found = store.nearest(meaning(same), 10)
    assert len(found) == 4
    assert [hit.document.path for hit in store.hits(found[:1])] == ["/d/a"]
    assert len(store.lexical(['"same"'], 10)) == 1


def test_the_same_words_under_another_heading_are_another_text(store, document, embed):
    made, chunks = document("/d/a", ["words\n", "words\n"])
    store.replace(made, chunks)
    assert embed(store) == 1
    store.replace(made, [chunks[0], chunks[1].__class__(1, "words\n", ("Other",), 2, 2, 7, 14, 2)])
    assert embed(store) == 1


def test_an_edit_of_one_chunk_keeps_the_vectors_of_the_others(store, document, embed, raw):
    texts = [f"paragraph {n}\n" for n in range(100)]
    store.replace(*document("/d/a", texts))
    embed(store)
    before = _vector_rows(raw)
    texts[40] = "paragraph 40, mended\n"
    store.replace(*document("/d/a", texts))
    assert [one.text for one in store.lacking(9)] == ["Top > Sub > x\nparagraph 40, mended\n"]
    assert len(set(before) & set(_vector_rows(raw))) == 99
    assert store.coverage() == Coverage(99, 100)


def test_what_is_put_in_the_middle_or_moved_keeps_its_vector(store, document, embed):
    texts = [f"paragraph {n}\n" for n in range(20)]
    store.replace(*document("/d/a", texts))
    embed(store)
    store.replace(*document("/d/a", ["new\n", *texts[::-1]]))
    assert embed(store) == 1
    assert [chunk.text for chunk in store.chunks(document_id_of("/d/a"))][1:] == texts[::-1]


def test_a_file_read_again_embeds_nothing(store, document, embed, raw):
    store.replace(*document("/d/a", 10))
    embed(store)
    before = _vector_rows(raw)
    store.replace(*document("/d/a", 10))
    assert store.lacking(5) == []
    assert _vector_rows(raw) == before


def test_a_renamed_file_keeps_its_vectors_and_is_found_by_its_new_name(
    store, document, embed, raw, meaning
):
    texts = ["one\n", "two\n"]
    store.replace(*document("/d/old", texts))
    embed(store)
    before = _vector_rows(raw)
    store.replace(*document("/d/new", texts))
    store.delete([document_id_of("/d/old")])
    assert _vector_rows(raw) == before
    assert store.coverage() == Coverage(2, 2)
    text = store.chunks(document_id_of("/d/new"))[1].embedded_text
    hit = store.hits(store.nearest(meaning(text), 1))[0]
    assert (hit.document.path, hit.chunk.text) == ("/d/new", "two\n")
    assert [one.document.path for one in store.hits(store.lexical(['"two"'], 3))] == ["/d/new"]


def test_the_last_holder_takes_text_words_and_vectors_with_it(store, document, embed, raw):
    for name in "ab":
        store.replace(*document(f"/d/{name}", ["shared words\n", f"{name} alone\n"]))
    embed(store)
    store.delete([document_id_of("/d/a")])
    assert _left(raw) == dict.fromkeys(_left(raw), 2) | {"documents": 1}
    assert len(store.lexical(['"shared"'], 5)) == 1
    store.delete([document_id_of("/d/b")])
    assert set(_left(raw).values()) == {0}
    assert store.lexical(['"shared"'], 5) == []
    assert store.verify() == []


def test_all_of_a_deletion_is_one_transaction(store, document, embed, raw):
    store.replace(*document("/d/a", 5))
    embed(store)
    raw.execute("BEGIN").fetchall()
    before = _left(raw)
    store.delete([document_id_of("/d/a")])
    assert _left(raw) == before  # What this transaction sees does not change.
    raw.execute("COMMIT")
    assert set(_left(raw).values()) == {0}


def test_texts_that_lack_a_vector_come_in_pages(store, document, vectors):
    store.replace(*document("/d/a", 25))
    pages, after = [], 0
    while page := store.lacking(10, after):
        pages.append([one.text for one in page])
        after = page[-1].text_id
    assert [len(page) for page in pages] == [10, 10, 5]
    texts = [chunk.embedded_text for chunk in store.chunks(document_id_of("/d/a"))]
    assert [text for page in pages for text in page] == texts
    assert {one.token_count for one in store.lacking(5)} == {2}
    second = store.lacking(10)[1]
    store.add_vectors([second.text_id], vectors(1))
    assert [one.text for one in store.lacking(2)] == [texts[0], texts[2]]
    assert store.coverage() == Coverage(1, 25)


def test_without_a_model_every_text_lacks_a_vector(path, open_at, document):
    store = open_at(path, None)
    store.replace(*document("/d/a", 3))
    assert store.coverage() == Coverage(0, 3)
    assert len(store.lacking(9)) == 3


def test_vectors_of_texts_that_have_gone_are_passed_over(store, document, vectors):
    store.replace(*document("/d/a", 3))
    ids = [one.text_id for one in store.lacking(9)]
    store.replace(*document("/d/a", 1))
    store.add_vectors([*ids, 12345], vectors(4))
    assert store.coverage() == Coverage(1, 1)
    assert store.verify() == []


def test_a_number_of_a_text_is_not_given_twice(store, document):
    store.replace(*document("/d/a", 3))
    highest = store.lacking(9)[-1].text_id
    store.delete([document_id_of("/d/a")])
    store.replace(*document("/d/b", 1))
    assert store.lacking(9)[0].text_id > highest


def test_a_vector_that_is_there_is_kept(store, document, vectors, raw):
    store.replace(*document("/d/a"))
    ids = [store.lacking(1)[0].text_id]
    store.add_vectors(ids, vectors(1))
    before = _vector_rows(raw)
    store.add_vectors(ids, vectors(1, seed=5))
    assert _vector_rows(raw) == before


@pytest.fixture
def two_models(path, open_at, tier, document, embed):
    """An index embedded by one model, opened with another."""
    first = open_at(path, vector_search=tier)
    first.replace(*document("/d/a", 6))
    embed(first)
    return first, open_at(path, OTHER_SPACE, vector_search=tier)


def test_another_model_compares_nothing_with_the_vectors_of_the_first(
    two_models, meaning, document, vectors
):
    first, second = two_models
    text = first.chunks(document_id_of("/d/a"))[2].embedded_text
    assert second.coverage() == Coverage(0, 6)
    assert second.nearest(vectors(1, dimensions=24)[0], 9) == []
    assert second.similarities(vectors(1, dimensions=24)[0], [1, 2]) == {}
    second.add_vectors([second.lacking(9)[2].text_id], meaning(text, 24)[None])
    assert [hit.chunk.ordinal for hit in second.hits(second.nearest(meaning(text, 24), 9))] == [2]
    assert len(first.nearest(meaning(text), 9)) == 6
    assert second.statistics().vectors == {"other-model": 1, "tiny-model": 6}
    assert list(second.statistics().vectors) == ["other-model", "tiny-model"]
    assert first.statistics().vectors == {"tiny-model": 6, "other-model": 1}


def test_words_are_found_while_another_model_takes_over(two_models):
    _, second = two_models
    assert len(second.lexical(['"line"'], 9)) == 6


def test_the_old_models_vectors_go_once_the_new_one_has_all(two_models, embed, meaning, raw):
    first, second = two_models
    lacking = second.lacking(9)
    for one in lacking[:-1]:
        second.add_vectors([one.text_id], meaning(one.text, 24)[None])
    assert second.statistics().vectors == {"other-model": 5, "tiny-model": 6}
    assert embed(second, 24) == 1
    assert second.statistics().vectors == {"other-model": 6}
    assert len(_vector_rows(raw)) == 6
    assert first.coverage() == Coverage(0, 6)
    assert first.nearest(meaning("x"), 9) == []
    assert second.verify() == []


def test_two_programs_with_a_model_each_do_not_drop_each_others_vectors_for_ever(
    two_models, embed, document
):
    first, second = two_models
    assert embed(second, 24) == 6
    assert embed(first, 16) == 6
    assert embed(second, 24) == embed(first, 16) == 0
    for number, (adds, meets) in enumerate([(first, second), (second, first)] * 2):
        adds.replace(*document(f"/d/new-{number}", [f"new words {number}\n"]))
        for store in (adds, meets):
            assert embed(store, 16 if store is first else 24) == 1
    assert first.coverage() == second.coverage() == Coverage(10, 10)
    second.compact()
    assert second.statistics().vectors == {"other-model": 10}
    assert second.verify() == []


def test_an_index_that_was_emptied_knows_no_model_of_before(two_models, embed, document):
    first, second = two_models
    embed(second, 24)
    second.clear()
    second.replace(*document("/d/new", ["new words\n"]))
    assert embed(second, 24) == embed(first, 16) == 1
    assert second.coverage() == Coverage(0, 1)


def test_going_back_to_the_first_model_in_time_embeds_nothing(two_models, meaning):
    first, second = two_models
    one = second.lacking(1)[0]
    second.add_vectors([one.text_id], meaning(one.text, 24)[None])
    assert first.lacking(9) == []
    assert len(first.nearest(meaning(one.text), 9)) == 6


def test_other_weights_under_the_same_name_are_another_space(two_models, path, open_at, vectors):
    third = open_at(path, EmbeddingSpace("tiny-model", "fingerprint-9", 16))
    assert third.coverage() == Coverage(0, 6)
    assert third.nearest(vectors(1)[0], 5) == []


def test_a_document_that_goes_takes_its_vectors_of_every_model(two_models, meaning, raw):
    _, second = two_models
    one = second.lacking(1)[0]
    second.add_vectors([one.text_id], meaning(one.text, 24)[None])
    second.delete([document_id_of("/d/a")])
    assert _vector_rows(raw) == []
    assert second.verify() == []
    assert second.coverage() == Coverage(0, 0)


def test_a_cleared_index_takes_any_model(two_models, document, embed, meaning):
    _, second = two_models
    second.clear()
    assert second.statistics().vectors == {}
    second.replace(*document("/d/b", 3))
    assert embed(second, 24) == 3
    text = second.chunks(document_id_of("/d/b"))[2].embedded_text
    assert [hit.chunk.ordinal for hit in second.hits(second.nearest(meaning(text, 24), 1))] == [2]
