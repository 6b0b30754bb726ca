"""Scheduling: decides which waiting texts a free provider runs next.

Decides and does nothing: no threads, no clock (times are handed in, in milliseconds), no models.

Rules: nobody waits for company: whoever waits when a provider becomes free is taken along. Queries
overtake texts in bulk, and callers take turns. Of a caller's texts a provider takes the one it is
best at beside the others (the ratio of predicted times), so that they split the work as an offline
plan would. A provider declines what the others, with all they have to do, are predicted to finish
sooner; the last one asked never declines, so that something always runs.

A provider that got no run must be asked again after each `add`, `finished`, `failed` and
`set_shapes`, and at `ask_again_at`: when a run it relied on is overdue, or an idle provider that it
relied on has not come for its run.
"""

import math
from collections.abc import Collection, Iterable
from typing import Literal

from engine.embed.choosing import Choosing
from engine.embed.costs import Contest, Costs
from engine.embed.latencies import Latencies
from engine.embed.runs import Begun, Run
from engine.embed.waiting import Lane, Work
from engine.runtime.shapes import Bucket, smallest

Policy = Literal["auto", "npu", "cpu"]
"""auto: whoever is predicted to be sooner; npu: all that the NPU can hold; cpu: nothing else."""


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
        self._repeats = repeats and policy == "auto"
        self._costs = Costs(latencies, max_batch_tokens, energy_weight)
        self._choosing = Choosing(latencies, self._costs, max_batch_tokens, max_rows)
        self._again, self._queries, self._bulk = Lane(), Lane(), Lane()
        self._lanes = (self._again, self._queries, self._bulk)
        self._begun: dict[str, Begun] = {}
        self._declined: set[str] = set()
        """Providers that got nothing since something last changed."""
        self._awaited: dict[str, float] = {}
        """Since when idle providers have been relied on."""

    @property
    def waiting(self) -> int:
        """How many texts wait."""
        return sum(map(len, self._lanes))

    def add(self, works: Iterable[Work]) -> None:
        """Lets texts wait, each of which is added once."""
        for work in works:
            (self._queries if work.is_query else self._bulk).add(work)
        self._changed()

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
        self._changed()

    def next_run(self, provider: str, now: float, *, bulk: bool = True) -> Run | None:
        """What the free provider is to begin now; it counts as begun.

        None if there is nothing for it, or the others are predicted to finish it sooner.

        Args:
            provider: Who is free.
            now: The time.
            bulk: Without, it is asked for queries alone, by somebody who would do nothing else.
        """
        assert provider not in self._begun
        self._awaited.pop(provider, None)
        self._costs.update()
        run = (
            self._waiting_run(provider, 0, now)
            or self._waiting_run(provider, 1, now)
            or self._repeated_run(provider, now, queries_only=True)
            or (self._waiting_run(provider, 2, now) if bulk else None)
            or (self._repeated_run(provider, now) if bulk else None)
        )
        if run is None and not bulk:
            return None
        if run is None:
            self._declined.add(provider)
            return None
        self._declined.discard(provider)
        tail_ms = self._latencies.tail(provider, run.bucket)
        self._begun[provider] = Begun(run, now, tail_ms)
        return run

    def finished(self, run: Run, now: float, *, learns: bool = True) -> tuple[Work, ...]:
        """The run is over; how long it took is recorded, if something is to be learnt from that.

        Returns:
            Those of its texts that somebody waits for: neither dropped nor done by another run.
        """
        begun = self._end(run)
        if learns:
            self._latencies.record(run.provider, run.bucket, now - begun.at)
        wanted = begun.wanted
        for work in wanted:
            work.is_done = True
        return wanted

    def failed(self, run: Run) -> None:
        """The run gave nothing: its texts wait again, before all others.

        They wait for a provider that takes any shape, if there is one in service. A text that
        another run repeats does not wait.
        """
        wanted = self._end(run).wanted
        running = {work for begun in self._begun.values() for work in begun.run.works}
        for work in wanted:
            if work not in running:
                self._again.add(work)

    def ask_again_at(self, provider: str, now: float) -> float | None:
        """When a provider that got nothing should be asked even if nothing has changed."""
        others = [begun for name, begun in self._begun.items() if name != provider]
        times: list[float] = []
        if self.waiting:
            times += [begun.doubtful_at(now) for begun in others]
            times += [now + max(1.0, now - since) for since in self._awaited.values()]
        for begun in others if self._repeats else ():
            bucket = self._repeat_bucket(provider, begun)
            if bucket is not None:
                times.append(begun.hopeless_at(self._costs.run_ms(provider, bucket)))
        return min((max(time, now) for time in times), default=None)

    def _changed(self) -> None:
        """Everybody should be asked again."""
        self._declined.clear()
        self._awaited.clear()

    def _end(self, run: Run) -> Begun:
        begun = self._begun.pop(run.provider)
        assert begun.run is run
        self._changed()
        return begun

    def _waiting_run(self, provider: str, urgency: int, now: float) -> Run | None:
        """Texts of one urgency, as a run of which they no longer wait."""
        lane = self._lanes[urgency]
        run = self._chosen(provider, urgency, now) if lane else None
        if run is not None:
            for work in run.works:
                lane.remove(work)
            lane.end_turn(run.works[0].caller)
        return run

    def _chosen(self, provider: str, urgency: int, now: float) -> Run | None:
        lane, costs = self._lanes[urgency], self._costs
        if provider in costs.fixed:
            if lane is self._again and costs.flexible:
                return None
            return self._choosing.fixed_run(lane, self._contest(provider, urgency, now))
        if provider not in costs.flexible:
            return None
        if not costs.fixed or lane is self._again:
            return self._choosing.longest_run(lane, provider)
        if self._policy == "npu":
            return self._choosing.unheld_run(lane, provider)
        return self._choosing.shared_run(lane, self._contest(provider, urgency, now))

    def _contest(self, provider: str, urgency: int, now: float) -> Contest:
        """Who else could take texts that a provider could.

        One that is idle and got nothing either is not counted on.
        """
        if self._policy != "auto":
            return Contest(provider)
        costs, lanes = self._costs, self._lanes[: urgency + 1]
        others = costs.flexible if provider in costs.fixed else costs.fixed
        left_ms: dict[str, float] = {}
        for name in others:
            if name in self._begun or name not in self._declined:
                left_ms[name] = self._free_in_ms(name, now) + costs.alone_ms(name, lanes)
        return Contest(provider, tuple(left_ms), min(left_ms.values(), default=math.inf))

    def _repeated_run(self, provider: str, now: float, *, queries_only: bool = False) -> Run | None:
        """What another provider stalls on."""
        for begun in self._begun.values() if self._repeats else ():
            if queries_only and not begun.run.works[0].is_query:
                continue
            bucket = self._repeat_bucket(provider, begun)
            if bucket is None or now < begun.hopeless_at(self._costs.run_ms(provider, bucket)):
                continue
            predicted_ms = self._latencies.predict(provider, bucket)
            return Run(provider, bucket, begun.wanted, predicted_ms)
        return None

    def _repeat_bucket(self, provider: str, begun: Begun) -> Bucket | None:
        """The shape in which a provider could run what another one has begun, and it alone."""
        wanted = begun.wanted
        others = (other for other in self._begun.values() if other is not begun)
        if not wanted or any(work in other.run.works for other in others for work in wanted):
            return None
        longest = max(work.tokens for work in wanted)
        if provider in self._costs.flexible:
            return Bucket(len(wanted), longest)
        shapes = [shape for own in self._costs.fixed.get(provider, ()) for shape in own]
        return smallest(shapes, len(wanted), longest)

    def _free_in_ms(self, provider: str, now: float) -> float:
        """When another provider will take a run; an idle one after as long as it was awaited."""
        if provider in self._begun:
            return self._begun[provider].remaining_ms(now)
        return now - self._awaited.setdefault(provider, now)
