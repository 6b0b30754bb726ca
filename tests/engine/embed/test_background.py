"""Embedding that leaves a core free gives the same vectors."""

import random

import numpy as np
import pytest

from engine.embed.background import spare_threads
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.errors import EmptyInput

WORDS = ["tea", "moon", "ferry", "stone", "lamp", "river", "copper", "winter"]


@pytest.mark.parametrize(("threads", "spare"), [(1, 0), (2, 1), (8, 7)])
def test_a_core_of_those_that_may_be_used_stays_free(threads, spare):
    assert spare_threads(threads) == spare


@pytest.mark.parametrize("threads", [1, 2])
def test_vectors_made_in_the_background_are_those_that_are_waited_for(tiny, threads):
    draw = random.Random(5)
    texts = [" ".join(draw.choices(WORDS, k=draw.randrange(1, 40))) for _ in range(50)]
    embedder = Embedder.open(tiny(), EmbedderOptions(threads=threads, max_batch_tokens=64))
    with embedder.in_background() as embed_documents:
        made = embed_documents(texts)
    assert made.shape == (50, embedder.dimensions)
    np.testing.assert_allclose(made, embedder.embed(texts, "document").vectors, atol=1e-5)


def test_what_cannot_be_embedded_is_refused_in_the_background_too(tiny):
    embedder = Embedder.open(tiny(), EmbedderOptions(threads=2))
    with embedder.in_background() as embed_documents, pytest.raises(EmptyInput, match="Text 1"):
        embed_documents(["tea", "  "])
