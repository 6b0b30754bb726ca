"""Models share a limit: the idle ones leave, the ones in use stay, and who does not fit is told."""

import shutil
import threading

import onnx
import pytest

from engine.budget import Budget, Claim, estimate
from engine.errors import NoRoom, Overloaded
from engine.models import folder
from engine.residency import Resident


class Model:
    def close(self) -> None:
        """Nothing to free."""


def got(place: Resident[Model]) -> Model:
    """A use that is over at once."""
    with place.lease() as model:
        return model


def places(budget: Budget, small: int, large: int) -> tuple[Resident[Model], Resident[Model]]:
    """Two places whose models take so much."""

    def load_small(report) -> Model:
        with budget.room(Claim("small", small), first, [second]):
            return Model()

    def load_large(report) -> Model:
        with budget.room(Claim("large", large), second, [first]):
            return Model()

    first = Resident("embedding model", load_small)
    second = Resident("language model", load_large)
    return first, second


def test_without_a_limit_everything_fits():
    first, second = places(Budget(0), 10**12, 10**12)
    got(first)
    got(second)
    assert first.state == second.state == "ready"


def test_models_that_fit_together_stay_together():
    first, second = places(Budget(100), 40, 60)
    got(first)
    got(second)
    assert first.state == second.state == "ready"
    assert (first.claimed_bytes, second.claimed_bytes) == (40, 60)


def test_an_idle_model_leaves_for_one_that_does_not_fit_beside_it():
    first, second = places(Budget(99), 40, 60)
    got(first)
    got(second)
    assert (first.state, second.state) == ("idle", "ready")
    got(first)
    assert (first.state, second.state) == ("ready", "idle")
    assert (first.claimed_bytes, second.claimed_bytes) == (40, 0)


def test_a_model_in_use_stays_and_the_other_is_refused_until_it_is_free():
    first, second = places(Budget(99), 40, 60)
    with first.lease():
        with pytest.raises(Overloaded, match=r"embedding model in use.*call again in a moment"):
            got(second)
        assert first.state == "ready"
        assert (second.state, second.failure, second.claimed_bytes) == ("waiting", None, 0)
    got(second)
    assert second.state == "ready"


def test_a_model_larger_than_the_limit_is_refused_and_nothing_leaves():
    first, second = places(Budget(50_000_000), 40_000_000, 60_000_000)
    got(first)
    with pytest.raises(NoRoom, match=r"large takes about 60 MB.*50 MB.*--memory-limit-mb"):
        got(second)
    assert first.state == "ready"
    assert second.state == "failed"


def test_a_load_that_fails_counts_for_nothing():
    budget = Budget(100)
    first, second = places(budget, 10, 100)

    def fail(report) -> Model:
        with budget.room(Claim("broken", 50), broken, [first, second]):
            raise ZeroDivisionError

    broken = Resident("model", fail)
    with pytest.raises(ZeroDivisionError):
        got(broken)
    assert broken.claimed_bytes == 0
    got(second)


def test_two_that_do_not_fit_together_take_turns_however_they_meet():
    first, second = places(Budget(99), 60, 60)
    outcomes: list[str] = []

    def use(place: Resident[Model]) -> None:
        for _ in range(100):
            try:
                with place.lease():
                    outcomes.append("used")
                    assert first.claimed_bytes + second.claimed_bytes <= 99
            except Overloaded:
                outcomes.append("refused")

    threads = [threading.Thread(target=use, args=(place,)) for place in (first, second) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 400
    assert "used" in outcomes


def test_the_estimate_follows_the_files(minilm_folder, smollm2_folder):
    embedder, decoder = folder.read(minilm_folder), folder.read(smollm2_folder)
    assert 100_000_000 < estimate(embedder) < estimate(decoder) < 400_000_000


def test_weights_beside_the_graph_count_as_those_within(minilm_folder, tmp_path):
    apart = tmp_path / "apart"
    ignored = shutil.ignore_patterns("npu-gateway.json", "model.onnx")
    shutil.copytree(minilm_folder, apart, ignore=ignored)
    graph = onnx.load(minilm_folder / "model.onnx")
    onnx.save(graph, apart / "model.onnx", save_as_external_data=True, location="weights.data")
    within = estimate(folder.read(minilm_folder))
    assert estimate(folder.read(apart)) == pytest.approx(within, rel=0.01)
