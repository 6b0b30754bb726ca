"""Indexing the sample corpus with the real default embedder."""

from pathlib import Path

import pytest
from sample_corpus import check_citations, write_corpus

from engine.documents.indexer import Indexer
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.models import folder as model_folder
from engine.store.interface import EmbeddingSpace
from engine.store.opening import open_store


@pytest.fixture
def embedder(minilm_folder):
    opened = Embedder.open(model_folder.read(minilm_folder), EmbedderOptions(threads=1))
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_second_run_over_many_documents_embeds_nothing(embedder, folder, tmp_path, count):
    write_corpus(folder, count=count)
    store = open_store(tmp_path / "index.sqlite")
    spec = embedder.spec
    store.use(EmbeddingSpace(spec.model_id, spec.fingerprint, spec.dimensions))
    embedded = []

    def embed(texts):
        embedded.extend(texts)
        return embedder.embed(texts, "document").vectors

    def index():
        steps = Indexer(store, embed, embedder.count_tokens, embedder.text_tokens).run(folder)
        return list(steps)[-1].report

    first = index()
    assert (first.indexed, first.skipped, first.embedded_texts) == (count, (), len(embedded))
    documents = store.documents(limit=1000)
    for document in documents:
        chunks = store.chunks(document.document_id)
        check_citations(Path(document.path).read_bytes(), document, chunks)
        texts = [chunk.embedded_text for chunk in chunks]
        assert [chunk.token_count for chunk in chunks] == embedder.count_tokens(texts)
        assert max(chunk.token_count for chunk in chunks) <= embedder.text_tokens
    embedded.clear()
    second = index()
    assert (second.indexed, second.unchanged, second.embedded_texts) == (0, count, 0)
    assert embedded == []
    assert [one.document_id for one in store.documents(limit=1000)] == [
        one.document_id for one in documents
    ]
    store.close()
