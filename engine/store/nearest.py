"""NearestVectors: finds the texts nearest to a question, the way that suits their number.

Up to 50,000 vectors each is compared: by sqlite-vec, or, where it does not load, in memory. Above,
packed bits in memory propose and the stored vectors decide. Few texts that pass a filter are always
compared one by one. Exact scores come from `vectors.ranked`, whoever proposed.
"""

import json

import numpy as np

from engine.store import packed_bits, packed_pages, vector_copies, vector_table
from engine.store.chunk_map import Bitmap, marked
from engine.store.connection import View
from engine.store.held_vectors import Block, Held, HeldVectors, Source, read
from engine.store.interface import VectorSearch
from engine.store.packed_bits import FARTHEST
from engine.store.vector_copies import Copy, Ids, Seen
from engine.store.vectors import MARGIN, Query, Scored, decoded, ranked

EXACT_LIMIT = 50_000
"""With more vectors than these, packed bits propose. sqlite-vec needs 30 ms for so many."""

# Packed bits stay until this part of the limit is left, lest a few changes go back and forth.
_STAYING = 0.8

# So many texts are read and compared faster (5 ms) than any other way finds among them.
_FEW = 2_000

# With more removals than these, the copies are cleaned of them.
_MOST_REMOVALS = 50_000


class NearestVectors:
    """What a store searches its vectors with. May be asked by several threads at once."""

    def __init__(self, slow_reason: str, *, exact_limit: int = EXACT_LIMIT) -> None:
        """Makes one for a store.

        Args:
            slow_reason: Why sqlite-vec is not used; empty if it is.
            exact_limit: With more vectors than these, packed bits propose.
        """
        self._exact_limit = exact_limit
        self._slow_reason = slow_reason
        self._bits = HeldVectors()
        self._floats = HeldVectors()

    def search(
        self, view: View, space_id: int, query: Query, limit: int, inside: Bitmap | None
    ) -> list[Scored]:
        """The nearest texts, best first, the older one first among equals.

        Args:
            view: A reading transaction.
            space_id: The space in use.
            query: float64[dimensions], of unit length.
            limit: At least 1.
            inside: True at the texts that may answer; None for all.
        """
        if inside is not None and np.count_nonzero(inside) <= _FEW:
            return _compared(query, limit, _of_texts(view, space_id, np.nonzero(inside)[0]))
        copy = vector_copies.copies(view, "packed_bits").get(space_id)
        if copy is not None:
            held = self._bits.follow(view, packed_pages.source(view, copy))
            return _proposed(view, held, copy, query, limit, inside)
        if not self._slow_reason and vector_table.is_current(view, space_id):
            best = vector_table.nearest(view, space_id, query, limit, inside)
            if best is not None:
                return best
        return self._scanned(view, space_id, query, limit, inside)

    def changed(self, view: View, space_id: int) -> None:
        """Lets the copies of the vectors follow; belongs last into every writing transaction.

        Args:
            view: A writing transaction.
            space_id: The space in use; 0 where none is.
        """
        count = vector_copies.count(view, space_id)
        packed = vector_copies.copies(view, "packed_bits")
        for copy in packed.values():
            if vector_copies.count(view, copy.space_id) < self._exact_limit * _STAYING:
                packed_pages.drop(view, copy.space_id)
            elif copy.space_id == space_id:
                packed_pages.catch_up(view, copy)
        if space_id not in packed and count > self._exact_limit:
            packed_pages.write(view, space_id, _dimensions(view, space_id))
        if not self._slow_reason:
            self._follow_with_table(view, space_id)
        if vector_copies.logged_removals(view) > _MOST_REMOVALS:
            self.trim(view)

    def trim(self, view: View) -> None:
        """Takes what was removed out of the copies, and forgets that it was."""
        for copy in vector_copies.copies(view, "packed_bits").values():
            packed_pages.clean(view, copy)
        vector_copies.forget_removals(view)

    def remake(self, view: View, space_id: int) -> None:
        """Makes the copies anew, without the room of what is gone.

        Where no space is in use, sqlite-vec's table is made for the one that it was of.
        """
        known = vector_copies.copies(view, "vector_table")
        if self._slow_reason:
            vector_table.take_out(view)
        vector_table.drop(view)
        self.trim(view)
        self.changed(view, space_id or next(iter(known), 0))

    def way(self, view: View, space_id: int) -> tuple[VectorSearch, str]:
        """How it searches, and why not the usual way."""
        if space_id in vector_copies.copies(view, "packed_bits"):
            return "packed bits", (
                f"The index has more than {self._exact_limit:,} texts, so packed bits propose what "
                "is compared."
            )
        return "numpy" if self._slow_reason else "sqlite-vec", self._slow_reason

    def _follow_with_table(self, view: View, space_id: int) -> None:
        if space_id in vector_copies.copies(view, "packed_bits"):
            vector_table.drop(view)
            return
        known = vector_copies.copies(view, "vector_table")
        for one in [space_id] if space_id else list(known):
            dimensions = _dimensions(view, one)
            if 0 < dimensions <= vector_table.MOST_DIMENSIONS:
                vector_table.catch_up(view, one, dimensions)

    def _scanned(
        self, view: View, space_id: int, query: Query, limit: int, inside: Bitmap | None
    ) -> list[Scored]:
        """Compares with all; keeps them in memory where there is no other way."""
        source = Source(
            space_id,
            len(query),
            (space_id, 0),
            lambda vectors: np.ascontiguousarray(vectors.T),
            lambda view: ((), Seen(0, vector_copies.seen(view).removal_id)),
        )
        held = self._floats.follow(view, source) if self._slow_reason else read(view, source)
        return _exact(held, query, limit, inside)


def _proposed(
    view: View, held: Held, copy: Copy, query: Query, limit: int, inside: Bitmap | None
) -> list[Scored]:
    """By packed bits, then exactly: first the bits are counted, then few are looked at closer."""
    wanted = _wanted(held.count, limit)
    question = packed_bits.packed(query[None], copy.centre)
    far = np.empty(held.count, np.uint16)
    start = 0
    for block in held.blocks:
        part = far[start : start + len(block.vector_ids)]
        packed_bits.distances(block.payload, question, part)
        if inside is not None:
            np.putmask(part, ~marked(inside, block.text_ids), FARTHEST)
        start += len(part)
    near = _gathered(held, packed_bits.closest(far, _looked_at(held.count, wanted)))
    likeness = packed_bits.likeness(near.payload, query)
    best = np.argpartition(-likeness, wanted)[:wanted] if wanted < len(likeness) else slice(None)
    return _compared(query, limit, _of_numbers(view, np.sort(near.vector_ids[best])))


def _wanted(count: int, limit: int) -> int:
    """How many to compare exactly: 20 a place or fewer, and more among more vectors."""
    return max(min(20 * limit, 1_600 + 2 * limit), min(max(count // 500, 500), 1_500))


def _looked_at(count: int, wanted: int) -> int:
    """How many to look at closer, so that those to compare are among them."""
    return max(4 * wanted, min(10 * wanted, count // 20))


def _gathered(held: Held, places: Ids) -> Block:
    """The vectors at some places, ascending, out of all blocks."""
    parts: list[Block] = []
    start = 0
    for block in held.blocks:
        end = start + len(block.vector_ids)
        low, high = np.searchsorted(places, [start, end])
        rows = places[low:high] - start
        parts.append(Block(block.vector_ids[rows], block.text_ids[rows], block.payload[:, rows]))
        start = end
    return Block(
        np.concatenate([part.vector_ids for part in parts]),
        np.concatenate([part.text_ids for part in parts]),
        np.concatenate([part.payload for part in parts], axis=1),
    )


def _exact(held: Held, query: Query, limit: int, inside: Bitmap | None) -> list[Scored]:
    """The best of vectors held as float32[dimensions, vectors]."""
    if not held.blocks:
        return []
    asked = query.astype(np.float32)
    scores = np.concatenate([asked @ block.payload for block in held.blocks])
    if inside is not None:
        text_ids = np.concatenate([block.text_ids for block in held.blocks])
        scores[~marked(inside, text_ids)] = -np.inf
    last = np.partition(scores, -limit)[-limit] if limit < len(scores) else -np.inf
    near = _gathered(held, np.nonzero((scores >= last - MARGIN) & (scores > -np.inf))[0])
    return ranked(query, near.text_ids, np.ascontiguousarray(near.payload.T), limit)


def _of_texts(view: View, space_id: int, text_ids: Ids) -> list[tuple[int, bytes]]:
    """Stored vectors of texts; those without one are left out."""
    return view.rows(
        "SELECT v.text_id, v.vector FROM json_each(?) CROSS JOIN vectors AS v "
        "ON v.text_id = value AND v.space_id = ?",
        [json.dumps(text_ids.tolist()), space_id],
    )


def _of_numbers(view: View, vector_ids: Ids) -> list[tuple[int, bytes]]:
    """Stored vectors by their numbers; those that are gone are left out."""
    return view.rows(
        "SELECT v.text_id, v.vector FROM json_each(?) CROSS JOIN vectors AS v "
        "ON v.vector_id = value",
        [json.dumps(vector_ids.tolist())],
    )


def _compared(query: Query, limit: int, stored: list[tuple[int, bytes]]) -> list[Scored]:
    text_ids = np.fromiter((row[0] for row in stored), np.int64, len(stored))
    return ranked(query, text_ids, decoded([row[1] for row in stored], len(query)), limit)


def _dimensions(view: View, space_id: int) -> int:
    sql = "SELECT dimensions FROM spaces WHERE space_id = ?"
    return int(view.value(sql, [space_id]) or 0)
