"""Choosing: which of a lane's texts suit a provider best.

Knows predicted times and lengths. Knows nothing of what runs, and changes nothing.
Rules: a provider takes what it is best at beside the others, by the ratio of predicted times: one
of fixed shapes the longest text of a class, one of any shape the shortest and its like. Nothing is
taken that the others are predicted to finish sooner.
"""

from engine.embed.costs import Contest, Costs, Gain
from engine.embed.latencies import Latencies
from engine.embed.runs import Run
from engine.embed.waiting import Batch, ByLength, Lane, Work


class Choosing:
    """Makes runs of waiting texts."""

    def __init__(
        self, latencies: Latencies, costs: Costs, max_batch_tokens: int, max_rows: int
    ) -> None:
        """The limits are those of batches of any shape."""
        self._latencies = latencies
        self._costs = costs
        self._max_batch_tokens = max_batch_tokens
        self._max_rows = max_rows

    def fixed_run(self, lane: Lane, contest: Contest) -> Run | None:
        """For a provider of fixed shapes: of the caller in turn the text that suits it best."""
        costs, provider = self._costs, contest.provider
        shapes = costs.fixed[provider]
        held = [index for index, own in enumerate(shapes) if own and lane.counts[index]]
        for own in lane.callers.values() if held else ():
            found = [(index, work) for index in held if (work := self._longest(own, index))]
            found.sort(key=lambda each: costs.row_ms(provider, each[0]) / each[1].tokens)
            for index, anchor in found:
                run = self._fixed_batch(provider, lane, index, anchor)
                run_ms = costs.run_ms(provider, run.bucket)
                spared_ms = costs.tokens_ms(sum(work.tokens for work in run.works))
                if Gain(costs, contest).is_worth(run_ms, run_ms, spared_ms):
                    return run
            if found:
                return None
        return None

    def longest_run(self, lane: Lane, provider: str) -> Run | None:
        """For a provider of any shape that is alone: of the caller in turn the longest text."""
        own = next(iter(lane.callers.values()))
        return self._batch(lane, own.longest(), 0, Contest(provider))

    def shared_run(self, lane: Lane, contest: Contest) -> Run | None:
        """For a provider of any shape: of the caller in turn what the others are worst at."""
        own = next(iter(lane.callers.values()))
        if own.longest().tokens > self._costs.edges[-1]:
            return self.unheld_run(lane, contest.provider)
        anchor, low = self._shortest_of_the_worst(own)
        run = self._batch(lane, anchor, low, contest)
        return run or self.unheld_run(lane, contest.provider)

    def unheld_run(self, lane: Lane, provider: str) -> Run | None:
        """For a provider of any shape: texts too long for all the others."""
        top = self._costs.edges[-1]
        for own in lane.callers.values() if lane.counts[-1] else ():
            if own.longest().tokens > top:
                return self._batch(lane, own.longest(), top, Contest(provider))
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

    def _batch(self, lane: Lane, anchor: Work, low: int, contest: Contest) -> Run | None:
        """Fills a batch of any shape, as long as that brings the end of all work nearer.

        Args:
            lane: Where the text waits.
            anchor: The text to begin with.
            low: Texts beside it are longer than this.
            contest: Who else could take them.
        """
        batch = Batch(self._max_batch_tokens, self._max_rows)
        gain = Gain(self._costs, contest)

        def takes(work: Work) -> bool:
            if not batch.has_room(work) or not gain.allows(work, batch):
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
        provider, bucket = contest.provider, batch.bucket
        return Run(provider, bucket, tuple(batch.works), self._latencies.predict(provider, bucket))
