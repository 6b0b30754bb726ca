"""The library: folders indexed, kept fresh and searched, with a model, without one, and another."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.corpus import Collection
from engine.documents.watcher import WatchOptions
from engine.engine import Engine, EngineOptions
from engine.errors import DocumentNotFound, EmptyInput, IndexerBusy
from engine.library import Library
from engine.search.narrowing import Narrowing
from engine.search.search import SearchRequest


@pytest.fixture
def options(tmp_path, models_dir) -> EngineOptions:
    return EngineOptions(models_dir=models_dir, index_file=tmp_path / "index.sqlite")


@pytest.fixture
def open_library() -> Iterator[Callable[[EngineOptions], Library]]:
    opened: list[Engine] = []

    def open_one(options: EngineOptions) -> Library:
        opened.append(Engine(options))
        return opened[-1].library

    yield open_one
    for engine in opened:
        engine.close()


@pytest.fixture
def library(open_library, options) -> Library:
    return open_library(options)


@pytest.fixture
def wordy(open_library, options, tmp_path) -> Library:
    """The same index where no model is installed."""
    return open_library(EngineOptions(models_dir=tmp_path / "none", index_file=options.index_file))


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "sea.md").write_text("# Tides\n\nThe moon pulls at the sea.\n\n## Neap\n\nWeak.\n")
    (folder / "tea.md").write_text("Let the leaves steep for three minutes.\n")
    return folder.resolve()


def report(steps):
    return list(steps)[-1].report


def ask(library: Library, query: str, **more):
    return library.search(SearchRequest(query=query, **more))


def names(found) -> list[str]:
    return [Path(one.hit.document.path).name for one in found.ranked]


def test_a_question_finds_the_passage_that_answers_it(library, notes):
    assert report(library.index(notes)).indexed == 2
    found = ask(library, "How long do I brew it?")
    assert names(found)[0] == "tea.md"
    assert (found.model_id, found.provider, found.degraded) == ("all-minilm-l6-v2", "cpu", "")
    assert found.ranked[0].score > found.ranked[-1].score
    assert report(library.index(notes)).embedded_texts == 0


def test_a_core_may_be_left_free_while_it_indexes(open_library, options, notes):
    library = open_library(
        EngineOptions(
            models_dir=options.models_dir, index_file=options.index_file, leaves_core_free=True
        )
    )
    assert report(library.index(notes)).lacking_texts == 0
    assert names(ask(library, "How long do I brew it?", mode="dense"))[0] == "tea.md"


def test_without_a_model_words_are_found_and_that_is_said(wordy, notes):
    done = report(wordy.index(notes))
    assert (done.indexed, done.embedded_texts, done.lacking_texts) == (2, 0, 3)
    found = ask(wordy, "steeping leaves")
    assert names(found) == ["tea.md"]
    assert found.degraded.startswith("searched by words only: ")
    assert "npu-gateway pull" in found.degraded
    assert (found.model_id, found.provider) == ("", "")
    assert ask(wordy, "leaves", mode="keyword").degraded == ""


def test_a_model_that_comes_later_embeds_what_was_indexed_without_it(library, wordy, notes):
    list(wordy.index(notes))
    assert ask(library, "How long do I brew it?").degraded.startswith("reembedding 0/3")
    assert report(library.index_all()).lacking_texts == 0
    found = ask(library, "How long do I brew it?")
    assert (names(found)[0], found.degraded) == ("tea.md", "")


def test_another_model_never_meets_the_vectors_of_the_first(
    library, open_library, notes, options, tmp_path
):
    list(library.index(notes))
    folder = tmp_path / "other-model"
    shutil.copytree(
        options.models_dir / "all-minilm-l6-v2",
        folder,
        ignore=shutil.ignore_patterns("npu-gateway.json"),
    )
    pooling = {"word_embedding_dimension": 384, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    other = open_library(
        EngineOptions(
            models_dir=options.models_dir, index_file=options.index_file, embedder=str(folder)
        )
    )
    found = ask(other, "the moon")
    assert names(found)[0] == "sea.md"
    assert found.degraded.startswith("reembedding 0/3")
    assert found.ranked[0].fused.dense is None
    assert other.index_problem().startswith("reembedding 0/3")
    assert ask(library, "the moon").degraded == "", "the first model's vectors are still there"
    assert report(other.embed_lacking()).embedded_texts == 3
    assert ask(other, "the moon").ranked[0].fused.dense is not None
    assert other.index_problem() == ""
    assert ask(library, "the moon").degraded.startswith("reembedding 0/3")


def test_a_blank_question_is_refused(library, wordy):
    for one in (library, wordy):
        with pytest.raises(EmptyInput):
            ask(one, " \n")
        with pytest.raises(EmptyInput):
            ask(one, "", mode="keyword")


def test_pages_of_a_search_show_each_passage_once(library, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"The ferry number {number} leaves at {number}.\n")
    list(library.index(folder.resolve()))
    whole = ask(library, "When does the ferry leave?", limit=30)
    pages = [
        ask(library, "When does the ferry leave?", limit=7, offset=offset)
        for offset in range(0, 30, 7)
    ]
    assert [name for page in pages for name in names(page)] == names(whole)
    assert len(set(names(whole))) == 30
    assert [page.has_more for page in pages] == [True, True, True, True, False]


def test_a_narrowed_search_looks_only_there(library, notes, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "tea.txt").write_text("Green tea steeps for two minutes.\n")
    list(library.index(notes))
    list(library.index((tmp_path / "more").resolve()))
    where = library.narrowed(Narrowing(collections=["more"]))
    assert names(ask(library, "How long does tea steep?", where=where)) == ["tea.txt"]
    where = library.narrowed(Narrowing(kinds=["markdown"]))
    assert set(names(ask(library, "How long does tea steep?", where=where))) == {"sea.md", "tea.md"}


def test_collections_say_what_they_hold_and_whether_they_are_there(library, notes):
    list(library.index(notes))
    (before,) = library.collections()
    assert (before.collection.name, before.documents, before.is_there) == ("notes", 2, True)
    shutil.rmtree(notes)
    (after,) = library.collections()
    assert (after.documents, after.is_there) == (2, False)
    (missing,) = report(library.index_all()).unavailable
    assert missing.path == str(notes)
    assert len(library.documents()) == 2


def test_a_document_is_read_back_line_by_line(library, notes):
    list(library.index(notes))
    (document,) = [one for one in library.documents() if one.path.endswith("sea.md")]
    found = library.read_document(document.document_id)
    assert found.document == document
    assert "".join(found.lines()) == (notes / "sea.md").read_text()
    assert len(found.lines()) == document.line_count == 7


def test_removing_one_unknown_document_removes_none(library, notes):
    list(library.index(notes))
    known = library.documents()[0].document_id
    with pytest.raises(DocumentNotFound):
        library.remove_documents([known, "0" * 16])
    assert library.index_statistics().documents == 2
    assert library.remove_documents([known]) == 1


def test_a_second_run_of_indexing_is_refused_while_one_is_at_work(library, wordy, notes):
    steps = library.index(notes)
    next(steps)
    for other in (library, wordy):
        with pytest.raises(IndexerBusy, match="already running"):
            next(other.index(notes))
    steps.close()
    assert report(library.index(notes)).indexed == 2


def test_indexing_goes_on_while_texts_are_embedded(library, wordy, notes):
    for number in range(40):
        (notes / f"{number}.md").write_text(f"Number {number} is one of many.\n")
    assert report(wordy.index(notes)).lacking_texts == 43
    ask(library, "tides")  # Loads the model.
    steps = library.embed_lacking()
    assert 0 < next(steps).texts_done < 43
    (notes / "tea.md").write_text("Pour the water while it boils.\n")
    assert report(wordy.index(notes)).indexed == 1
    last = report(steps)
    assert (last.lacking_texts, library.coverage().texts) == (0, 43)


def test_a_collection_is_not_dropped_while_its_documents_may_come(library, wordy, notes):
    steps = library.index(notes)
    while next(steps).files_done == 0:
        pass
    with pytest.raises(IndexerBusy):
        wordy.drop_collection("notes")
    list(steps)
    assert wordy.drop_collection("notes") == 2
    assert (wordy.count(), wordy.collections()) == (0, [])


def test_a_root_that_cannot_be_looked_at_is_not_there(library, notes):
    library.store().put_collection(Collection("lost", str(notes / ("a" * 300))))
    assert [one.is_there for one in library.collections()] == [False]


def test_what_changes_while_it_watches_is_found_soon(library, notes):
    list(library.index(notes))
    steps = library.watch(WatchOptions(quiet=0.05))
    while next(steps) is not None:
        pass
    (notes / "tea.md").unlink()
    (notes / "coffee.md").write_text("Coffee is ground before it is brewed.\n")
    given_up = threading.Event()
    timer = threading.Timer(20, given_up.set)
    timer.start()
    wanted = {str(notes / "sea.md"), str(notes / "coffee.md")}
    for step in steps:
        done = step is not None and step.is_last
        if done and {one.path for one in library.documents()} == wanted:
            break
        assert not given_up.is_set()
    timer.cancel()
    steps.close()
    assert names(ask(library, "What is done with coffee first?"))[0] == "coffee.md"


def test_a_collection_that_comes_while_it_watches_is_watched_too(library, notes, tmp_path):
    (tmp_path / "more").mkdir()
    list(library.index(notes))
    steps = library.watch(WatchOptions(quiet=0.05))
    while next(steps) is not None:
        pass
    list(library.index((tmp_path / "more").resolve()))
    for _ in range(3):
        next(steps)
    (tmp_path / "more" / "new.md").write_text("Something new.\n")
    for _ in range(100):
        step = next(steps)
        if step is not None and step.is_last and step.report.indexed:
            break
    else:
        pytest.fail("the new file was not seen")
    steps.close()
