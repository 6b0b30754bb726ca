"""Divides a document into pieces, which chunks are put together from.

Rule: a block is divided only where it does not fit into a chunk: at blank lines, then lines, then
sentences, then words. Where one piece ends depends on nothing but its block.
"""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple
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


class _Part(NamedTuple):
    """What a piece is divided into."""

    text: str
    line: int
    """From the first line of the piece."""
    firmness: float


_Divide = Callable[[Piece], list[_Part]]


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
        self._rooms: dict[tuple[str, ...], int] = {}
        self._titles: dict[str, int] = {}

    def sections(self) -> Generator[None, None, list[list[Piece]]]:
        """Pieces of each run of blocks below one heading, or below several with nothing between.

        Yields now and then, since a long document takes seconds.
        """
        titles = sorted({_title(block.heading) for block in self._reading.blocks})
        self._titles = dict(zip(titles, (yield from self._costs.tokens(titles)), strict=True))
        blocks = yield from self._whole_blocks()
        bounds = [0, *_section_starts(self._reading.blocks, blocks), len(blocks)]
        groups = [[block] for block in blocks]
        for divide in (_paragraphs, _lines, _parts):
            groups = yield from self._finer(groups, divide)
        return [
            [piece for group in groups[start:end] for piece in group]
            for start, end in pairwise(bounds)
        ]

    def room(self, path: tuple[str, ...]) -> int:
        """Tokens that a chunk below these headings may hold; known once there are sections."""
        if path not in self._rooms:
            self._rooms[path] = self._most - self._path_cost(path)
        return self._rooms[path]

    def _whole_blocks(self) -> Generator[None, None, list[Piece]]:
        reading = self._reading
        path: list[tuple[int, str]] = []
        pieces: list[Piece] = []
        texts = ["".join(reading.lines[block.start : block.end]) for block in reading.blocks]
        costs = yield from self._costs.of_each(texts)
        for block, text, cost in zip(reading.blocks, texts, costs, strict=True):
            heading, title = block.heading, _title(block.heading)
            if heading:
                path = [outer for outer in path if outer[0] < heading.level]
            above = self._fitting_path(tuple(text for _, text in path if text))
            if heading:
                path.append((heading.level, title))
            if heading and not heading.divides:
                above, title = self._fitting_path(tuple(text for _, text in path if text)), ""
            pieces.append(Piece(text, block.start, cost, above, self._firmness(block), title))
        return pieces

    def _firmness(self, block: Block) -> float:
        if block.heading:
            return _HEADING + 1 / min(max(block.heading.level, 1), _DEEPEST)
        return _PAGE if block.start in self._pages else _BLOCK

    def _finer(
        self, groups: list[list[Piece]], divide: _Divide
    ) -> Generator[None, None, list[list[Piece]]]:
        """With the pieces divided that are too long for a chunk."""
        parts = [
            [divide(piece) if piece.cost > self.room(piece.heading_path) else [] for piece in group]
            for group in groups
        ]
        texts = [part.text for group in parts for divided in group for part in divided]
        costs = iter((yield from self._costs.of_each(texts)))
        return [
            [
                finer
                for piece, divided in zip(group, of_group, strict=True)
                for finer in self._made(piece, divided, costs)
            ]
            for group, of_group in zip(groups, parts, strict=True)
        ]

    def _made(self, piece: Piece, parts: Sequence[_Part], costs: Iterator[int]) -> Iterator[Piece]:
        if not parts:
            yield piece
        path, heading = piece.heading_path, piece.heading
        for text, line, firmness in parts:
            yield Piece(text, piece.line + line, next(costs), path, firmness, heading)
            if heading:
                path, heading = self._fitting_path((*path, heading)), ""

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


def _paragraphs(piece: Piece) -> list[_Part]:
    lines = split_lines(piece.text)
    begun = [number for number in range(1, len(lines)) if _begins(lines, number)]
    return _divided(piece, lines, begun, _PARAGRAPH)


def _begins(lines: Sequence[str], number: int) -> bool:
    return not lines[number - 1].strip() and bool(lines[number].strip())


def _lines(piece: Piece) -> list[_Part]:
    lines = split_lines(piece.text)
    return _divided(piece, lines, range(1, len(lines)), _LINE)


def _divided(piece: Piece, lines: Sequence[str], starts: Sequence[int], kind: int) -> list[_Part]:
    """A piece divided before these of its lines; the less a line is indented, the more firmly."""
    parts: list[_Part] = []
    for start, end in pairwise([0, *starts, len(lines)]):
        firmness = kind + 1 / (2 + _indent(lines[start])) if start else piece.firmness
        text = lines[start] if end == start + 1 else "".join(lines[start:end])
        parts.append(_Part(text, start, firmness))
    return parts


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parts(piece: Piece) -> list[_Part]:
    """A long line in short parts that end with a sentence, a word or at least a character."""
    parts: list[_Part] = []
    start, firmness = 0, piece.firmness
    while len(piece.text) - start > _PART_CHARACTERS:
        end = _part_end(piece.text, start)
        parts.append(_Part(piece.text[start:end], 0, firmness))
        start, firmness = end, _PART
    parts.append(_Part(piece.text[start:], 0, firmness))
    return parts


def _part_end(line: str, start: int) -> int:
    longest = start + _PART_CHARACTERS
    for pattern in (_SENTENCE_END, _SPACE):
        found = [match.end() for match in pattern.finditer(line, start + 1, longest)]
        end = next((end for end in reversed(found) if safe_cut(line, end) == end), start)
        if end - start >= _PART_CHARACTERS // 4:
            return end
    return safe_cut(line, longest)


def _title(heading: Heading | None) -> str:
    text = heading.text if heading else ""
    return text[: safe_cut(text, _HEADING_CHARACTERS)] if len(text) > _HEADING_CHARACTERS else text
