"""Rates: how many requests and tokens a key may have a minute.

A bucket a key and limit, refilled without pause, so that there is no moment at which all may come
at once. Knows no wire but the names of the headers, no event loop and no threads of its own.
Rule: a request takes from all buckets or from none. What it reserved and did not use goes back;
what it used beyond that is owed, so a request larger than a whole minute is served by a full bucket
and paid for afterwards, rather than never.
Why no library: pyrate-limiter 4.5.1 and limits 5.8.0 give nothing back, and neither takes from two
buckets at once; what is left of them is the three lines of `_Bucket.refill`.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from engine.errors import Overloaded

Limit = Literal["requests", "tokens"]

_MINUTE = 60.0

_ROUNDING = 1e-6
"""Seconds: what is short by less is there, whatever floats make of it."""

_MANY_KEYS = 256
"""From so many on, keys whose buckets are full are forgotten before another one is added."""


_WHAT: dict[Limit, str] = {
    "requests": "requests a minute",
    "tokens": "tokens a minute, of prompts and answers together",
}


class RateLimited(Overloaded):
    """A key has had what it may have a minute; `limit` names of what."""

    def __init__(self, sentence: str, retry_after: float = 1.0, limit: Limit = "requests") -> None:
        super().__init__(sentence, retry_after)
        self.limit: Limit = limit


class _Bucket:
    """What is left of one limit of one key."""

    __slots__ = ("at", "capacity", "level", "limit")

    def __init__(self, limit: Limit, capacity: int, now: float) -> None:
        self.limit: Limit = limit
        self.capacity = capacity
        self.level = float(capacity)
        self.at = now

    def refill(self, now: float) -> None:
        """Adds what has come since it was last looked at."""
        elapsed = max(0.0, now - self.at)
        self.level = min(self.capacity, self.level + elapsed * self.capacity / _MINUTE)
        self.at = max(self.at, now)

    def wait(self, amount: int) -> float:
        """Seconds until it holds an amount, or all that it can; nothing is always there."""
        short = min(amount, self.capacity) - self.level if amount else 0.0
        seconds = short * _MINUTE / self.capacity
        return seconds if seconds > _ROUNDING else 0.0


class Reservation:
    """What one request has taken."""

    def __init__(self, rates: "Rates", key_id: str, tokens: int) -> None:
        self._rates = rates
        self._key_id = key_id
        self._reserved = tokens
        self._is_settled = False

    @property
    def pause(self) -> float:
        """See `Rates.pause`."""
        return self._rates.pause

    def take(self, tokens: int) -> None:
        """Takes tokens once it is known how many may be needed, beside those that were.

        Raises:
            RateLimited: They are not there; the request stays counted.
        """
        self._rates.take(self._key_id, {"tokens": tokens})
        self._reserved += tokens

    def settle(self, tokens_used: int) -> None:
        """Gives back what was reserved and not used, or takes what was used beyond it; once."""
        if not self._is_settled:
            self._is_settled = True
            self._rates.give_back(self._key_id, self._reserved - tokens_used)


class Rates:
    """The buckets of all keys; may be called from any thread."""

    def __init__(
        self,
        requests_per_minute: int,
        tokens_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            requests_per_minute: Of each key; 0: as many as it likes.
            tokens_per_minute: Of each key, of prompts and answers together; 0: the same.
            clock: Seconds, never going back.
        """
        limits: list[tuple[Limit, int]] = [
            ("requests", requests_per_minute),
            ("tokens", tokens_per_minute),
        ]
        self.pause = 2 * _MINUTE / requests_per_minute if requests_per_minute else 0.0
        """Seconds between requests so that they take half of those that a key may make."""
        self._limits: list[tuple[Limit, int]] = [(limit, most) for limit, most in limits if most]
        self._clock = clock
        self._keys: dict[str, list[_Bucket]] = {}
        self._lock = threading.Lock()

    def reserve(self, key_id: str, tokens: int = 0) -> Reservation:
        """Takes a request of a key, and the tokens that it may need.

        Args:
            key_id: Whose request it is.
            tokens: Of the prompt and, at most, of the answer.

        Raises:
            RateLimited: They are not there; nothing was taken.
        """
        self.take(key_id, {"requests": 1, "tokens": tokens})
        return Reservation(self, key_id, tokens)

    def take(self, key_id: str, amounts: Mapping[Limit, int]) -> None:
        """Takes amounts of several limits.

        Raises:
            RateLimited: One of them is not there; nothing was taken.
        """
        with self._lock:
            asked = [(bucket, amounts.get(bucket.limit, 0)) for bucket in self._buckets(key_id)]
            for bucket, amount in sorted(asked, key=lambda one: -one[0].wait(one[1])):
                if seconds := bucket.wait(amount):
                    raise RateLimited(
                        f"This key has had its {bucket.capacity:,} {_WHAT[bucket.limit]}: call "
                        f"again in {math.ceil(seconds)} s.",
                        seconds,
                        bucket.limit,
                    )
            for bucket, amount in asked:
                bucket.level -= amount

    def give_back(self, key_id: str, tokens: int) -> None:
        """Puts tokens back; or, if below 0, takes them whether they are there or not."""
        with self._lock:
            for bucket in self._buckets(key_id):
                if bucket.limit == "tokens":
                    bucket.level += tokens

    def headers(self, key_id: str) -> dict[str, str]:
        """What is left to a key, in OpenAI's headers; of limits that there are.

        `x-ratelimit-reset-…` is the time until a bucket is full.
        """
        found: dict[str, str] = {}
        with self._lock:
            for bucket in self._buckets(key_id):
                left = max(0, math.floor(bucket.level + _ROUNDING))
                found[f"x-ratelimit-limit-{bucket.limit}"] = str(bucket.capacity)
                found[f"x-ratelimit-remaining-{bucket.limit}"] = str(left)
                found[f"x-ratelimit-reset-{bucket.limit}"] = duration(bucket.wait(bucket.capacity))
        return found

    def _buckets(self, key_id: str) -> list[_Bucket]:
        """A key's buckets as they are now."""
        now = self._clock()
        if key_id not in self._keys:
            if len(self._keys) >= _MANY_KEYS:
                self._forget_full(now)
            self._keys[key_id] = [_Bucket(limit, most, now) for limit, most in self._limits]
        for bucket in self._keys[key_id]:
            bucket.refill(now)
        return self._keys[key_id]

    def _forget_full(self, now: float) -> None:
        for key_id, buckets in list(self._keys.items()):
            for bucket in buckets:
                bucket.refill(now)
            if not any(bucket.wait(bucket.capacity) for bucket in buckets):
                del self._keys[key_id]


def duration(seconds: float) -> str:
    """A time as OpenAI writes it, never too short: 12ms, 1.5s, 6m0s, 1h0m0s."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s" if rest % 1000 else f"{rest // 1000}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
