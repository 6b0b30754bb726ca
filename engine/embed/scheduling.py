"""Scheduling: decides which waiting texts a free provider runs next.

Decides and does nothing: no threads, no clock (times are handed in, in milliseconds), no models.

Rules: nobody waits for company: whoever waits when a provider becomes free is taken along. Queries
overtake texts in bulk, and callers take turns. Of a caller's texts a provider takes the one it is
best at beside the others (the ratio of predicted times), so that they split the work as an offline
plan would. A provider declines what the others, with all they have to do, are predicted to finish
sooner; the last one asked never declines, so that something always runs.

A provider that got no run must be asked again after each `add`, `finished`, `failed` and
`set_shapes`, and at `ask_again_at`, when a run it relied on is overdue.

Relative power: arXiv 2606.11257 measured, of embedding on a Snapdragon X Elite, 9.1 times the
throughput of the CPU with 12.3 times less energy, so that the NPU draws 9.1 / 12.3 = 0.74 of the
CPU's power while it runs.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.embed.latencies import Latencies
from engine.embed.waiting import ByLength, Lane, Work
from engine.runtime.shapes import Bucket

Policy = Literal["auto", "npu", "cpu"]
"""auto: whoever is predicted to be sooner; npu: all that the NPU can hold; cpu: nothing else."""

_POWER = {"npu": 0.74}
"""Of a running provider, the CPU's being 1."""

# A tenth of a batch may be padding; and rows that differ by so few tokens always share a run, since
# a run of its own costs a short text more than that.
_MOST_PADDING, _ALIKE = 0.1, 8

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Run:
    """Texts that a provider runs together."""

    provider: str
    bucket: Bucket
    """The padded shape; may have more rows than there are works."""
    works: tuple[Work, ...]
    predicted_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """A run that has not ended."""

    run: Run
    at: float
    tail_ms: float
    dropped: set[object] = field(default_factory=set[object])
    """Callers who want no more."""

    def remaining_ms(self, now: float) -> float:
        """How long it will take yet; one that is overdue as long again as it is overdue."""
        elapsed = now - self.at
        if elapsed < self.run.predicted_ms:
            return self.run.predicted_ms - elapsed
        return max(self.tail_ms - elapsed, elapsed - self.run.predicted_ms)

    def doubtful_at(self, now: float) -> float:
        """When it will be overdue, or overdue for twice as long as it is."""
        due = self.at + self.tail_ms
        return due if now < due else now + (now - self.at)


class Scheduler:
    """What waits for one model, and what runs. Not thread-safe."""

    def __init__(
        self,
        latencies: Latencies,
        *,
        policy: Policy,
        max_batch_tokens: int,
        max_rows: int,
        energy_weight: float = 0.0,
    ) -> None:
        """Nothing waits, and no provider is in service.

        Args:
            latencies: What runs are predicted from; `finished` adds to it.
            policy: Who may run what.
            max_batch_tokens: The most tokens of a batch of any shape, padding included; a longer
                text has a run to itself.
            max_rows: The most texts of a batch of any shape.
            energy_weight: What a millisecond of the CPU's energy counts, in milliseconds of delay.
        """
        self._latencies = latencies
        self._policy: Policy = policy
        self._max_batch_tokens = max_batch_tokens
        self._max_rows = max_rows
        self._energy_weight = energy_weight
        self._again, self._queries, self._bulk = Lane(), Lane(), Lane()
        self._lanes = (self._again, self._queries, self._bulk)
        self._flexible: list[str] = []
        """Providers in service that take any shape."""
        self._fixed: dict[str, tuple[Bucket, ...]] = {}
        """Providers in service that take certain shapes, and these."""
        self._edges: tuple[int, ...] = ()
        """The lengths of all fixed shapes, which divide the texts into classes."""
        self._variants: dict[str, list[tuple[Bucket, ...]]] = {}
        """Of each fixed provider, by class: the shapes of the least length that hold its texts."""
        self._begun: dict[str, _Begun] = {}
        self._declined: set[str] = set()
        """Providers that got nothing since something last changed."""

    @property
    def waiting(self) -> int:
        """How many texts wait."""
        return sum(map(len, self._lanes))

    def add(self, works: Iterable[Work]) -> None:
        """Lets texts wait."""
        for work in works:
            (self._queries if work.is_query else self._bulk).add(work)
        self._declined.clear()

    def drop(self, caller: object) -> None:
        """Forgets what waits of a caller who is gone; what runs is finished."""
        for lane in self._lanes:
            lane.drop(caller)
        for begun in self._begun.values():
            begun.dropped.add(caller)

    def set_shapes(self, provider: str, buckets: Collection[Bucket] | None) -> None:
        """Says what a provider can run now.

        Args:
            provider: Its name.
            buckets: The shapes it is ready for; none takes it out of service, None is any shape.
        """
        self._flexible = [name for name in self._flexible if name != provider]
        self._fixed.pop(provider, None)
        if buckets is None:
            self._flexible.append(provider)
        elif buckets and self._policy != "cpu":
            self._fixed[provider] = tuple(sorted(buckets))
        self._edges = tuple(sorted({b.tokens for own in self._fixed.values() for b in own}))
        self._variants = {
            name: [_variants(own, edge) for edge in self._edges]
            for name, own in self._fixed.items()
        }
        for lane in self._lanes:
            lane.set_edges(self._edges)
        self._declined.clear()

    def next_run(self, provider: str, now: float) -> Run | None:
        """What the free provider is to begin now; it counts as begun.

        None if there is nothing for it, or the others are predicted to finish it sooner.
        """
        assert provider not in self._begun
        for urgency, lane in enumerate(self._lanes):
            if not lane:
                continue
            run = None
            if provider in self._fixed:
                run = self._fixed_run(provider, urgency, now)
            elif provider in self._flexible:
                run = self._flexible_run(provider, urgency, now)
            if run is not None:
                self._begin(run, lane, now)
                return run
        self._declined.add(provider)
        return None

    def finished(self, run: Run, now: float) -> None:
        """The run is over; how long it took is recorded."""
        begun = self._end(run)
        self._latencies.record(run.provider, run.bucket, now - begun.at)

    def failed(self, run: Run, now: float) -> None:
        """The run gave nothing: its texts wait again, before all others.

        What a provider of fixed shapes failed on waits for one that takes any shape.
        """
        del now
        begun = self._end(run)
        for work in run.works:
            if work.caller not in begun.dropped:
                self._again.add(work)

    def backlog_ms(self, provider: str, now: float) -> float:
        """How long the provider alone would take for its run and all that waits for it."""
        return self._remaining_ms(provider, now) + self._alone_ms(provider, len(self._lanes) - 1)

    def ask_again_at(self, provider: str, now: float) -> float | None:
        """When a provider that got nothing should be asked even if nothing has changed."""
        if not self.waiting:
            return None
        others = [begun for name, begun in self._begun.items() if name != provider]
        return min((begun.doubtful_at(now) for begun in others), default=None)

    def _begin(self, run: Run, lane: Lane, now: float) -> None:
        for work in run.works:
            lane.remove(work)
        lane.end_turn(run.works[0].caller)
        tail_ms = self._latencies.tail(run.provider, run.bucket)
        self._begun[run.provider] = _Begun(run, now, tail_ms)
        self._declined.discard(run.provider)

    def _end(self, run: Run) -> _Begun:
        begun = self._begun.pop(run.provider)
        assert begun.run is run
        self._declined.clear()
        return begun

    # A provider of fixed shapes: the text whose length suits it best.

    def _fixed_run(self, provider: str, urgency: int, now: float) -> Run | None:
        lane, variants = self._lanes[urgency], self._variants[provider]
        held = [index for index, shapes in enumerate(variants) if shapes and lane.counts[index]]
        if not held or (lane is self._again and self._flexible):
            return None
        row_ms = {index: self._row_ms(provider, index) for index in held}
        left_ms = self._others_ms(provider, urgency, now)
        for own in lane.callers.values():
            anchors = [(index, self._longest(own, index)) for index in held]
            found = [(work.tokens / row_ms[index], index, work) for index, work in anchors if work]
            for _, index, anchor in sorted(found, key=lambda each: -each[0]):
                run = self._fixed_batch(provider, lane, index, anchor)
                mean_ms = run.predicted_ms * self._latencies.slowdown(provider)
                spared_ms = self._tokens_ms(sum(work.tokens for work in run.works))
                if self._is_worth(provider, (mean_ms, mean_ms), left_ms, spared_ms):
                    return run
            if found:
                return None
        return None

    def _longest(self, own: ByLength, index: int) -> Work | None:
        work = own.longest_within(self._edges[index])
        return work if work is not None and work.tokens > self._edge_below(index) else None

    def _fixed_batch(self, provider: str, lane: Lane, index: int, anchor: Work) -> Run:
        waiting = lane.counts[index]
        bucket = min(
            self._variants[provider][index],
            key=lambda b: self._latencies.predict(provider, b) / min(b.rows, waiting),
        )
        works = [anchor]
        if bucket.rows > 1:
            for work in lane.works.downward(self._edges[index]):
                if len(works) == bucket.rows or work.tokens <= self._edge_below(index):
                    break
                if work is not anchor:
                    works.append(work)
        return Run(provider, bucket, tuple(works), self._latencies.predict(provider, bucket))

    # A provider of any shape: texts of like length, first those that no other can hold or is at
    # its worst with.

    def _flexible_run(self, provider: str, urgency: int, now: float) -> Run | None:
        lane = self._lanes[urgency]
        if not self._fixed or lane is self._again:
            own = next(iter(lane.callers.values()))
            return self._flexible_batch(provider, lane, own.longest(), 0, _NEVER)
        if self._policy == "auto":
            own = next(iter(lane.callers.values()))
            anchor, low = self._shortest_of_the_worst(own)
            is_held = low < self._edges[-1]
            left_ms = self._others_ms(provider, urgency, now) if is_held else _NEVER
            run = self._flexible_batch(provider, lane, anchor, low, left_ms)
            if run is not None:
                return run
        return self._unheld_batch(provider, lane)

    def _unheld_batch(self, provider: str, lane: Lane) -> Run | None:
        """Texts too long for all the others."""
        if not lane.counts[-1]:
            return None
        top = self._edges[-1]
        for own in lane.callers.values():
            longest = own.longest()
            if longest.tokens > top:
                return self._flexible_batch(provider, lane, longest, top, _NEVER)
        return None

    def _shortest_of_the_worst(self, own: ByLength) -> tuple[Work, int]:
        """A text to begin with, and the length that no text beside it should go below."""
        if own.longest().tokens > self._edges[-1]:
            return own.longest(), self._edges[-1]
        found: list[tuple[float, int, Work]] = []
        for index, edge in enumerate(self._edges):
            work = own.shortest(self._edge_below(index))
            if work is not None and work.tokens <= edge:
                row_ms = min(
                    self._row_ms(name, index)
                    for name, variants in self._variants.items()
                    if variants[index]
                )
                found.append((work.tokens / row_ms, index, work))
        _, index, work = min(found, key=lambda each: each[0])
        return work, self._edge_below(index)

    def _flexible_batch(
        self, provider: str, lane: Lane, anchor: Work, low: int, left_ms: float
    ) -> Run | None:
        """Fills a batch around a text, as long as that brings the end of all work nearer.

        Args:
            provider: Takes any shape.
            lane: Where the text waits.
            anchor: The text.
            low: Texts beside it are longer than this.
            left_ms: When the others would be done with everything, were they left alone with it.
        """
        batch = _Batch(self._max_batch_tokens, self._max_rows)
        slowdown = self._latencies.slowdown(provider)
        full = Bucket(1, max(self._max_batch_tokens, anchor.tokens))
        most_ms = self._latencies.predict(provider, full) * slowdown
        is_near_the_end = left_ms < most_ms * 8
        taken_ms = 0.0

        def takes(work: Work) -> bool:
            nonlocal left_ms, taken_ms
            if not batch.has_room(work):
                return False
            if is_near_the_end:
                ms = self._latencies.predict(provider, batch.bucket_with(work)) * slowdown
                spared_ms = self._held_ms(work)
                if not self._is_worth(provider, (ms, ms - taken_ms), left_ms, spared_ms):
                    return False
                left_ms, taken_ms = left_ms - spared_ms, ms
            batch.add(work)
            return True

        if not takes(anchor):
            return None
        for work in lane.works.upward(anchor.tokens):
            if work is not anchor and not takes(work):
                break
        for work in lane.works.downward(anchor.tokens - 1):
            if work.tokens <= low or not takes(work):
                break
        bucket = batch.bucket
        predicted_ms = self._latencies.predict(provider, bucket)
        return Run(provider, bucket, tuple(batch.works), predicted_ms)

    # What the others would make of it.

    def _is_worth(
        self, provider: str, own_ms: tuple[float, float], left_ms: float, spared_ms: float
    ) -> bool:
        """Whether taking texts costs less than leaving them to the others.

        Args:
            provider: Who would take them.
            own_ms: When its run would be over, and what these texts add to it.
            left_ms: When the others would be over if they took them.
            spared_ms: What the others would run for them.
        """
        end_ms, busy_ms = own_ms
        mine = end_ms + self._energy_weight * _POWER.get(provider, 1.0) * busy_ms
        power = min((_POWER.get(name, 1.0) for name in self._others(provider)), default=1.0)
        return mine <= left_ms + self._energy_weight * power * spared_ms

    def _others(self, provider: str) -> Sequence[str]:
        if provider in self._fixed:
            return self._flexible if self._policy == "auto" else ()
        return tuple(self._fixed)

    def _others_ms(self, provider: str, urgency: int, now: float) -> float:
        """When the quickest of the others would have done all that waits, alone.

        One that is idle and got nothing either is not counted on.
        """
        return min(
            (
                self._remaining_ms(name, now) + self._alone_ms(name, urgency)
                for name in self._others(provider)
                if name in self._begun or name not in self._declined
            ),
            default=_NEVER,
        )

    def _remaining_ms(self, provider: str, now: float) -> float:
        begun = self._begun.get(provider)
        return 0.0 if begun is None else begun.remaining_ms(now)

    def _alone_ms(self, provider: str, urgency: int) -> float:
        """What a provider would take for all waiting texts up to an urgency that it can hold."""
        lanes = self._lanes[: urgency + 1]
        if provider in self._flexible:
            return self._tokens_ms(sum(sum(lane.tokens) for lane in lanes))
        return sum(
            lane.counts[index] * self._row_ms(provider, index)
            for lane in lanes
            if lane is not self._again
            for index, shapes in enumerate(self._variants.get(provider, ()))
            if shapes and lane.counts[index]
        )

    def _row_ms(self, provider: str, index: int) -> float:
        """What one text of a class takes of a provider of fixed shapes, stalls included."""
        predict = self._latencies.predict
        rows = (predict(provider, b) / b.rows for b in self._variants[provider][index])
        return min(rows) * self._latencies.slowdown(provider)

    def _tokens_ms(self, tokens: int) -> float:
        """What texts of so many tokens together take of a provider of any shape."""
        return min(
            (
                self._latencies.predict(name, Bucket(1, min(tokens, self._max_batch_tokens)))
                * max(1.0, tokens / self._max_batch_tokens)
                * self._latencies.slowdown(name)
                for name in self._flexible
                if tokens
            ),
            default=0.0,
        )

    def _held_ms(self, work: Work) -> float:
        """What a text takes of the best provider of fixed shapes that holds it."""
        index = bisect_left(self._edges, work.tokens)
        held = [name for name, own in self._variants.items() if own[index:] and own[index]]
        return min((self._row_ms(name, index) for name in held), default=0.0)

    def _edge_below(self, index: int) -> int:
        return self._edges[index - 1] if index else 0


class _Batch:
    """Texts of like length, as far as they have been gathered."""

    def __init__(self, max_tokens: int, max_rows: int) -> None:
        self.works: list[Work] = []
        self._max_tokens, self._max_rows = max_tokens, max_rows
        self._tokens = 0
        self._longest = 0
        self._shortest = max_tokens

    @property
    def bucket(self) -> Bucket:
        return Bucket(len(self.works), self._longest)

    def bucket_with(self, work: Work) -> Bucket:
        return Bucket(len(self.works) + 1, max(self._longest, work.tokens))

    def has_room(self, work: Work) -> bool:
        """Whether a text may join: within the limits, and without much padding."""
        if not self.works:
            return True
        rows, longest = len(self.works) + 1, max(self._longest, work.tokens)
        if rows > self._max_rows or rows * longest > self._max_tokens:
            return False
        if longest - min(self._shortest, work.tokens) <= _ALIKE:
            return True
        return self._tokens + work.tokens >= (1 - _MOST_PADDING) * rows * longest

    def add(self, work: Work) -> None:
        self.works.append(work)
        self._tokens += work.tokens
        self._longest = max(self._longest, work.tokens)
        self._shortest = min(self._shortest, work.tokens)


def _variants(shapes: Iterable[Bucket], tokens: int) -> tuple[Bucket, ...]:
    """The shapes of the least length that holds so many tokens, whatever their rows."""
    holding = [bucket for bucket in shapes if bucket.tokens >= tokens]
    least = min((bucket.tokens for bucket in holding), default=0)
    return tuple(bucket for bucket in holding if bucket.tokens == least)
