"""CompiledModel: a model that is compiled for a provider, shape by shape, and what became of each.

What the embedder asks of it; how it is compiled is known to whoever hands one in.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

from engine.embed.latencies import Latency
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

ShapeState = Literal["waiting", "preparing", "serving", "quarantined"]


class CompiledModel(Protocol):
    """One model on a provider for which it has to be compiled, shape by shape."""

    @property
    def provider(self) -> str:
        """What the provider is called."""
        ...

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The shapes to make ready, in this order."""
        ...

    def open(self, bucket: Bucket) -> Session:
        """A session of one shape; may take minutes.

        Raises:
            NpuFailed: It cannot be made.
        """
        ...

    def forget(self, bucket: Bucket) -> None:
        """Takes away what was kept of one shape, as its vectors are wrong: it is made anew."""
        ...

    def interrupt(self) -> None:
        """Makes `open` give up, now and from now on."""
        ...

    def read_latencies(self) -> dict[str, object]:
        """What `write_latencies` kept for this very model, machine and software; or nothing."""
        ...

    def write_latencies(self, latencies: dict[str, object]) -> None:
        """Keeps measured latencies for the next start."""
        ...


@dataclass(frozen=True, slots=True)
class ShapeStatus:
    """One shape of a provider, or what was measured of shapes like it where any shape is taken."""

    provider: str
    bucket: Bucket
    state: ShapeState
    reason: str = ""
    """Why it does not serve, or empty."""
    median_ms: float = 0.0
    """0 as long as nothing was measured."""
    tail_ms: float = 0.0
    """The 95th percentile when it was calibrated."""
    runs: int = 0
    error: float = 0.0
    """Mean share by which a run's time differed from what was predicted."""

    @classmethod
    def of(cls, measured: Latency) -> Self:
        """A provider's that takes any shape."""
        return cls(
            measured.provider,
            measured.bucket,
            "serving",
            "",
            measured.median_ms,
            measured.tail_ms,
            measured.runs,
            measured.error,
        )
