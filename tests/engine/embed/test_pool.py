"""Many callers of one embedder: who shares runs, who goes first, and who gets which error."""

import gc
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from devices import TinyDevice, failing

from engine import memory
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.embed.embeddings import Embeddings
from engine.errors import ModelBroken, Unavailable
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

MakeSpec = Callable[..., EmbedderSpec]

CALLERS, REQUESTS = 100, 50


def sentences(seed: int, count: int) -> list[str]:
    drawn = random.Random(seed)
    return [
        " ".join(f"w{drawn.randrange(40)}" for _ in range(drawn.randint(1, 11)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return sentences(1, 500)


@pytest.fixture
def right(tiny: MakeSpec, texts: list[str]) -> dict[str, np.ndarray]:
    alone = Embedder.open(tiny())
    return {text: alone.embed([text], "document").vectors[0] for text in texts}


def is_right(found: Embeddings, asked: list[str], right: dict[str, np.ndarray]) -> bool:
    expected = np.stack([right[text] for text in asked])
    return found.vectors.shape == expected.shape and bool(
        np.abs(found.vectors - expected).max() <= 1e-5
    )


class Caller:
    """Asks for random texts again and again, and leaves some calls before their end."""

    def __init__(self, embedder: Embedder, seed: int) -> None:
        self._embedder = embedder
        self._drawn = random.Random(seed)
        self.answers: list[tuple[Embeddings, list[str]]] = []
        self.left = 0

    def ask(self, texts: list[str], requests: int) -> None:
        for _ in range(requests):
            asked = self._drawn.choices(texts, k=self._drawn.randint(1, 8))
            kind = self._drawn.choice(["query", "document"])
            steps = self._embedder.embed_steps(asked, kind)
            match self._drawn.randrange(10):
                case 0:
                    next(steps)
                    steps.close()
                    self.left += 1
                case 1:
                    self._leave_from_outside(steps)
                case _:
                    self.answers.append((Embeddings.of(steps, "tiny"), asked))

    def _leave_from_outside(self, steps: Iterator) -> None:
        leaving = threading.Timer(self._drawn.random() / 500, steps.close)
        leaving.start()
        for _ in steps:
            pass
        leaving.join()
        self.left += 1


@pytest.mark.parametrize("device_fails", [False, True])
def test_a_hundred_callers_who_come_and_go_each_get_their_own_vectors(
    tiny: MakeSpec, texts: list[str], right: dict[str, np.ndarray], device_fails: bool
) -> None:
    device = TinyDevice(tiny(), [Bucket(1, 6), Bucket(1, 12)])
    if device_fails:
        device.before_run = failing(0.2, seed=3)
    embedder = Embedder.open(tiny(), EmbedderOptions(threads=1), compiled=device)
    embedder.wait_until_prepared()
    callers = [Caller(embedder, seed) for seed in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as threads:
        half = memory.resident_bytes()
        for part in range(2):
            for done in [threads.submit(c.ask, texts, REQUESTS // 2) for c in callers]:
                done.result(timeout=120)
            half = memory.resident_bytes() if part == 0 else half
    grown = memory.resident_bytes() - half
    answers = [answer for caller in callers for answer in caller.answers]
    assert len(answers) + sum(caller.left for caller in callers) == CALLERS * REQUESTS
    assert all(is_right(found, asked, right) for found, asked in answers)
    assert {name for found, _ in answers for name in found.providers} == {"cpu", "tiny-npu"}
    assert embedder.placement().waiting == 0
    assert grown < 20_000_000
    embedder.close()


def test_texts_of_several_callers_share_a_run(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny())
    parts: list[int] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        steps = embedder.embed_steps(["w1 w2", "w3", "w4 w5 w6"] * 200, "document")
        parts.extend(len(step.indices) for step in steps)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(ask) for _ in range(8)]:
            done.result(timeout=60)
    assert sum(parts) == 8 * 600
    alone = [
        len(s.indices) for s in embedder.embed_steps(["w1 w2", "w3", "w4 w5 w6"] * 200, "query")
    ]
    assert min(parts) < min(alone)  # Some had the rest of a run that others filled.


def test_an_error_of_a_shared_run_is_told_to_its_caller_alone(tiny: MakeSpec) -> None:
    """The 43rd word has no vector, so that a run with it fails."""
    vectors = np.random.default_rng(1).normal(size=(43, 8)).astype(np.float32)
    embedder = Embedder.open(tiny())
    embedder._cpu._session = Session.open(tiny(vectors=vectors).onnx_file)
    together = threading.Barrier(5)

    def ask(text: str) -> int:
        together.wait()
        return len(embedder.embed([text] * 300, "document").vectors)

    with ThreadPoolExecutor(5) as threads:
        asked = [threads.submit(ask, text) for text in ("w1", "w2", "w39", "w3", "w4")]
        errors = [done.exception(60) for done in asked]
    assert [type(error) for error in errors] == [*[type(None)] * 2, ModelBroken, *[type(None)] * 2]


def test_a_caller_who_is_interrupted_leaves_the_cpu_to_the_others(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny())
    run = embedder._cpu.run

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    embedder._cpu.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(["w1"], "query")
    embedder._cpu.run = run
    assert embedder.embed(["w1"], "query").vectors.shape == (1, 8)
    assert embedder.placement().waiting == 0


def test_who_asked_a_query_makes_no_runs_in_bulk(tiny: MakeSpec) -> None:
    """The texts that wait in bulk are left to whoever asked for them."""
    embedder = Embedder.open(tiny(), EmbedderOptions(max_rows=1))
    bulk = embedder.embed_steps(["w1 w2"] * 50, "document")
    next(bulk)
    before = embedder.placement().waiting
    embedder.embed(["w3"] * 5, "query")
    assert embedder.placement().waiting == before
    assert sum(len(step.indices) for step in bulk) == 49


def test_steps_that_nobody_iterates_any_more_are_forgotten(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny(), EmbedderOptions(max_rows=1))
    steps = embedder.embed_steps(["w1"] * 50, "document")
    next(steps)
    del steps
    gc.collect()
    assert embedder.placement().waiting == 0


def test_bad_input_is_told_to_its_caller_alone(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny())
    good, bad = threading.Event(), threading.Event()

    def ask(texts: list[str], told: threading.Event) -> None:
        try:
            for _ in range(200):
                embedder.embed(texts, "document")
            told.set()
        except Exception:
            told.set()
            raise

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask, ["w1", "w2"], good)
        second = threads.submit(ask, ["w3", " "], bad)
        assert first.exception(60) is None
        assert "Text 1 is empty" in str(second.exception(60))


def test_closing_lets_everybody_go_who_waits(tiny: MakeSpec) -> None:
    embedder = Embedder.open(tiny(), EmbedderOptions(max_rows=1))
    started = threading.Barrier(5)

    def ask() -> None:
        steps = embedder.embed_steps(["w1 w2 w3"] * 20_000, "document")
        next(steps)
        started.wait()
        for _ in steps:
            pass

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask) for _ in range(4)]
        started.wait(60)
        embedder.close()
        errors = [done.exception(60) for done in asked]
    assert {type(error) for error in errors} == {Unavailable}
    assert len(set(map(id, errors))) == 4
    with pytest.raises(Unavailable, match="has been closed"):
        embedder.embed(["w1"], "query")
