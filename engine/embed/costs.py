"""Costs: what waiting texts would take of each provider, and who is better left to do them.

Knows shapes, times and waiting texts. Knows nothing of what runs and of whose turn it is.
Rule: all costs are predicted means in milliseconds, so that a provider which stalls at times is
dearer by what its stalls cost over many runs.

Relative power: arXiv 2606.11257 measured, of embedding on a Snapdragon X Elite, 9.1 times the
throughput of the CPU with 12.3 times less energy, so that the NPU draws 9.1 / 12.3 = 0.74 of the
CPU's power while it runs.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from engine.embed.latencies import Latencies
from engine.embed.waiting import Lane, Work
from engine.runtime.shapes import Bucket

_POWER = {"npu": 0.74}
"""Of a running provider, the CPU's being 1."""


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
        return min(self._row_ms[name][index] for name, own in self.fixed.items() if own[index])

    def held_ms(self, work: Work) -> float:
        """What a text takes of the best provider of fixed shapes; 0 if none holds it."""
        index = bisect_left(self.edges, work.tokens)
        return self.least_row_ms(index) if index < len(self.edges) else 0.0

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

    def is_worth(
        self, own: tuple[str, float, float], others: Sequence[str], left_ms: float, spared_ms: float
    ) -> bool:
        """Whether it costs less to take texts than to leave them to the others.

        Args:
            own: Who would take them, when its run would be over, and what they add to it.
            others: Who else could.
            left_ms: When the others would be over if they took them.
            spared_ms: What the others would run for them.
        """
        provider, end_ms, busy_ms = own
        power = min((_POWER.get(name, 1.0) for name in others), default=1.0)
        mine = end_ms + self._energy_weight * _POWER.get(provider, 1.0) * busy_ms
        return mine <= left_ms + self._energy_weight * power * spared_ms

    def _cheapest_row(self, provider: str, shapes: Iterable[Bucket]) -> float:
        """Of one text in full runs; 0 where no shape holds it."""
        return min((self.run_ms(provider, shape) / shape.rows for shape in shapes), default=0.0)


def _least(shapes: Iterable[Bucket], tokens: int) -> tuple[Bucket, ...]:
    """The shapes of the least length that holds so many tokens, whatever their rows."""
    holding = [bucket for bucket in shapes if bucket.tokens >= tokens]
    least = min((bucket.tokens for bucket in holding), default=0)
    return tuple(bucket for bucket in holding if bucket.tokens == least)
