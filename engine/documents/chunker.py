"""Cuts a document into chunks that fit the embedder.

Knows the embedder only by how it counts tokens.
Rule: chunks tile the text; none spans two sections, none is without words, and what belongs
together is divided only where it does not fit: at blank lines, then lines, sentences, words.
"""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.corpus import Chunk
from engine.documents.graphemes import safe_cut
from engine.documents.readers.interface import Block, Reading

CHUNKING = 1
"""Number of these rules; a new one for every change makes all documents be cut anew."""

CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text, special tokens left out."""

# Longer chunks blur what they are about; 256 to 400 tokens is where retrieval is best.
_MOST_TOKENS = 384

# A text counts as one token for this many characters at least, however few the model sees in it:
# a word of 1 MB is a single unknown token to WordPiece.
_CHARACTERS_PER_TOKEN = 10

# Pieces of a line that is too long for one chunk.
_PIECE_CHARACTERS = 240
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]")
_SPACE = re.compile(r"\s+")

_HEADING_CHARACTERS = 120

# Texts given to the tokenizer at once, whose encodings are in memory together: with all 300,000
# lines of a file of 2 MB, indexing it took 486 MB; so, 134 MB.
_TEXTS_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is never divided when chunks are filled."""

    text: str
    line: int
    """0-based number of the line it begins in."""
    cost: int
    """Tokens it fills; 0 if it has no words."""
    heading_path: tuple[str, ...]


def cut(reading: Reading, count_tokens: CountTokens, max_tokens: int) -> list[Chunk]:
    """Cuts a document.

    Args:
        reading: The document.
        count_tokens: How the embedder counts.
        max_tokens: What it takes of one text, special tokens left out.

    Returns:
        The chunks in order; none if the document has no words. Only a single character that is
        longer than `max_tokens` by itself makes a chunk that is longer.
    """
    cutter = _Cutter(reading, count_tokens, max_tokens)
    groups = _without_wordless(cutter.groups())
    return _chunks(reading, list(cutter.fitting(groups)))


class _Cutter:
    """One document on its way: token counts of its lines and headings, each counted once."""

    def __init__(self, reading: Reading, count_tokens: CountTokens, max_tokens: int) -> None:
        self._reading = reading
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._most = max(1, min(max_tokens, _MOST_TOKENS))
        self._costs = self._cost_of_each(reading.lines)
        titles = sorted({_title(block) for block in reading.blocks})
        self._titles = dict(zip(titles, self._counted(titles), strict=True))

    def groups(self) -> Iterator[list[_Piece]]:
        """Pieces that make a chunk each, by their estimated costs."""
        for section in self._sections():
            group: list[_Piece] = []
            filled = 0
            for piece in section:
                room = self._room(group[0].heading_path) if group else 0
                if filled and piece.cost and filled + piece.cost > room:
                    yield group
                    group, filled = [], 0
                group.append(piece)
                filled += piece.cost
            if group:
                yield group

    def fitting(self, groups: Sequence[list[_Piece]]) -> Iterator[tuple[list[_Piece], int]]:
        """Groups with their true token counts, divided further where the estimate was wrong."""
        counts = self._counted([_embedded(group) for group in groups])
        for group, count in zip(groups, counts, strict=True):
            halves = _halves(group) if count > self._max_tokens else []
            if halves:
                yield from self.fitting(halves)
            else:
                yield group, count

    def _sections(self) -> Iterator[list[_Piece]]:
        """Pieces of each run of blocks below one heading, or below several with nothing between."""
        section: list[_Piece] = []
        has_body = False
        path: list[tuple[int, str]] = []
        for block in self._reading.blocks:
            if block.heading:
                if has_body:
                    yield section
                    section, has_body = [], False
                level = block.heading.level
                path = [outer for outer in path if outer[0] < level]
            heading_path = self._fitting_path(tuple(title for _, title in path if title))
            pieces = list(self._pieces(block.start, block.end, heading_path))
            section += pieces
            if block.heading:
                path.append((block.heading.level, _title(block)))
            else:
                has_body = has_body or any(piece.cost for piece in pieces)
        yield section

    def _pieces(
        self, start: int, end: int, path: tuple[str, ...], *, by_paragraph: bool = True
    ) -> Generator[_Piece]:
        """The lines from `start` to `end`, whole if they fit, else divided as finely as needed."""
        lines = self._reading.lines
        cost = sum(self._costs[start:end])
        if cost <= self._room(path):
            yield _Piece("".join(lines[start:end]), start, cost, path)
        elif by_paragraph:
            for first, last in _paragraphs(lines, start, end):
                yield from self._pieces(first, last, path, by_paragraph=False)
        elif end - start > 1:
            for number in range(start, end):
                yield from self._pieces(number, number + 1, path, by_paragraph=False)
        else:
            parts = list(_parts(lines[start]))
            for part, part_cost in zip(parts, self._cost_of_each(parts), strict=True):
                yield _Piece(part, start, part_cost, path)

    def _room(self, path: tuple[str, ...]) -> int:
        return self._most - self._path_cost(path)

    def _path_cost(self, path: tuple[str, ...]) -> int:
        return sum(self._titles[title] + 1 for title in path)

    def _fitting_path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The innermost headings that leave two thirds of a chunk to its text."""
        while 3 * self._path_cost(path) > self._most:
            path = path[1:]
        return path

    def _cost_of_each(self, texts: Sequence[str]) -> list[int]:
        """Tokens each text fills; what is certainly too long for a chunk is not even counted."""
        words = [text.strip() for text in texts]
        longest = self._most * _CHARACTERS_PER_TOKEN
        counted = sorted({text for text in words if 0 < len(text) <= longest})
        counts = dict(zip(counted, self._counted(counted), strict=True))
        return [_cost(text, counts.get(text)) for text in words]

    def _counted(self, texts: Sequence[str]) -> list[int]:
        slices = range(0, len(texts), _TEXTS_COUNTED)
        return [n for at in slices for n in self._count_tokens(texts[at : at + _TEXTS_COUNTED])]


def _cost(words: str, tokens: int | None) -> int:
    """Tokens that words fill; None for what was not counted because it is blank or too long."""
    if not words or tokens == 0:
        return 0
    return max(tokens or 0, len(words) // _CHARACTERS_PER_TOKEN + 1)


def _chunks(reading: Reading, groups: Sequence[tuple[list[_Piece], int]]) -> list[Chunk]:
    chunks: list[Chunk] = []
    byte_start = reading.byte_start
    for ordinal, (group, tokens) in enumerate(groups):
        text = _text(group)
        byte_end = byte_start + len(text.encode(reading.encoding))
        first = group[0].line + 1
        last = first + text.count("\n") - text.endswith("\n")
        path = group[0].heading_path
        chunks.append(Chunk(ordinal, text, path, first, last, byte_start, byte_end, tokens))
        byte_start = byte_end
    return chunks


def _without_wordless(groups: Iterator[list[_Piece]]) -> list[list[_Piece]]:
    """Groups without words join the one before, or after; if there is no other, nothing is left."""
    kept: list[list[_Piece]] = []
    for group in groups:
        if kept and not (_has_words(group) and _has_words(kept[-1])):
            kept[-1] = kept[-1] + group
        else:
            kept.append(group)
    return kept if kept and _has_words(kept[0]) else []


def _has_words(group: list[_Piece]) -> bool:
    return any(piece.cost for piece in group)


def _halves(group: list[_Piece]) -> list[list[_Piece]]:
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


def _paragraphs(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    first = start
    for number in range(start + 1, end):
        if lines[number].strip() and not lines[number - 1].strip():
            yield first, number
            first = number
    yield first, end


def _parts(line: str) -> Iterator[str]:
    """A long line in short parts that end with a sentence, a word or at least a character."""
    start = 0
    while len(line) - start > _PIECE_CHARACTERS:
        end = _part_end(line, start)
        yield line[start:end]
        start = end
    if start < len(line):
        yield line[start:]


def _part_end(line: str, start: int) -> int:
    longest = start + _PIECE_CHARACTERS
    for pattern in (_SENTENCE_END, _SPACE):
        found = [match.end() for match in pattern.finditer(line, start + 1, longest)]
        ends = [end for end in found if safe_cut(line, end) == end]
        if ends and ends[-1] - start >= _PIECE_CHARACTERS // 4:
            return ends[-1]
    return safe_cut(line, longest)


def _title(block: Block) -> str:
    text = block.heading.text if block.heading else ""
    return text[: safe_cut(text, _HEADING_CHARACTERS)] if len(text) > _HEADING_CHARACTERS else text


def _text(group: list[_Piece]) -> str:
    return "".join(piece.text for piece in group)


def _embedded(group: list[_Piece]) -> str:
    return Chunk(0, _text(group), group[0].heading_path, 0, 0, 0, 0, 0).embedded_text
