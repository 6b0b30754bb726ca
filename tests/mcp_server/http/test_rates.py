"""Rates: what a key may have a minute, against an exact simulation and at the edges."""

import random
import threading
from fractions import Fraction

import pytest

from engine.errors import Overloaded, again
from mcp_server.http.rates import RateLimited, Rates, duration


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def remaining(rates: Rates, key_id: str = "k") -> tuple[str, str]:
    found = rates.headers(key_id)
    return found["x-ratelimit-remaining-requests"], found["x-ratelimit-remaining-tokens"]


def test_a_key_has_its_minute_at_once_and_then_what_comes_in():
    clock = Clock()
    rates = Rates(3, 0, clock)
    for _ in range(3):
        rates.reserve("k")
    with pytest.raises(RateLimited, match=r"3 requests a minute: call again in 20 s\.") as refused:
        rates.reserve("k")
    assert (refused.value.limit, refused.value.retry_after) == ("requests", 20)
    clock.now += 20
    rates.reserve("k")
    with pytest.raises(RateLimited):
        rates.reserve("k")


def test_keys_do_not_take_from_each_other():
    rates = Rates(1, 0, Clock())
    rates.reserve("a")
    rates.reserve("b")
    with pytest.raises(RateLimited):
        rates.reserve("a")


def test_what_is_refused_takes_nothing():
    rates = Rates(10, 100, Clock())
    rates.reserve("k", 80)
    with pytest.raises(RateLimited, match=r"100 tokens a minute.* in 18 s") as refused:
        rates.reserve("k", 50)
    assert (refused.value.limit, refused.value.retry_after) == ("tokens", 18)
    assert remaining(rates) == ("9", "20")
    rates.reserve("k", 20)


def test_what_was_not_used_goes_back_once():
    rates = Rates(10, 100, Clock())
    reservation = rates.reserve("k", 90)
    assert remaining(rates) == ("9", "10")
    reservation.settle(30)
    reservation.settle(30)
    assert remaining(rates) == ("9", "70")


def test_what_was_used_beyond_is_owed():
    clock = Clock()
    rates = Rates(0, 60, clock)
    rates.reserve("k", 50).settle(80)
    assert rates.headers("k")["x-ratelimit-remaining-tokens"] == "0"
    with pytest.raises(RateLimited) as refused:
        rates.reserve("k", 1)
    assert refused.value.retry_after == 21
    rates.reserve("k", 0)
    clock.now += 21
    rates.reserve("k", 1)


def test_tokens_are_taken_when_it_is_known_how_many():
    rates = Rates(5, 100, Clock())
    reservation = rates.reserve("k")
    reservation.take(70)
    with pytest.raises(RateLimited):
        reservation.take(40)
    assert rates.headers("k")["x-ratelimit-remaining-tokens"] == "30"
    reservation.settle(10)
    assert remaining(rates) == ("4", "90")


def test_a_request_larger_than_a_minute_takes_a_full_bucket_and_is_paid_for():
    clock = Clock()
    rates = Rates(0, 60, clock)
    rates.reserve("k", 90).settle(90)
    with pytest.raises(RateLimited) as refused:
        rates.reserve("k", 90)
    assert refused.value.retry_after == 90
    clock.now += 90
    rates.reserve("k", 90)


def test_more_than_a_minute_is_never_saved():
    clock = Clock()
    rates = Rates(60, 60, clock)
    reservation = rates.reserve("k", 60)
    clock.now += 3600
    reservation.settle(0)
    assert remaining(rates) == ("60", "60")


def test_headers_are_in_openais_forms_and_only_of_limits_there_are():
    clock = Clock()
    rates = Rates(60, 1000, clock)
    rates.reserve("k", 500)
    assert rates.headers("k") == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "30s",
    }
    assert Rates(0, 0).headers("k") == {}
    assert set(Rates(0, 5).headers("k")) == {
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    }
    free = Rates(0, 0).reserve("k", 10**9)
    free.settle(0)


def test_durations():
    for seconds, text in [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.012, "12ms"),
        (0.9991, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (7.66, "7.66s"),
        (59.9999, "1m0s"),
        (93.612, "1m33.612s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3723.5, "1h2m3.5s"),
    ]:
        assert duration(seconds) == text


def test_waiting_as_long_as_told_is_always_enough():
    rng = random.Random(7)
    for _ in range(300):
        clock = Clock()
        clock.now = rng.uniform(0, 1e9)
        rates = Rates(rng.randint(1, 1000), rng.randint(1, 10**6), clock)
        for _ in range(5):
            tokens = rng.randint(0, 2 * 10**6)
            try:
                rates.reserve("k", tokens)
            except RateLimited as refused:
                clock.now += refused.retry_after
                rates.reserve("k", tokens)


def test_it_does_what_an_exact_simulation_does():
    rng = random.Random(8)
    clock = Clock()
    most = {"requests": 120, "tokens": 6000}
    rates = Rates(most["requests"], most["tokens"], clock)
    level = {limit: Fraction(amount) for limit, amount in most.items()}
    held: list[tuple[object, int]] = []
    outcomes = {"taken": 0, "refused": 0}
    for _ in range(5_000):
        step = rng.choice([0, 1, 2, 5, 64])
        clock.now += step / 64
        for limit, amount in most.items():
            level[limit] = min(Fraction(amount), level[limit] + Fraction(step * amount, 64 * 60))
        if held and rng.random() < 0.4:
            reservation, reserved = held.pop(rng.randrange(len(held)))
            used = rng.randint(0, 2 * reserved)
            reservation.settle(used)
            level["tokens"] = min(Fraction(most["tokens"]), level["tokens"] + reserved - used)
            continue
        tokens = rng.choice([0, 10, 100, 1000, 7000])
        is_there = level["requests"] >= 1 and (
            not tokens or level["tokens"] >= min(tokens, most["tokens"])
        )
        try:
            held.append((rates.reserve("k", tokens), tokens))
        except RateLimited:
            assert not is_there
            outcomes["refused"] += 1
        else:
            assert is_there
            outcomes["taken"] += 1
            level["requests"] -= 1
            level["tokens"] -= tokens
        expected = tuple(str(max(0, level[limit].__floor__())) for limit in most)
        assert remaining(rates) == expected
    assert min(outcomes.values()) > 500, outcomes


def test_threads_together_take_no_more_than_there_is():
    rates = Rates(1000, 0, Clock())
    taken: list[int] = []

    def work() -> None:
        for _ in range(400):
            try:
                rates.reserve("k")
            except RateLimited:
                continue
            taken.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1000


def test_keys_that_have_all_they_may_have_are_forgotten():
    clock = Clock()
    rates = Rates(60, 60, clock)
    poor = rates.reserve("poor", 0)
    poor.settle(6000)
    for number in range(1000):
        rates.reserve(f"key {number}", 1)
        clock.now += 1
    assert len(rates._keys) < 300
    with pytest.raises(RateLimited):
        rates.reserve("poor", 1)


def test_a_limit_that_is_reached_is_an_overload_to_whoever_knows_no_rates():
    rates = Rates(1, 0, Clock())
    rates.reserve("k")
    with pytest.raises(Overloaded) as refused:
        rates.reserve("k")
    assert refused.value.retry_after == 60
    assert str(again(refused.value)) == str(refused.value)
