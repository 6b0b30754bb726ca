"""Budget: a limit on what models may hold in memory together, kept before one is loaded.

Knows sizes and places, no model. Rule: what does not fit beside the others makes the idle ones
leave, and is refused where that does not help; one model is opened at a time.
"""

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.errors import NoRoom, Overloaded
from engine.models.spec import ModelSpec
from engine.residency import Resident

# What opening a model takes beyond the bytes of its graph and weights: the runtime's repacked copy
# of some of the weights, and the tokenizer. Measured with ONNX Runtime 1.32 on Linux x86-64, in MB,
# estimate in brackets: MiniLM 90 -> 138 (188), SmolLM2 161 -> 283 (276), Phi-3 2,723 -> 3,360
# (3,479).
_SHARE, _MORE_BYTES = 1.25, 75_000_000

# For a model that is just being freed: the one that waits here keeps all others waiting.
_PATIENCE_SECONDS = 1.0


def estimate(spec: ModelSpec) -> int:
    """Bytes of memory that a model takes once it is loaded, without caches."""
    files = spec.onnx_file.parent.glob(f"{spec.onnx_file.name}*")
    return int(_SHARE * sum(file.stat().st_size for file in files)) + _MORE_BYTES


class Budget:
    """Bytes that models may hold together; 0 is no limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._opening = threading.Lock()

    @contextmanager
    def room(
        self, needed: int, name: str, place: Resident[Any], others: Sequence[Resident[Any]]
    ) -> Generator[None]:
        """Makes room for a model that is opened within the block; it counts from then on.

        Args:
            needed: Bytes it will take, as estimated.
            name: The model's, for people.
            place: Where it will be.
            others: Places whose models may have to leave, first to leave first.

        Raises:
            NoRoom: It would not fit if it were alone.
            Overloaded: It does not fit beside a model that is in use.
        """
        with self._opening:
            if self.limit_bytes:
                self._evict(needed, name, others)
            place.claimed_bytes = needed
            try:
                yield
            except BaseException:
                place.claimed_bytes = 0
                raise

    def _evict(self, needed: int, name: str, others: Sequence[Resident[Any]]) -> None:
        if needed > self.limit_bytes:
            raise NoRoom(
                f"{name} takes about {_mb(needed)} of memory and models may take "
                f"{_mb(self.limit_bytes)}: raise --memory-limit-mb or choose a smaller model."
            )
        for other in others:
            if self._fits(needed, others):
                return
            if other.claimed_bytes:
                other.free(patience=_PATIENCE_SECONDS)
        if not self._fits(needed, others):
            used = " and the ".join(other.name for other in others if other.claimed_bytes)
            raise Overloaded(
                f"{name} takes about {_mb(needed)} of memory, too much beside the {used} in use "
                f"where models may take {_mb(self.limit_bytes)}: call again in a moment, or raise "
                "--memory-limit-mb."
            )

    def _fits(self, needed: int, others: Sequence[Resident[Any]]) -> bool:
        return needed + sum(other.claimed_bytes for other in others) <= self.limit_bytes


def _mb(number: int) -> str:
    return f"{number / 1e6:,.0f} MB"
