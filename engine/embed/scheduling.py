"""Scheduling: decides which waiting texts a free provider runs next.

Decides and does nothing: no threads, no clock (times are handed in, in milliseconds), no models.

Rules: nobody waits for company: whoever waits when a provider becomes free is taken along. Queries
overtake texts in bulk, and callers take turns. Of a caller's texts a provider takes the one it is
best at beside the others (the ratio of predicted times), so that they split the work as an offline
plan would. A provider declines what the others, with all they have to do, are predicted to finish
sooner; the last one asked never declines, so that something always runs.

A provider that got no run must be asked again after each `add`, `finished`, `failed` and
`set_shapes`, and at `ask_again_at`, when a run it relied on is overdue; that time is to be looked
up again whenever another provider has begun a run.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.embed.costs import Costs
from engine.embed.latencies import Latencies
from engine.embed.waiting import Batch, ByLength, Lane, Work
from engine.runtime.shapes import Bucket, smallest

Policy = Literal["auto", "npu", "cpu"]
"""auto: whoever is predicted to be sooner; npu: all that the NPU can hold; cpu: nothing else."""

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Run:
    """Texts that a provider runs together."""

    provider: str
    bucket: Bucket
    """The padded shape; may have more rows than there are works."""
    works: tuple[Work, ...]
    predicted_ms: float


@dataclass(slots=True, eq=False)
class _Begun:
    """A run that has not ended."""

    run: Run
    at: float
    tail_ms: float
    is_repeated: bool = False
    """Another provider has begun its texts, too."""
    dropped: set[object] = field(default_factory=set[object])
    """Callers who want no more."""

    @property
    def wanted(self) -> tuple[Work, ...]:
        """Its texts that somebody still waits for."""
        works = self.run.works
        return tuple(w for w in works if not w.is_done and w.caller not in self.dropped)

    def remaining_ms(self, now: float) -> float:
        """How long it will take yet: up to its tail, and then as long again as it is overdue."""
        elapsed = now - self.at
        if elapsed < self.run.predicted_ms:
            return self.run.predicted_ms - elapsed
        return max(self.tail_ms - elapsed, elapsed - self.run.predicted_ms)

    def doubtful_at(self, now: float) -> float:
        """When it will be overdue, or overdue for twice as long as it is."""
        due = self.at + self.tail_ms
        return due if now < due else now + max(now - due, self.run.predicted_ms)

    def hopeless_at(self, other_ms: float) -> float:
        """When somebody else who takes so long should run its texts, too."""
        return self.at + max(self.tail_ms, self.run.predicted_ms + other_ms)


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
        repeats: bool = False,
    ) -> None:
        """Nothing waits, and no provider is in service.

        Args:
            latencies: What runs are predicted from; `finished` adds to it.
            policy: Who may run what.
            max_batch_tokens: The most tokens of a batch of any shape, padding included; a longer
                text has a run to itself.
            max_rows: The most texts of a batch of any shape.
            energy_weight: What a millisecond of the CPU's energy counts, in milliseconds of delay.
            repeats: Under "auto", an idle provider runs anew what another one stalls on, and the
                first to finish counts. No text is repeated more than once at a time.
        """
        self._latencies = latencies
        self._policy: Policy = policy
        self._max_batch_tokens = max_batch_tokens
        self._max_rows = max_rows
        self._repeats = repeats and policy == "auto"
        self._costs = Costs(latencies, max_batch_tokens, energy_weight)
        self._again, self._queries, self._bulk = Lane(), Lane(), Lane()
        self._lanes = (self._again, self._queries, self._bulk)
        self._begun: dict[str, _Begun] = {}
        self._declined: set[str] = set()
        """Providers that got nothing since something last changed."""

    @property
    def waiting(self) -> int:
        """How many texts wait."""
        return sum(map(len, self._lanes))

    def add(self, works: Iterable[Work]) -> None:
        """Lets texts wait, each of which is added once."""
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
        if buckets is not None and self._policy == "cpu":
            buckets = ()
        self._costs.set_shapes(provider, buckets)
        for lane in self._lanes:
            lane.set_edges(self._costs.edges)
        self._declined.clear()

    def next_run(self, provider: str, now: float) -> Run | None:
        """What the free provider is to begin now; it counts as begun.

        None if there is nothing for it, or the others are predicted to finish it sooner.
        """
        assert provider not in self._begun
        self._costs.update()
        run = (
            self._waiting_run(provider, 0, now)
            or self._waiting_run(provider, 1, now)
            or self._repeated_run(provider, now, queries_only=True)
            or self._waiting_run(provider, 2, now)
            or self._repeated_run(provider, now)
        )
        if run is None:
            self._declined.add(provider)
            return None
        self._declined.discard(provider)
        tail_ms = self._latencies.tail(provider, run.bucket)
        self._begun[provider] = _Begun(run, now, tail_ms)
        return run

    def finished(self, run: Run, now: float) -> tuple[Work, ...]:
        """The run is over; how long it took is recorded.

        Returns:
            Those of its texts that somebody waits for: neither dropped nor done by another run.
        """
        begun = self._end(run)
        self._latencies.record(run.provider, run.bucket, now - begun.at)
        wanted = begun.wanted
        for work in wanted:
            work.is_done = True
        return wanted

    def failed(self, run: Run, now: float) -> None:
        """The run gave nothing: its texts wait again, before all others.

        They wait for a provider that takes any shape, if there is one in service. A text that
        another run repeats does not wait.
        """
        del now
        wanted = self._end(run).wanted
        running = {work for begun in self._begun.values() for work in begun.run.works}
        for work in wanted:
            if work not in running:
                self._again.add(work)

    def backlog_ms(self, provider: str, now: float) -> float:
        """How long the provider alone would take for its run and all that waits for it."""
        self._costs.update()
        return self._remaining_ms(provider, now) + self._costs.alone_ms(provider, self._lanes)

    def ask_again_at(self, provider: str, now: float) -> float | None:
        """When a provider that got nothing should be asked even if nothing has changed."""
        others = [begun for name, begun in self._begun.items() if name != provider]
        times = [begun.doubtful_at(now) for begun in others if self.waiting]
        if self._repeats:
            for begun in others:
                bucket = self._repeat_bucket(provider, begun)
                if bucket is not None:
                    times.append(begun.hopeless_at(self._costs.run_ms(provider, bucket)))
        return min((max(time, now) for time in times), default=None)

    def _end(self, run: Run) -> _Begun:
        begun = self._begun.pop(run.provider)
        assert begun.run is run
        for other in self._begun.values():
            other.is_repeated = False
        self._declined.clear()
        return begun

    def _waiting_run(self, provider: str, urgency: int, now: float) -> Run | None:
        """Texts of one urgency, as a run of which they no longer wait."""
        lane, run = self._lanes[urgency], None
        if lane and provider in self._costs.fixed:
            run = self._fixed_run(provider, urgency, now)
        elif lane and provider in self._costs.flexible:
            run = self._flexible_run(provider, urgency, now)
        if run is not None:
            for work in run.works:
                lane.remove(work)
            lane.end_turn(run.works[0].caller)
        return run

    # A provider of fixed shapes: the text whose length suits it best.

    def _fixed_run(self, provider: str, urgency: int, now: float) -> Run | None:
        lane, costs = self._lanes[urgency], self._costs
        shapes = costs.fixed[provider]
        held = [index for index, own in enumerate(shapes) if own and lane.counts[index]]
        if not held or (lane is self._again and costs.flexible):
            return None
        left_ms = self._others_ms(provider, urgency, now)
        for own in lane.callers.values():
            found = [(index, work) for index in held if (work := self._longest(own, index))]
            found.sort(key=lambda each: costs.row_ms(provider, each[0]) / each[1].tokens)
            for index, anchor in found:
                run = self._fixed_batch(provider, lane, index, anchor)
                run_ms = costs.run_ms(provider, run.bucket)
                spared_ms = costs.tokens_ms(sum(work.tokens for work in run.works))
                taking = provider, run_ms, run_ms
                if costs.is_worth(taking, self._others(provider), left_ms, spared_ms):
                    return run
            if found:
                return None
        return None

    def _longest(self, own: ByLength, index: int) -> Work | None:
        """A caller's longest text of a class."""
        work = own.longest_within(self._costs.edges[index])
        return work if work is not None and work.tokens > self._costs.edge_below(index) else None

    def _fixed_batch(self, provider: str, lane: Lane, index: int, anchor: Work) -> Run:
        waiting = lane.counts[index]
        bucket = min(
            self._costs.fixed[provider][index],
            key=lambda b: self._latencies.predict(provider, b) / min(b.rows, waiting),
        )
        works = [anchor]
        for work in lane.works.downward(self._costs.edges[index]):
            if len(works) == bucket.rows or work.tokens <= self._costs.edge_below(index):
                break
            if work is not anchor:
                works.append(work)
        return Run(provider, bucket, tuple(works), self._latencies.predict(provider, bucket))

    # A provider of any shape: texts of like length, first those that no other can hold or is at
    # its worst with.

    def _flexible_run(self, provider: str, urgency: int, now: float) -> Run | None:
        lane, edges = self._lanes[urgency], self._costs.edges
        own = next(iter(lane.callers.values()))
        longest = own.longest()
        if not edges or lane is self._again:
            return self._flexible_batch(provider, lane, longest, 0, _NEVER)
        run = None
        if self._policy == "auto" and longest.tokens <= edges[-1]:
            anchor, low = self._shortest_of_the_worst(own)
            left_ms = self._others_ms(provider, urgency, now)
            run = self._flexible_batch(provider, lane, anchor, low, left_ms)
        return run or self._unheld_batch(provider, lane)

    def _unheld_batch(self, provider: str, lane: Lane) -> Run | None:
        """Texts too long for all the others."""
        if not lane.counts[-1]:
            return None
        top = self._costs.edges[-1]
        for own in lane.callers.values():
            if own.longest().tokens > top:
                return self._flexible_batch(provider, lane, own.longest(), top, _NEVER)
        return None

    def _shortest_of_the_worst(self, own: ByLength) -> tuple[Work, int]:
        """A text to begin with, and the length that no text beside it should go below."""
        costs = self._costs
        found: list[tuple[float, int, Work]] = []
        for index, edge in enumerate(costs.edges):
            low = costs.edge_below(index)
            work = own.shortest(low)
            if work is not None and work.tokens <= edge:
                found.append((work.tokens / costs.least_row_ms(index), low, work))
        _, low, work = min(found, key=lambda each: each[0])
        return work, low

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
        batch = Batch(self._max_batch_tokens, self._max_rows)
        gain = _Gain(self._costs, provider, self._others(provider), left_ms)

        def takes(work: Work) -> bool:
            if not batch.has_room(work) or not gain.allows(work, batch.bucket_with(work)):
                return False
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
        predicted_ms = self._latencies.predict(provider, batch.bucket)
        return Run(provider, batch.bucket, tuple(batch.works), predicted_ms)

    # Once nothing waits: what another provider stalls on.

    def _repeated_run(self, provider: str, now: float, *, queries_only: bool = False) -> Run | None:
        if not self._repeats:
            return None
        for begun in self._begun.values():
            bucket = self._repeat_bucket(provider, begun)
            if bucket is None or (queries_only and not begun.run.works[0].is_query):
                continue
            if now >= begun.hopeless_at(self._costs.run_ms(provider, bucket)):
                begun.is_repeated = True
                predicted_ms = self._latencies.predict(provider, bucket)
                return Run(provider, bucket, begun.wanted, predicted_ms)
        return None

    def _repeat_bucket(self, provider: str, begun: _Begun) -> Bucket | None:
        """The shape in which a provider could run what another one has begun."""
        wanted = begun.wanted
        if not wanted or begun.is_repeated:
            return None
        longest = max(work.tokens for work in wanted)
        if provider in self._costs.flexible:
            return Bucket(len(wanted), longest)
        shapes = [b for own in self._costs.fixed.get(provider, ()) for b in own]
        return smallest(shapes, len(wanted), longest)

    # What the others would make of it.

    def _others(self, provider: str) -> Sequence[str]:
        """Who else could take texts that a provider could."""
        if self._policy != "auto":
            return ()
        costs = self._costs
        return costs.flexible if provider in costs.fixed else tuple(costs.fixed)

    def _others_ms(self, provider: str, urgency: int, now: float) -> float:
        """When the quickest of the others would have done all that waits, alone.

        One that is idle and got nothing either is not counted on.
        """
        lanes = self._lanes[: urgency + 1]
        return min(
            (
                self._remaining_ms(name, now) + self._costs.alone_ms(name, lanes)
                for name in self._others(provider)
                if name in self._begun or name not in self._declined
            ),
            default=_NEVER,
        )

    def _remaining_ms(self, provider: str, now: float) -> float:
        begun = self._begun.get(provider)
        return 0.0 if begun is None else begun.remaining_ms(now)


class _Gain:
    """Whether a run of any shape is worth it with one more text, and with one more after that."""

    def __init__(self, costs: Costs, provider: str, others: Sequence[str], left_ms: float) -> None:
        self._costs = costs
        self._provider = provider
        self._others = others
        self._left_ms = left_ms
        self._taken_ms = 0.0

    def allows(self, work: Work, bucket: Bucket) -> bool:
        """Whether a text is better added than left to the others; then it counts as added.

        Args:
            work: The text.
            bucket: The shape of the run with it.
        """
        if self._left_ms == _NEVER:
            return True
        costs = self._costs
        run_ms, spared_ms = costs.run_ms(self._provider, bucket), costs.held_ms(work)
        taking = self._provider, run_ms, run_ms - self._taken_ms
        if not costs.is_worth(taking, self._others, self._left_ms, spared_ms):
            return False
        self._left_ms, self._taken_ms = self._left_ms - spared_ms, run_ms
        return True
