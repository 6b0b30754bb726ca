"""Keeping an index fresh: what changes on disk is soon found, and only that is read."""

import itertools
from pathlib import Path

from sample_corpus import indexer, open_index

from engine.documents.freshness import keep_fresh
from engine.documents.one_indexer import one_indexer
from engine.documents.watcher import WatchOptions

SOON = WatchOptions(quiet=0.1, longest=1, tick=0.05)
TICKS = 1000


def _kept_fresh(store):
    return keep_fresh(store.collections, indexer(store).run_changed, SOON)


def _reports(steps, enough):
    """The reports of runs until it is enough."""
    reports = []
    for step in itertools.islice(steps, TICKS):
        if step and step.is_last:
            reports.append(step.report)
        if step is None and enough():
            return reports
    raise AssertionError(f"not yet, after {reports}")


def _names(store):
    return [Path(one.path).name for one in store.documents(limit=1000)]


def test_what_changes_is_indexed(store, folder, index):
    for name in ("a.md", "b.md", "c.md"):
        (folder / name).write_text(f"words of {name}\n")
    index()
    (folder / "d.md").write_text("new before\n")
    steps = _kept_fresh(store)
    (first,) = _reports(steps, lambda: "d.md" in _names(store))
    assert (first.indexed, first.unchanged) == (1, 3)
    (folder / "e.md").write_text("new\n")
    (folder / "a.md").unlink()
    (folder / "b.md").rename(folder / "moved.md")
    later = _reports(steps, lambda: _names(store) == ["c.md", "d.md", "e.md", "moved.md"])
    assert sum(report.embedded_texts for report in later) <= 1
    steps.close()


def test_a_new_collection_is_watched_too(store, folder, index):
    (folder / "one").mkdir()
    (folder / "one" / "a.md").write_text("words\n")
    (folder / "two").mkdir()
    (folder / "two" / "b.md").write_text("words\n")
    steps = _kept_fresh(store)
    assert next(steps) is None
    index(folder / "one")
    index(folder / "two")
    (folder / "two" / "c.md").write_text("words\n")
    _reports(steps, lambda: _names(store) == ["a.md", "b.md", "c.md"])
    (folder / "two" / "d.md").write_text("words\n")
    _reports(steps, lambda: _names(store) == ["a.md", "b.md", "c.md", "d.md"])
    steps.close()


def test_changes_wait_while_another_indexer_is_at_work(store, folder, index, tmp_path):
    index_file = tmp_path / "busy.sqlite"

    def run(paths):
        with one_indexer(index_file):
            yield from indexer(store).run_changed(paths)

    (folder / "a.md").write_text("words\n")
    index()
    (folder / "b.md").write_text("words\n")
    steps = keep_fresh(store.collections, run, SOON)
    with one_indexer(index_file):
        assert list(itertools.islice(steps, 5)) == [None] * 5
    _reports(steps, lambda: _names(store) == ["a.md", "b.md"])
    steps.close()


def test_an_index_in_a_folder_that_is_watched_does_not_keep_it_busy(folder, tmp_path):
    index_file = folder / "home" / "index.sqlite"
    store = open_index(index_file)

    def run(paths):
        with one_indexer(index_file):
            yield from indexer(store).run_changed(paths)

    (folder / "a.md").write_text("words\n")
    list(indexer(store).run(folder))
    steps = keep_fresh(store.collections, run, SOON)
    (folder / "b.md").write_text("words\n")
    _reports(steps, lambda: _names(store) == ["a.md", "b.md"])
    runs = [step for step in itertools.islice(steps, 60) if step]
    assert sum(step.is_last for step in runs) <= 3
    steps.close()
    store.close()
