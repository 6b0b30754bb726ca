"""Extraction: text on its way out of a document of another format, with its blocks.

What a document holds in parts is added part by part, so that a fence left open or a heading's
underline in one changes nothing in the next.
"""

import re
from collections.abc import Mapping

from engine.documents.readers.interface import Block, Heading, Reader, Reading, Unreadable
from engine.documents.readers.markdown import read_markdown
from engine.documents.readers.plain import read_text

# Some 10,000 pages: more is a bomb or data, and would be embedded for an hour.
_MOST_CHARACTERS = 20_000_000

_CONTROL = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\t", "\n"}
_NO_CHARACTERS = [*map(chr, range(0xD800, 0xE000)), "\ufffe", "\uffff"]
_UNFIT = str.maketrans({**dict.fromkeys(_CONTROL), **dict.fromkeys(_NO_CHARACTERS, "\ufffd")})

_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile(r"(?:[ \t]*\n){3,}")
_TICKS = re.compile(r"`{3,}")


class Extraction:
    """Gathers the parts of one document."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._blocks: list[Block] = []
        self._pages: list[int] = []
        self._characters = 0

    @property
    def is_blank(self) -> bool:
        """Whether nothing was added yet but blank lines."""
        return not any(line.strip() for line in self._lines)

    def begin_page(self) -> None:
        """Begins the next page."""
        self._pages.append(len(self._lines))

    def add_heading(self, level: int, line: str) -> None:
        """Adds a line that is a heading; one without words is left out."""
        if line := " ".join(cleaned(line).split()):
            self._add(read_text(f"{line}\n\n".encode()), Heading(level, line))

    def add_text(self, text: str) -> None:
        """Adds prose."""
        self._add_part(text, read_text)

    def add_markdown(self, text: str) -> None:
        """Adds what was written in Markdown, or made so."""
        self._add_part(text, read_markdown)

    def add_code(self, code: str, language: str = "") -> None:
        """Adds lines that are kept as they are and stay together where they fit."""
        longest = max((len(ticks) for ticks in _TICKS.findall(code)), default=2)
        fence = "`" * (longest + 1)
        if code.strip():
            self.add_markdown(f"{fence}{language}\n{code.rstrip()}\n{fence}")

    def reading(self, metadata: Mapping[str, str] | None = None) -> Reading:
        """All that was added."""
        lines = tuple(self._lines)
        pages, blocks = tuple(self._pages), tuple(self._blocks)
        said = {name: cleaned(value) for name, value in (metadata or {}).items()}
        return Reading("".join(lines), "", 0, lines, blocks, pages, said)

    def _add_part(self, text: str, read: Reader) -> None:
        if part := _BLANK_LINES.sub("\n\n", cleaned(text)).strip("\n").rstrip():
            self._add(read(f"{part}\n\n".encode()))

    def _add(self, part: Reading, heading: Heading | None = None) -> None:
        self._characters += len(part.text)
        if self._characters > _MOST_CHARACTERS:
            raise Unreadable(f"it holds more than {_MOST_CHARACTERS // 10**6} MB of text")
        start = len(self._lines)
        self._lines += part.lines
        self._blocks += [
            Block(start + block.start, start + block.end, heading or block.heading)
            for block in part.blocks
        ]


def cleaned(text: str) -> str:
    """Text with line feeds for line ends, without control characters and lone surrogates."""
    return _LINE_END.sub("\n", text).translate(_UNFIT)
