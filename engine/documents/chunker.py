"""Cuts a document into chunks that fit the embedder.

Knows the embedder only by how it counts tokens.
Rule: chunks tile the text; none spans two sections, none is without words, what belongs together is
divided only where it does not fit, and an edit changes few chunks but those it is in.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from engine.corpus import Chunk
from engine.documents.costs import Costs, CountTokens
from engine.documents.graphemes import safe_cut
from engine.documents.joining import joined
from engine.documents.pieces import Divider, Piece
from engine.documents.readers.interface import Reading

_RULES = 2
"""A new number for every change makes all documents be cut anew."""

# Longer chunks blur what they are about; 256 to 400 tokens is where retrieval is best, and the
# average is 73 % of the longest.
_MOST_TOKENS = 440


def chunking(max_tokens: int) -> int:
    """A number for how documents are cut: others for other rules, and for other longest chunks."""
    return _RULES + 1000 * (_MOST_TOKENS - _most(max_tokens))


def cutting(
    reading: Reading, count_tokens: CountTokens, max_tokens: int
) -> Generator[None, None, list[Chunk]]:
    """Cuts a document.

    Closing the generator gives it up.

    Args:
        reading: The document.
        count_tokens: How the embedder counts.
        max_tokens: What it takes of one text, special tokens left out.

    Yields:
        Several times a second where it takes that long.

    Returns:
        The chunks in order; none if the document has no words. Only a single character that is
        longer than `max_tokens` by itself makes a chunk that is longer.
    """
    most = _most(max_tokens)
    costs = Costs(count_tokens, most)
    divider = Divider(reading, costs, most)
    sections = yield from divider.sections()
    groups = _without_wordless(_groups(divider, sections))
    fitting = yield from _fitting(groups, costs, max_tokens)
    return list(_chunks(reading, fitting))


def cut(reading: Reading, count_tokens: CountTokens, max_tokens: int) -> list[Chunk]:
    """The same at once."""
    steps = cutting(reading, count_tokens, max_tokens)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _most(max_tokens: int) -> int:
    return max(1, min(max_tokens, _MOST_TOKENS))


def _groups(divider: Divider, sections: Iterable[list[Piece]]) -> Iterator[list[Piece]]:
    for pieces in sections:
        yield from joined(pieces, [divider.room(piece.heading_path) for piece in pieces])


def _without_wordless(groups: Iterator[list[Piece]]) -> list[list[Piece]]:
    """Groups without words join the one before, or after; if there is no other, nothing is left."""
    kept: list[list[Piece]] = []
    for group in groups:
        if kept and not (_has_words(group) and _has_words(kept[-1])):
            kept[-1] = kept[-1] + group
        else:
            kept.append(group)
    return kept if kept and _has_words(kept[0]) else []


def _fitting(
    groups: Sequence[list[Piece]], costs: Costs, max_tokens: int
) -> Generator[None, None, list[tuple[list[Piece], int]]]:
    """Groups with their true token counts, divided further where the estimate was wrong."""
    counts = yield from costs.tokens([_chunk(group).embedded_text for group in groups])
    fitting: list[tuple[list[Piece], int]] = []
    for group, count in zip(groups, counts, strict=True):
        halves = _halves(group) if count > max_tokens else []
        if halves:
            fitting += yield from _fitting(halves, costs, max_tokens)
        else:
            fitting.append((group, count))
    return fitting


def _chunks(reading: Reading, groups: Iterable[tuple[list[Piece], int]]) -> Iterator[Chunk]:
    byte_start = reading.byte_start
    for ordinal, (group, tokens) in enumerate(groups):
        chunk = _chunk(group)
        byte_end = byte_start + len(chunk.text.encode(reading.encoding or "utf-8"))
        first = group[0].line
        last = first + chunk.text.count("\n") - chunk.text.endswith("\n")
        yield replace(
            chunk,
            ordinal=ordinal,
            line_start=first + 1,
            line_end=last + 1,
            byte_start=byte_start,
            byte_end=byte_end,
            token_count=tokens,
            page_start=_page(reading, first),
            page_end=_page(reading, last),
        )
        byte_start = byte_end


def _chunk(group: list[Piece]) -> Chunk:
    """A chunk that does not know yet where it is: its text and the headings above all of it."""
    text = "".join(piece.text for piece in group)
    outermost, innermost = (pick(piece.heading_path for piece in group) for pick in (min, max))
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(outermost, innermost, strict=False))
    return Chunk(0, text, tuple(title for title, _ in alike), 0, 0, 0, 0, 0)


def _page(reading: Reading, line: int) -> int:
    """1-based page of a line, 0 where there are none."""
    return max(1, bisect_right(reading.pages, line)) if reading.pages else 0


def _has_words(group: list[Piece]) -> bool:
    return any(piece.cost for piece in group)


def _halves(group: list[Piece]) -> list[list[Piece]]:
    """A group as two that both have words, or nothing if it is a single character."""
    worded = [number for number, piece in enumerate(group) if piece.cost]
    middle = worded[len(worded) // 2]
    if len(worded) > 1:
        return [group[:middle], group[middle:]]
    piece = group[middle]
    start, end = len(piece.text) - len(piece.text.lstrip()), len(piece.text.rstrip())
    place = safe_cut(piece.text, (start + end) // 2)
    if not start < place < end:
        return []
    before = replace(piece, text=piece.text[:place])
    line = piece.line + before.text.count("\n")
    after = replace(piece, text=piece.text[place:], line=line)
    return [[*group[:middle], before], [after, *group[middle + 1 :]]]
