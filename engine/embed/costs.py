"""Costs: what waiting texts would take of each provider, and who is better left to do them.

Knows shapes, times and waiting texts. Knows nothing of what runs and of whose turn it is.
Rule: all costs are predicted means in milliseconds, so that a provider which stalls at times is
dearer by what its stalls cost over many runs.

Relative power: arXiv 2606.11257 measured, of embedding on a Snapdragon X Elite, 9.1 times the
throughput of the CPU with 12.3 times less energy, so that the NPU draws 9.1 / 12.3 = 0.74 of the
CPU's power while it runs.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from engine.embed.latencies import Latencies
from engine.embed.waiting import Batch, Lane, Work
from engine.runtime.shapes import Bucket

_POWER = {"npu": 0.74}
"""Of a running provider, the CPU's being 1."""


@dataclass(frozen=True, slots=True)
class Contest:
    """A provider that may take texts, and who else could."""

    provider: str
    others: tuple[str, ...] = ()
    left_ms: float = math.inf
    """When the quickest of the others would have done all that waits, alone."""


class Costs:
    """Predicted times of the providers in service."""

    def __init__(self, latencies: Latencies, max_batch_tokens: int, energy_weight: float) -> None:
        """No provider in service; the arguments are the scheduler's."""
        self.flexible: list[str] = []
        """Providers in service that take any shape."""
        self.fixed: dict[str, list[tuple[Bucket, ...]]] = {}
        """Providers in service that take certain shapes: for each of the classes into which the
        edges divide the texts, the shapes of the least length that hold them; none is too short."""
        self.edges: tuple[int, ...] = ()
        """The lengths of all these shapes, ascending."""
        self._latencies = latencies
        self._max_batch_tokens = max_batch_tokens
        self._energy_weight = energy_weight
        self._shapes: dict[str, tuple[Bucket, ...]] = {}
        self._row_ms: dict[str, list[float]] = {}
        self._least_row_ms: list[float] = []

    def set_shapes(self, provider: str, buckets: Collection[Bucket] | None) -> None:
        """Says what a provider can run: shapes, none (out of service) or any (None)."""
        self.flexible = [name for name in self.flexible if name != provider]
        self._shapes.pop(provider, None)
        if buckets is None:
            self.flexible.append(provider)
        elif buckets:
            self._shapes[provider] = tuple(sorted(buckets))
        self.edges = tuple(sorted({b.tokens for own in self._shapes.values() for b in own}))
        self.fixed = {
            name: [_least(own, edge) for edge in self.edges] for name, own in self._shapes.items()
        }
        self.update()

    def update(self) -> None:
        """Takes new measurements over into what single texts take."""
        self._row_ms = {
            name: [self._cheapest_row(name, shapes) for shapes in classes]
            for name, classes in self.fixed.items()
        }
        # Each edge is the length of a shape, so that somebody holds the texts below it.
        self._least_row_ms = [
            min(filter(None, row_ms)) for row_ms in zip(*self._row_ms.values(), strict=True)
        ]

    def edge_below(self, index: int) -> int:
        """Texts of a class are longer than this."""
        return self.edges[index - 1] if index else 0

    def run_ms(self, provider: str, bucket: Bucket) -> float:
        """What a run takes."""
        return self._latencies.predict(provider, bucket) * self._latencies.slowdown(provider)

    def row_ms(self, provider: str, index: int) -> float:
        """What one text of a class takes of a provider of fixed shapes that holds it."""
        return self._row_ms[provider][index]

    def least_row_ms(self, index: int) -> float:
        """What one text of a class takes of the best provider of fixed shapes."""
        return self._least_row_ms[index]

    def held_ms(self, work: Work) -> float:
        """What a text takes of the best provider of fixed shapes; 0 if none holds it."""
        index = bisect_left(self.edges, work.tokens)
        return self._least_row_ms[index] if index < len(self.edges) else 0.0

    def tokens_ms(self, tokens: int) -> float:
        """What texts of so many tokens together take of the best provider of any shape."""
        if not tokens or not self.flexible:
            return 0.0
        some = Bucket(1, min(tokens, self._max_batch_tokens))
        batches = max(1.0, tokens / self._max_batch_tokens)
        return batches * min(self.run_ms(name, some) for name in self.flexible)

    def alone_ms(self, provider: str, lanes: Iterable[Lane]) -> float:
        """What a provider would take for all texts of these lanes that it can hold."""
        if provider in self.flexible:
            return self.tokens_ms(sum(sum(lane.tokens) for lane in lanes))
        classes = self._row_ms.get(provider, [])
        return sum(
            count * ms
            for lane in lanes
            for count, ms in zip(lane.counts, classes, strict=False)
            if count
        )

    def energy_ms(self, provider: str, busy_ms: float) -> float:
        """What the energy of so much running counts."""
        return self._energy_weight * _POWER.get(provider, 1.0) * busy_ms

    def certain_ms(self, provider: str) -> float:
        """A full run of any shape is worth it if the others need longer than this."""
        return self.run_ms(provider, Bucket(1, self._max_batch_tokens)) * (1 + self._energy_weight)

    def _cheapest_row(self, provider: str, shapes: Iterable[Bucket]) -> float:
        """Of one text in full runs; 0 where no shape holds it."""
        return min((self.run_ms(provider, shape) / shape.rows for shape in shapes), default=0.0)


class Gain:
    """Whether a run is worth it with one text, and with each one that follows."""

    def __init__(self, costs: Costs, contest: Contest) -> None:
        """No text yet."""
        self._costs = costs
        self._contest = contest
        self._left_ms = contest.left_ms
        self._certain_ms = costs.certain_ms(contest.provider)

    def is_worth(self, end_ms: float, busy_ms: float, spared_ms: float) -> bool:
        """Whether taking texts costs less than leaving them to the others.

        Args:
            end_ms: When the provider's run would be over.
            busy_ms: What the texts add to it.
            spared_ms: What the others would run for them.
        """
        costs, others = self._costs, self._contest.others
        mine = end_ms + costs.energy_ms(self._contest.provider, busy_ms)
        saved = min((costs.energy_ms(other, spared_ms) for other in others), default=0.0)
        return mine <= self._left_ms + saved

    def allows(self, work: Work, batch: Batch) -> bool:
        """Whether a text is better added to a batch than left; then the others are spared it."""
        if self._left_ms == math.inf:
            return True
        spared_ms = self._costs.held_ms(work)
        if self._left_ms < self._certain_ms:
            provider = self._contest.provider
            before_ms = self._costs.run_ms(provider, batch.bucket) if batch.works else 0.0
            run_ms = self._costs.run_ms(provider, batch.bucket_with(work))
            if not self.is_worth(run_ms, run_ms - before_ms, spared_ms):
                return False
        self._left_ms -= spared_ms
        return True


def _least(shapes: Iterable[Bucket], tokens: int) -> tuple[Bucket, ...]:
    """The shapes of the least length that holds so many tokens, whatever their rows."""
    holding = [bucket for bucket in shapes if bucket.tokens >= tokens]
    least = min((bucket.tokens for bucket in holding), default=0)
    return tuple(bucket for bucket in holding if bucket.tokens == least)
