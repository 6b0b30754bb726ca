"""Divides a document into pieces, which chunks are put together from.

Rule: a block is divided only where it does not fit into a chunk: at blank lines, then lines, then
sentences, then words. Where one piece ends depends on nothing but its block.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from zlib import crc32

from engine.documents.costs import Costs
from engine.documents.graphemes import safe_cut
from engine.documents.readers.interface import Block, Heading, Reading, split_lines

# Pieces of a line that is too long for one chunk.
_PART_CHARACTERS = 240
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]")
_SPACE = re.compile(r"\s+")

_HEADING_CHARACTERS = 120

# How firmly a piece is set apart from the one before, by what begins there.
_WORDLESS, _PART, _LINE, _PARAGRAPH, _BLOCK, _PAGE, _HEADING = range(7)
_DEEPEST = 20

_UNCOUNTED = -1

# What tells pieces apart; an edit further behind moves no cut.
_TELLING_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """What is never divided when chunks are filled."""

    text: str
    line: int
    """0-based number of the line it begins in."""
    cost: int
    """Tokens it fills; 0 if it has no words."""
    heading_path: tuple[str, ...]
    """The headings above it, and the name that it begins with if that does not divide."""
    firmness: float
    """How firmly it is set apart from the piece before; the higher, the better a place to cut."""
    heading: str = ""
    """The one that it begins with, if that divides: it is above what follows in the piece."""

    @property
    def rank(self) -> tuple[float, int]:
        """Which places to cut at are given up first: the less firm ones, else by a hash of what
        stands there, so that the same text is cut in the same places whatever lies around it."""
        if not self.cost:
            return _WORDLESS, 0
        return self.firmness, crc32(self.text[:_TELLING_CHARACTERS].encode("utf-8", "replace"))


class Divider:
    """Divides one document."""

    def __init__(self, reading: Reading, costs: Costs, most: int) -> None:
        """Args:
        reading: The document.
        costs: How the embedder counts.
        most: Tokens of the longest chunk, headings above it included.
        """
        self._reading = reading
        self._costs = costs
        self._most = most
        self._pages = frozenset(reading.pages)
        titles = sorted({_title(block.heading) for block in reading.blocks})
        self._titles = dict(zip(titles, costs.tokens(titles), strict=True))

    def sections(self) -> Iterator[list[Piece]]:
        """Pieces of each run of blocks below one heading, or below several with nothing between."""
        divided = self._costed([[piece] for piece in self._whole_blocks()])
        starts = _section_starts(self._reading.blocks, [piece for (piece,) in divided])
        bounds = [0, *starts, len(divided)]
        for divide in (_paragraphs, _lines, _parts):
            finer = [
                [p for piece in group for p in self._finer(piece, divide)] for group in divided
            ]
            divided = self._costed(finer)
        for start, end in pairwise(bounds):
            yield [piece for group in divided[start:end] for piece in group]

    def room(self, path: tuple[str, ...]) -> int:
        """Tokens that a chunk below these headings may hold."""
        return self._most - self._path_cost(path)

    def _whole_blocks(self) -> Iterator[Piece]:
        path: list[tuple[int, str]] = []
        lines = self._reading.lines
        for block in self._reading.blocks:
            heading, title = block.heading, _title(block.heading)
            if heading:
                path = [outer for outer in path if outer[0] < heading.level]
            above = self._fitting_path(tuple(text for _, text in path if text))
            if heading:
                path.append((heading.level, title))
            if heading and not heading.divides:
                above, title = self._fitting_path(tuple(text for _, text in path if text)), ""
            text = "".join(lines[block.start : block.end])
            yield Piece(text, block.start, _UNCOUNTED, above, self._firmness(block), title)

    def _firmness(self, block: Block) -> float:
        if block.heading:
            return _HEADING + 1 / min(max(block.heading.level, 1), _DEEPEST)
        return _PAGE if block.start in self._pages else _BLOCK

    def _finer(self, piece: Piece, divide: Callable[[Piece], list[Piece]]) -> list[Piece]:
        """A piece divided if it is too long for a chunk."""
        if piece.cost <= self.room(piece.heading_path):
            return [piece]
        first, *rest = divide(piece)
        if not rest:
            return [piece]
        path = piece.heading_path
        if piece.heading:
            path = self._fitting_path((*path, piece.heading))
        below = [replace(part, cost=_UNCOUNTED, heading_path=path, heading="") for part in rest]
        return [replace(first, cost=_UNCOUNTED), *below]

    def _costed(self, groups: list[list[Piece]]) -> list[list[Piece]]:
        """With the costs of those that are not counted yet."""
        texts = [piece.text for group in groups for piece in group if piece.cost == _UNCOUNTED]
        costs = iter(self._costs.of_each(texts))
        return [
            [replace(p, cost=next(costs)) if p.cost == _UNCOUNTED else p for p in group]
            for group in groups
        ]

    def _path_cost(self, path: tuple[str, ...]) -> int:
        return sum(self._titles[title] + 1 for title in path)

    def _fitting_path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The innermost headings that leave two thirds of a chunk to its text."""
        while 3 * self._path_cost(path) > self._most:
            path = path[1:]
        return path


def _section_starts(blocks: Sequence[Block], pieces: Sequence[Piece]) -> Iterator[int]:
    """Numbers of the blocks whose headings divide what has words before from what follows."""
    has_body = False
    for number, (block, piece) in enumerate(zip(blocks, pieces, strict=True)):
        if block.heading and block.heading.divides:
            if has_body:
                yield number
            has_body = False
        elif piece.cost:
            has_body = True


def _paragraphs(piece: Piece) -> list[Piece]:
    lines = split_lines(piece.text)
    begun = [number for number in range(1, len(lines)) if _begins(lines, number)]
    return _divided(piece, lines, begun, _PARAGRAPH)


def _begins(lines: Sequence[str], number: int) -> bool:
    return not lines[number - 1].strip() and bool(lines[number].strip())


def _lines(piece: Piece) -> list[Piece]:
    lines = split_lines(piece.text)
    return _divided(piece, lines, range(1, len(lines)), _LINE)


def _divided(piece: Piece, lines: Sequence[str], starts: Sequence[int], kind: int) -> list[Piece]:
    """A piece divided before these of its lines; the less a line is indented, the more firmly."""
    parts: list[Piece] = []
    for start, end in pairwise([0, *starts, len(lines)]):
        firmness = kind + 1 / (2 + _indent(lines[start])) if start else piece.firmness
        text = "".join(lines[start:end])
        parts.append(replace(piece, text=text, line=piece.line + start, firmness=firmness))
    return parts


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parts(piece: Piece) -> list[Piece]:
    """A long line in short parts that end with a sentence, a word or at least a character."""
    texts: list[str] = []
    start = 0
    while len(piece.text) - start > _PART_CHARACTERS:
        end = _part_end(piece.text, start)
        texts.append(piece.text[start:end])
        start = end
    texts.append(piece.text[start:])
    first, *rest = [replace(piece, text=text) for text in texts]
    return [first, *(replace(part, firmness=_PART) for part in rest)]


def _part_end(line: str, start: int) -> int:
    longest = start + _PART_CHARACTERS
    for pattern in (_SENTENCE_END, _SPACE):
        found = [match.end() for match in pattern.finditer(line, start + 1, longest)]
        ends = [end for end in found if safe_cut(line, end) == end]
        if ends and ends[-1] - start >= _PART_CHARACTERS // 4:
            return ends[-1]
    return safe_cut(line, longest)


def _title(heading: Heading | None) -> str:
    text = heading.text if heading else ""
    return text[: safe_cut(text, _HEADING_CHARACTERS)] if len(text) > _HEADING_CHARACTERS else text
