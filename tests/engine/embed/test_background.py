"""Embedding that leaves a core free gives the same vectors."""

import random

import numpy as np
import pytest

from engine.embed.background import spare_threads
from engine.embed.calls import Call
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.embed.latencies import Latencies
from engine.embed.pool import Pool
from engine.embed.scheduling import Scheduler
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


class Constant:
    """A runner whose vectors tell that it made them."""

    provider = "cpu"

    def __init__(self, value: float) -> None:
        self._value = value

    def run(self, rows, bucket):
        return np.full((len(rows), 2), self._value, np.float32)


def test_runs_are_made_beside_the_background_only_as_long_as_it_lasts():
    latencies = Latencies()
    scheduler = Scheduler(latencies, policy="cpu", max_batch_tokens=64, max_rows=8)
    scheduler.set_shapes("cpu", None)
    pool = Pool(scheduler, latencies, Constant(0))

    def made() -> float:
        call = Call([[1, 2, 3]], is_query=True)
        pool.add(call)
        part = pool.next_part(call)
        assert part is not None
        return float(part.vectors[0, 0])

    first = pool.cpu_runs(Constant(1))
    assert made() == 0
    with first:
        assert made() == 1
        second = pool.cpu_runs(Constant(2))
        second.__enter__()
        assert made() == 2
    assert made() == 2
    second.__exit__(None, None, None)
    assert made() == 0


def test_a_query_beside_the_background_has_the_same_vector(tiny):
    embedder = Embedder.open(tiny(), EmbedderOptions(threads=2))
    alone = embedder.embed(["tea and copper"], "query").vectors
    with embedder.in_background():
        beside = embedder.embed(["tea and copper"], "query").vectors
    np.testing.assert_allclose(beside, alone, atol=1e-6)
