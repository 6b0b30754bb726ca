"""A model is loaded once, however many ask, and a failure does not last for ever."""

import gc
import sys
import threading
import weakref

import pytest

from engine.errors import ModelMissing, Unavailable
from engine.residency import Resident


class Model:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def innermost(thread: threading.Thread) -> str:
    """The function that a thread is in, as one that waits for a lock."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame.f_code.co_name if frame else ""


def got(place: Resident[Model]) -> Model:
    """A use that is over at once."""
    with place.lease() as model:
        return model


def test_nothing_is_loaded_before_it_is_needed():
    place = Resident("model", lambda _: pytest.fail("nobody asked"))
    assert place.loaded() is None
    assert place.state == "waiting"


def test_many_callers_at_once_load_one_model_once():
    gate, loads = threading.Event(), []

    def load(report):
        loads.append(1)
        gate.wait(60)
        return Model()

    place = Resident("model", load)
    found: list[Model] = []
    threads = [threading.Thread(target=lambda: found.append(got(place))) for _ in range(8)]
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
        got(place)
    assert place.state == "failed"
    assert str(place.failure) == "pull it"
    assert isinstance(got(place), Model)
    assert place.failure is None


def test_failures_leave_nothing_behind_but_the_last_sentence():
    raised: list[weakref.ref[Exception]] = []

    def load(report):
        error = ModelMissing("pull it")
        raised.append(weakref.ref(error))
        raise error from OSError("no such file")

    place = Resident("model", load)
    for _ in range(3):
        with pytest.raises(ModelMissing):
            got(place)
    gc.collect()
    assert [error() for error in raised] == [None] * 3
    assert str(place.failure) == "pull it"


def test_what_the_load_reports_is_its_activity():
    seen: list[str] = []

    def load(report):
        seen.append(place.activity)
        report("fetching, 35 %")
        seen.append(place.activity)
        return Model()

    place = Resident("model", load)
    got(place)
    assert seen == ["loading", "fetching, 35 %"]
    assert place.activity == ""


def test_closing_frees_the_model_and_refuses_the_next_use():
    place = Resident("model", lambda _: Model())
    model = got(place)
    place.close()
    assert model.closed
    assert place.loaded() is None
    with pytest.raises(Unavailable, match="shutting down"):
        got(place)


def test_closing_does_not_wait_longer_than_told_for_a_load():
    gate, started = threading.Event(), threading.Event()

    def load(report):
        started.set()
        gate.wait(60)
        return Model()

    place = Resident("model", load)
    thread = threading.Thread(target=got, args=[place])
    thread.start()
    started.wait(60)
    place.close(timeout=0.01)
    assert place.state == "loading"
    gate.set()
    thread.join()


def test_a_signal_may_close_it_while_its_own_thread_is_within():
    interrupted = threading.Event()

    def interrupting() -> float:
        interrupted.set()
        place.close(timeout=1)
        return 0.0

    place = Resident("model", lambda _: Model(), interrupting)
    thread = threading.Thread(target=place.lease().release, daemon=True)
    thread.start()
    thread.join(60)
    assert interrupted.is_set()
    assert not thread.is_alive()
    assert place.state == "closed"


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_model_in_use_is_never_freed():
    place = Resident("model", lambda _: Model())
    first, second = place.lease(), place.lease()
    with first as model:
        assert not place.free()
    assert not place.free(), "the second use goes on"
    assert not model.closed
    second.release()
    second.release()
    assert place.free()
    assert model.closed
    assert place.loaded() is None
    assert place.state == "idle"


def test_a_use_that_fails_ends_as_any_other():
    place = Resident("model", lambda _: Model())
    with pytest.raises(ZeroDivisionError), place.lease():
        raise ZeroDivisionError
    assert place.free()


def test_only_what_was_not_used_for_so_long_is_freed():
    clock = Clock()
    place = Resident("model", lambda _: Model(), clock)
    assert place.idle_seconds is None
    with place.lease():
        clock.now = 50
        assert place.idle_seconds is None
    clock.now = 349.9
    assert place.idle_seconds == pytest.approx(299.9)
    assert not place.free(300)
    clock.now = 350
    assert place.free(300)
    assert place.idle_seconds is None


def test_a_model_that_was_freed_is_loaded_again_at_the_next_use():
    place = Resident("model", lambda _: Model())
    first = got(place)
    assert place.free()
    assert not place.free(), "there is nothing to free"
    with place.lease() as second:
        assert second is not first
        assert not second.closed
    assert place.state == "ready"


def test_a_use_that_comes_while_the_model_is_being_freed_gets_a_new_one():
    freeing, go_on = threading.Event(), threading.Event()

    class Slow(Model):
        def close(self) -> None:
            freeing.set()
            assert go_on.wait(60)
            super().close()

    made = [Slow(), Model()]
    place = Resident("model", lambda _: made.pop(0))
    got(place)
    freed = threading.Thread(target=place.free)
    freed.start()
    assert freeing.wait(60)
    assert place.lease_loaded() is None
    found: list[Model] = []
    user = threading.Thread(target=lambda: found.append(got(place)))
    user.start()
    while innermost(user) != "lease":
        assert user.is_alive()
    assert found == []
    go_on.set()
    freed.join(60)
    user.join(60)
    assert not found[0].closed
    assert made == []


def test_a_load_under_way_is_left_alone_and_frees_nothing():
    gate, started = threading.Event(), threading.Event()

    def load(report):
        started.set()
        assert gate.wait(60)
        return Model()

    place = Resident("model", load)
    thread = threading.Thread(target=got, args=[place])
    thread.start()
    assert started.wait(60)
    assert not place.free()
    gate.set()
    thread.join(60)
    assert place.state == "ready"


def test_threads_that_use_and_free_at_once_never_meet_a_closed_model():
    place = Resident("model", lambda _: Model())
    closed: list[bool] = []
    over = threading.Event()

    def use() -> None:
        for _ in range(300):
            with place.lease() as model:
                closed.append(model.closed)

    def free() -> None:
        while not over.is_set():
            place.free()

    users = [threading.Thread(target=use) for _ in range(4)]
    freer = threading.Thread(target=free)
    for thread in (freer, *users):
        thread.start()
    for thread in users:
        thread.join(60)
    over.set()
    freer.join(60)
    assert len(closed) == 1200
    assert not any(closed)
