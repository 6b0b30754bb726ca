"""A folder to index, and an index of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_corpus import indexer, open_index

from engine.documents.indexer import IndexReport
from engine.store.interface import Store


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    opened = open_index(tmp_path / "index" / "index.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    return made


@pytest.fixture
def index(store, folder) -> Callable[..., IndexReport]:
    """Indexes the folder to the end."""

    def run(root: Path = folder) -> IndexReport:
        (*_, last) = indexer(store).run(root)
        assert (last.done, last.is_last) == (last.total, True)
        return last.report

    return run
