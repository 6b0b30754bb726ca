"""Budget: a limit on what models may hold in memory together, kept before one is loaded.

Knows sizes and places, no model. Rule: what does not fit beside the others makes the idle ones
leave, and is refused where that does not help; one model is opened at a time.
"""

import math
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine.errors import NoRoom, Overloaded
from engine.models.spec import ModelSpec
from engine.residency import Resident

# What opening a model takes beyond the bytes of its graph and weights: the runtime's repacked copy
# of some of the weights, and the tokenizer. Measured with ONNX Runtime 1.32 on Linux x86-64, in MB,
# estimate in brackets: MiniLM 90 -> 138 (188), SmolLM2 161 -> 283 (276), Phi-3 2,723 -> 3,360
# (3,479).
_SHARE, _MORE_BYTES = 1.25, 75_000_000

# Of a decoder's weights, what 256 tokens of keys and values take with SmolLM2 and with Phi-3: 7.3 %
# of 161 MB, 7.4 % of 2,723 MB. With less it could be loaded and answer nothing.
_LEAST_CACHE_SHARE = 0.075

_MB = 1_000_000

# For a model that is just being freed: the one that waits here keeps all others waiting.
_PATIENCE_SECONDS = 1.0


def estimate(spec: ModelSpec) -> int:
    """Bytes of memory that a model takes once it is loaded, without caches."""
    return int(_SHARE * spec.weight_bytes) + _MORE_BYTES


def least_cache(spec: ModelSpec) -> int:
    """Bytes of keys and values without which a decoder is of no use."""
    return int(_LEAST_CACHE_SHARE * spec.weight_bytes)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model will take, as estimated."""

    model_id: str
    needed_bytes: int


class Budget:
    """Bytes that models and their caches may hold together; 0 is no limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._opening = threading.Lock()

    def holds(self, needed: int) -> bool:
        """Whether so many bytes are within the limit."""
        return not self.limit_bytes or needed <= self.limit_bytes

    def objection(self, claim: Claim) -> str:
        """Why a model cannot be loaded even if it were alone, and what to do; or empty."""
        if self.holds(claim.needed_bytes):
            return ""
        return f"{self._both(claim)}: raise --memory-limit-mb or choose a smaller model."

    def cache_share(self, weights: int) -> int | None:
        """Bytes that the caches beside a model's weights may take; None where nothing is limited.

        Half of what the weights leave, so that there is room for another model.
        """
        return max(0, self.limit_bytes - weights) // 2 if self.limit_bytes else None

    @contextmanager
    def room(
        self, claim: Claim, place: Resident[Any], others: Sequence[Resident[Any]]
    ) -> Generator[None]:
        """Makes room for a model that is opened within the block; it counts from then on.

        Args:
            claim: What it will take.
            place: Where it will be.
            others: Places whose models may have to leave, first to leave first.

        Raises:
            NoRoom: It would not fit if it were alone.
            Overloaded: It does not fit beside a model that is in use.
        """
        with self._opening:
            if self.limit_bytes:
                self._evict(claim, others)
            place.claimed_bytes = claim.needed_bytes
            try:
                yield
            except BaseException:
                place.claimed_bytes = 0
                raise

    def _evict(self, claim: Claim, others: Sequence[Resident[Any]]) -> None:
        if too_large := self.objection(claim):
            raise NoRoom(too_large)
        for other in others:
            if other.claimed_bytes and not self._fits(claim, others):
                other.free(patience=_PATIENCE_SECONDS)
        if not self._fits(claim, others):
            used = " and the ".join(other.name for other in others if other.claimed_bytes)
            raise Overloaded(
                f"{self._both(claim)}, of which the {used} in use has a part: call again in a "
                "moment, or raise --memory-limit-mb."
            )

    def _both(self, claim: Claim) -> str:
        return (
            f"{claim.model_id} takes about {math.ceil(claim.needed_bytes / _MB):,} MB of memory "
            f"and models may take {self.limit_bytes // _MB:,} MB"
        )

    def _fits(self, claim: Claim, others: Sequence[Resident[Any]]) -> bool:
        return self.holds(claim.needed_bytes + sum(other.claimed_bytes for other in others))
