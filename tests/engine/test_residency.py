"""A model is loaded once, however many ask, and a failure does not last for ever."""

import threading

import pytest

from engine.errors import ModelMissing, Unavailable
from engine.residency import Resident


class Model:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_nothing_is_loaded_before_it_is_needed():
    place = Resident("model", lambda _: pytest.fail("nobody asked"))
    assert place.loaded() is None
    assert place.state == "waiting"


def test_many_callers_at_once_load_one_model_once():
    gate, loads = threading.Event(), []

    def load(report):
        loads.append(1)
        gate.wait(10)
        return Model()

    place = Resident("model", load)
    found: list[Model] = []
    threads = [threading.Thread(target=lambda: found.append(place.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    while place.state != "loading":
        pass
    assert place.loaded() is None
    gate.set()
    for thread in threads:
        thread.join()
    assert loads == [1]
    assert len({id(model) for model in found}) == 1
    assert place.loaded() is found[0]
    assert place.state == "ready"


def test_a_failure_is_remembered_and_the_next_use_tries_again():
    answers = [ModelMissing("pull it"), Model()]

    def load(report):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    place = Resident("model", load)
    with pytest.raises(ModelMissing, match="pull it"):
        place.get()
    assert place.state == "failed"
    assert str(place.failure) == "pull it"
    assert isinstance(place.get(), Model)
    assert place.failure is None


def test_what_the_load_reports_is_its_activity():
    seen: list[str] = []

    def load(report):
        seen.append(place.activity)
        report("fetching, 35 %")
        seen.append(place.activity)
        return Model()

    place = Resident("model", load)
    place.get()
    assert seen == ["loading", "fetching, 35 %"]
    assert place.activity == ""


def test_closing_frees_the_model_and_refuses_the_next_use():
    place = Resident("model", lambda _: Model())
    model = place.get()
    place.close()
    assert model.closed
    assert place.loaded() is None
    with pytest.raises(Unavailable, match="shutting down"):
        place.get()


def test_closing_does_not_wait_longer_than_told_for_a_load():
    gate, started = threading.Event(), threading.Event()

    def load(report):
        started.set()
        gate.wait(10)
        return Model()

    place = Resident("model", load)
    thread = threading.Thread(target=place.get)
    thread.start()
    started.wait(10)
    place.close(timeout=0.01)
    assert place.state == "loading"
    gate.set()
    thread.join()
