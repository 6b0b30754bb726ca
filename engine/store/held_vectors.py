"""HeldVectors: vectors of one space in memory, in whatever form, following what is stored.

Rule: what one caller got is never changed. Changes are put together aside and taken over as a
whole, so that searches of several threads go on meanwhile.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.store import vector_copies
from engine.store.connection import View
from engine.store.interface import Vectors
from engine.store.vector_copies import Ids, Seen

Payload = NDArray[Any]

BLOCK = 16_384
"""Vectors in a block; their bits fit into a core's cache."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some vectors, in the order of their numbers."""

    vector_ids: Ids
    text_ids: Ids
    payload: Payload
    """[parts, vectors]."""

    def without(self, vector_ids: Ids) -> "Block":
        """What is left when some vectors, ascending, are removed."""
        low, high = np.searchsorted(vector_ids, [self.vector_ids[0], self.vector_ids[-1] + 1])
        if low == high:
            return self
        stays = ~np.isin(self.vector_ids, vector_ids[low:high])
        return Block(self.vector_ids[stays], self.text_ids[stays], self.payload[:, stays])

    def with_more(self, other: "Block") -> "Block":
        """Both in one, the other behind."""
        return Block(
            np.concatenate([self.vector_ids, other.vector_ids]),
            np.concatenate([self.text_ids, other.text_ids]),
            np.concatenate([self.payload, other.payload], axis=1),
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What vectors are held, and how."""

    space_id: int
    dimensions: int
    edition: tuple[int, int]
    """What is held is read anew when it changes."""
    payload: Callable[[Vectors], Payload]
    """Makes [parts, vectors] of float32[vectors, dimensions]."""
    kept: Callable[[View], tuple[Sequence[Block], Seen]]
    """The blocks that are there already, and what they have seen."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held at one moment."""

    blocks: tuple[Block, ...]
    seen: Seen
    edition: tuple[int, int]

    @property
    def count(self) -> int:
        """Vectors."""
        return sum(len(block.vector_ids) for block in self.blocks)


_NOTHING = Held((), Seen(0, 0), (0, 0))


class HeldVectors:
    """Keeps what was last asked for. May be asked by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = _NOTHING

    def follow(self, view: View, source: Source) -> Held:
        """The vectors as a transaction sees them."""
        with self._lock:
            held, now = self._held, vector_copies.seen(view)
            behind = now.vector_id < held.seen.vector_id or now.removal_id < held.seen.removal_id
            known = source.edition == held.edition and not behind
            found = _followed(view, source, held, now) if known else None
            if found is None:
                found = read(view, source)
            if not behind:
                self._held = found
            return found

    def forget(self) -> None:
        """Frees the memory."""
        with self._lock:
            self._held = _NOTHING


def read(view: View, source: Source) -> Held:
    """The vectors as a transaction sees them, read anew."""
    now = vector_copies.seen(view)
    blocks, seen = source.kept(view)
    found = _followed(view, source, Held(tuple(blocks), seen, source.edition), now)
    return found or Held((), now, source.edition)


def _followed(view: View, source: Source, held: Held, now: Seen) -> Held | None:
    """What is held with the changes since; None if they are not known any more."""
    if now == held.seen:
        return held
    removed = vector_copies.removed_since(view, held.seen.removal_id)
    if removed is None:
        return None
    blocks = list(_without(held.blocks, removed))
    added = vector_copies.added_since(view, source.space_id, held.seen.vector_id, source.dimensions)
    for vector_ids, text_ids, vectors in added:
        new = Block(vector_ids, text_ids, source.payload(vectors))
        if blocks and len(blocks[-1].vector_ids) + len(vector_ids) <= BLOCK:
            new = blocks.pop().with_more(new)
        blocks.append(new)
    return Held(tuple(blocks), now, held.edition)


def _without(blocks: Iterable[Block], vector_ids: Ids) -> Iterator[Block]:
    for block in blocks:
        left = block.without(vector_ids) if len(vector_ids) else block
        if len(left.vector_ids):
            yield left
