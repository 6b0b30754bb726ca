"""PackedPages: packed bits in the file, so that a large index can be searched as soon as opened.

Rule: a page is written when enough vectors have come to fill it; those behind the last page are
read one by one. What is removed later stays in its page until the log of removals is emptied.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from engine.store import vector_copies
from engine.store.connection import View
from engine.store.held_vectors import BLOCK, Block, Source, read
from engine.store.interface import Vectors
from engine.store.packed_bits import packed
from engine.store.vector_copies import Copy, Seen

# The centre is the mean of at most about so many vectors, taken from all over the space.
_CENTRE_OF = 50_000

# Once there are so many times the vectors of which the centre was made, it is made anew.
_GROWTH = 4


def source(view: View, copy: Copy) -> Source:
    """How the bits of a space are held in memory."""
    centre = copy.centre
    return Source(
        copy.space_id,
        len(centre),
        (copy.space_id, zlib.crc32(centre.tobytes())),
        lambda vectors: packed(vectors, centre),
        lambda view: _kept(view, copy),
    )


def write(view: View, space_id: int, dimensions: int) -> None:
    """Packs all vectors of a space anew."""
    drop(view, space_id)
    now = vector_copies.seen(view)
    centre = _centre(view, space_id, dimensions)
    copy = Copy(space_id, now, vector_copies.count(view, space_id), centre)
    vector_copies.put(view, "packed_bits", copy)
    _fill(view, copy, 0)


def catch_up(view: View, copy: Copy) -> None:
    """Packs what came since, if it fills a page."""
    if vector_copies.count(view, copy.space_id) > _GROWTH * copy.first_count:
        write(view, copy.space_id, len(copy.centre))
        return
    last = _last(view, copy.space_id)
    if vector_copies.seen(view).vector_id - last >= BLOCK:
        _fill(view, copy, last)


def clean(view: View, copy: Copy) -> None:
    """Takes out of the pages what was removed since they were written."""
    held = read(view, source(view, copy))
    last = _last(view, copy.space_id)
    drop(view, copy.space_id)
    vector_copies.put(
        view,
        "packed_bits",
        Copy(copy.space_id, vector_copies.seen(view), copy.first_count, copy.centre),
    )
    for block in held.blocks:
        if block.vector_ids[-1] <= last:
            _put(view, copy.space_id, block)


def drop(view: View, space_id: int) -> None:
    """Removes the pages of a space."""
    view.rows("DELETE FROM packed_pages WHERE space_id = ?", [space_id])
    vector_copies.drop(view, "packed_bits", space_id)


def _fill(view: View, copy: Copy, last: int) -> None:
    """Writes full pages of the vectors behind a number; the rest waits."""
    waiting: Block | None = None
    dimensions = len(copy.centre)
    for vector_ids, text_ids, vectors in vector_copies.added_since(
        view, copy.space_id, last, dimensions
    ):
        block = Block(vector_ids, text_ids, packed(vectors, copy.centre))
        waiting = waiting.with_more(block) if waiting else block
        if len(waiting.vector_ids) >= BLOCK:
            _put(view, copy.space_id, waiting)
            waiting = None


def _put(view: View, space_id: int, block: Block) -> None:
    view.rows(
        "INSERT INTO packed_pages (space_id, last_vector_id, vector_ids, text_ids, bits) "
        "VALUES (?, ?, ?, ?, ?)",
        [
            space_id,
            int(block.vector_ids[-1]),
            block.vector_ids.astype("<i8").tobytes(),
            block.text_ids.astype("<i8").tobytes(),
            block.payload.astype("<u8").tobytes(),
        ],
    )


def _kept(view: View, copy: Copy) -> tuple[Sequence[Block], Seen]:
    rows = view.stream(
        "SELECT vector_ids, text_ids, bits FROM packed_pages WHERE space_id = ? "
        "ORDER BY last_vector_id",
        [copy.space_id],
    )
    blocks = [
        Block(
            np.frombuffer(vector_ids, "<i8"),
            np.frombuffer(text_ids, "<i8"),
            np.frombuffer(bits, "<u8").reshape(-1, len(vector_ids) // 8),
        )
        for vector_ids, text_ids, bits in rows
    ]
    last = int(blocks[-1].vector_ids[-1]) if blocks else 0
    return blocks, Seen(last, copy.seen.removal_id)


def _last(view: View, space_id: int) -> int:
    sql = "SELECT max(last_vector_id) FROM packed_pages WHERE space_id = ?"
    return int(view.value(sql, [space_id]) or 0)


def _centre(view: View, space_id: int, dimensions: int) -> Vectors:
    step = max(1, vector_copies.count(view, space_id) // _CENTRE_OF)
    total, count = np.zeros(dimensions), 0
    rows = view.stream(
        "SELECT vector FROM vectors WHERE space_id = ? AND vector_id % ? = 0", [space_id, step]
    )
    for (vector,) in rows:
        total += np.frombuffer(vector, "<f4")
        count += 1
    return (total / max(count, 1)).astype("<f4")
