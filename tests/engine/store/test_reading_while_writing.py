"""Readers wait for nobody, and see whole documents only."""

import itertools
import threading

import pytest

from engine.corpus import Filter, document_id_of


class Readers:
    """Threads that read on and on until they are told to stop."""

    def __init__(self, count, read):
        self.failures = []
        self.turns = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[read]) for _ in range(count)]

    def _run(self, read):
        try:
            while not self._stop.is_set():
                read()
                next(self.turns)
        except BaseException as error:
            self.failures.append(error)
            raise

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def filled(store, document, embed):
    for name in "ab":
        store.replace(*document(f"/d/{name}", 5))
    embed(store)
    return store


def _read_all_ways(store, vectors):
    """Reads in every way there is; what is found must be there."""
    query = vectors(1)[0]
    assert store.count() >= 2
    assert store.documents(limit=3)
    assert store.hits(store.nearest(query, 5))
    assert store.hits(store.nearest(query, 5, Filter(kinds=("text",))))
    assert store.hits(store.lexical(['"line"'], 5))
    assert store.coverage().texts >= 10
    assert len(store.chunks(document_id_of("/d/a"))) == 5
    assert store.statistics().documents >= 2


def test_reading_goes_on_while_another_program_holds_the_lock(filled, raw, vectors):
    raw.execute("BEGIN EXCLUSIVE")
    raw.execute("DELETE FROM documents; DELETE FROM chunks; DELETE FROM vectors")
    with Readers(6, lambda: _read_all_ways(filled, vectors)) as readers:
        while next(readers.turns) < 50 and not readers.failures:
            _read_all_ways(filled, vectors)
    assert readers.failures == []


def test_reading_goes_on_within_a_write_of_another_thread(filled, document, vectors):
    made, chunks = document("/d/new", 3)
    inside, leave = threading.Event(), threading.Event()

    class Slow(list):
        """Chunks that let nobody go on when they are gone through the second time: to be added."""

        looks = 0

        def __iter__(self):
            self.looks += 1
            if self.looks == 2:
                inside.set()
                leave.wait(60)
            return super().__iter__()

    writing = threading.Thread(target=filled.replace, args=[made, Slow(chunks)])
    writing.start()
    try:
        assert inside.wait(60)
        with Readers(4, lambda: _read_all_ways(filled, vectors)):
            _read_all_ways(filled, vectors)
        assert filled.count() == 2
    finally:
        leave.set()
        writing.join()
    assert filled.count() == 3


def test_eight_threads_read_whole_documents_while_one_writes(filled, document, embed):
    sizes = (1, 4, 7)

    def read():
        chunks = filled.chunks(document_id_of("/d/hot"))
        assert len({chunk.text.split()[0] for chunk in chunks}) == 1
        assert len(chunks) in sizes
        for hit in filled.hits(filled.lexical(['"hot"'], 10)):
            assert hit.document.chunk_count in (*sizes, 5)

    filled.replace(*document("/d/hot", sizes[0], "turn0 hot"))
    with Readers(8, read) as readers:
        for turn in range(40):
            filled.replace(*document("/d/hot", sizes[turn % 3], f"turn{turn} hot"))
            embed(filled)
    assert readers.failures == []
    assert next(readers.turns) > 0
    assert filled.verify() == []


def test_processes_read_while_another_one_writes(path, open_at, document, embed, child, outcome):
    store = open_at(path)
    store.replace(*document("/a", ["text of old\n", "more text\n"]))
    embed(store)
    readers = [child("read", path) for _ in range(3)]
    assert [one.stdout.readline() for one in readers] == ["reads\n"] * 3
    for number in range(40):
        store.replace(*document(f"/{number:02}", [f"text {number} {n}\n" for n in range(4)]))
        embed(store)
    assert [outcome(one) for one in readers] == ["done\n"] * 3
    assert store.verify() == []


def test_what_one_store_writes_another_one_finds_at_once(path, open_at, tier, document, embed):
    writing, reading = (open_at(path, vector_search=tier) for _ in range(2))
    for turn in range(5):
        made, chunks = document(f"/d/{turn}", 2)
        writing.replace(made, chunks)
        embed(writing)
        assert reading.chunks(made.document_id) == chunks
        assert len(reading.lexical(['"line"'], 99)) == 2 * turn + 2
        wanted = writing.lacking(9) or reading.coverage().embedded
        assert wanted == 2 * turn + 2


def test_vectors_that_another_store_adds_and_removes_are_followed(
    path, open_at, tier, document, embed, meaning
):
    writing, reading = (open_at(path, vector_search=tier) for _ in range(2))
    for turn in range(6):
        made, chunks = document(f"/d/{turn % 4}", 3, f"turn {turn}")
        writing.replace(made, chunks)
        embed(writing)
        for store in (writing, reading):
            best = store.nearest(meaning(chunks[1].embedded_text), 1)
            assert store.hits(best)[0].chunk == chunks[1]
        gone = document(f"/d/{turn % 4}")[0]
        if turn % 2:
            writing.delete([gone.document_id])
            assert made.path not in {
                hit.document.path
                for hit in reading.hits(reading.nearest(meaning(chunks[1].embedded_text), 99))
            }
    assert reading.nearest(meaning("x"), 99) == writing.nearest(meaning("x"), 99)
