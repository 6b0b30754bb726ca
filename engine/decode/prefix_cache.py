"""PrefixCache: what was computed for prompts, kept under a byte budget for those that begin alike.

Knows token ids and sizes; what it holds is opaque to it. Knows no model, and no lock: whoever
shares it between threads holds one.
Rule: the least recently used go first, and no entry is the beginning of another one.

A call compares the ids with those of every entry: 4 us an entry of 4,000 tokens, and 130 us to make
an array of so long a list (Linux x86-64). A budget in bytes holds few entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

Held = TypeVar("Held")


@dataclass(frozen=True, slots=True, eq=False)
class Prefix(Generic[Held]):
    """One kept beginning of a prompt."""

    ids: Ids
    arrays: Held
    """What was computed for these ids, as it was handed in."""
    size_bytes: int


class PrefixCache(Generic[Held]):
    """Beginnings of prompts, each with what was computed for it."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        """Entries never take more together; 0 keeps none."""
        self._entries: list[Prefix[Held]] = []
        """The least recently used first."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What the entries take together, by the sizes handed in."""
        return sum(entry.size_bytes for entry in self._entries)

    def clear(self) -> None:
        """Forgets every entry."""
        self._entries.clear()

    def longest(self, ids: Sequence[int] | Ids) -> tuple[Prefix[Held] | None, int]:
        """The entry that shares the longest beginning with ids, which is used by that.

        Returns:
            The entry, of several the most recently used, and how many tokens are shared. It may
            have more tokens than that: the reader takes what belongs to the first ones. None and 0
            where no entry begins alike.
        """
        wanted = _array(ids)
        shared = [shared_length(entry.ids, wanted) for entry in self._entries]
        length = max(shared, default=0)
        if not length:
            return None, 0
        last = len(shared) - 1 - shared[::-1].index(length)
        return self._use(self._entries[last]), length

    def put(self, ids: Sequence[int] | Ids, arrays: Held, size_bytes: int) -> bool:
        """Keeps what was computed for ids, in place of every entry that is a beginning of them.

        Returns:
            Whether it is kept. It is not where an entry, used by that, begins with all of ids, and
            where it is larger than the whole budget.
        """
        added = Prefix(_array(ids).copy(), arrays, size_bytes)
        found, length = self.longest(added.ids)
        if length == len(added.ids) or size_bytes > self.limit_bytes:
            return False
        if found is not None:
            self._entries = [entry for entry in self._entries if not _begins(entry, added.ids)]
        self._entries.append(added)
        while self.bytes > self.limit_bytes:
            del self._entries[0]
        return True

    def _use(self, entry: Prefix[Held]) -> Prefix[Held]:
        self._entries.remove(entry)
        self._entries.append(entry)
        return entry


def _array(ids: Sequence[int] | Ids) -> Ids:
    return np.asarray(ids, np.int64)


def _begins(entry: Prefix[Held], ids: Ids) -> bool:
    return shared_length(entry.ids, ids) == len(entry.ids)


def shared_length(one: Ids, other: Ids) -> int:
    """How many ids two sequences begin with alike."""
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    first = int(differ.argmax()) if length else 0
    return first if length and differ[first] else length
