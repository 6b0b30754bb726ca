"""Reading: a file's text, its exact place in the bytes, and its blocks; what every reader gives.

Rule: blocks tile the lines and the text is the decoded bytes, nothing added or left out, so that
every citation can be checked against the file. What is no text is refused, never repaired.
"""

import codecs
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

# A text file may hold a few stray control bytes; more than this share, and it is something else.
_MOST_CONTROL_SHARE = 0.3
_CONTROL = bytes(set(range(0x20)) - set(b"\t\n\v\f\r\b\x1b")) + b"\x7f"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Unreadable(Exception):
    """A file is not what a reader can read; the text says why, for a list of skipped files."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a document."""

    level: int
    """1 is the outermost."""
    text: str
    divides: bool = True
    """Whether no chunk reaches across it. The names of functions do not divide: several short ones
    share a chunk. An empty text ends what is below such a name."""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of lines that belong together: a paragraph, a fence, a function."""

    start: int
    """0-based number of the first line."""
    end: int
    """Exclusive."""
    heading: Heading | None = None
    """Set if the block is a heading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as text."""

    text: str
    encoding: str
    """How the bytes decode; empty where the text was extracted from another format."""
    byte_start: int
    """Length of the byte order mark before the text."""
    lines: tuple[str, ...]
    """With their line ends; joined they are the text."""
    blocks: tuple[Block, ...]
    pages: tuple[int, ...] = ()
    """0-based number of the line that each page begins with; empty where there are no pages."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the file says of itself, by lower-case names."""

    @property
    def title(self) -> str:
        """What the file says is its title, or the first heading, or nothing."""
        return self.metadata.get("title") or next(
            (h.text for b in self.blocks if (h := b.heading) and h.divides and h.text), ""
        )


class Reader(Protocol):
    """Turns the bytes of one kind of file into a `Reading`."""

    def __call__(self, content: bytes) -> Reading:
        """Reads.

        Raises:
            Unreadable: The bytes are no text.
        """
        ...


def decode(content: bytes) -> tuple[str, str, int]:
    """Decodes a file: Unicode by its mark, UTF-8 without one, else a guess.

    Returns:
        The text, the encoding, and the length of the byte order mark.

    Raises:
        Unreadable: It holds NUL or too many control characters, or is broken UTF-16.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", ""))
    body = content[len(mark) :]
    if encoding.startswith("utf-16"):
        text = _decoded(body, encoding)
        _refuse_binary(text.encode())
        return text, encoding, len(mark)
    _refuse_binary(body)
    try:
        return body.decode(), "utf-8", len(mark)
    except UnicodeDecodeError:
        # By name: its library takes 15 ms to import, and few files need a guess.
        encodings = importlib.import_module("engine.documents.readers.encodings")
        return *encodings.guessed(body), len(mark)


def split_lines(text: str) -> tuple[str, ...]:
    """Lines with their ends; only a line feed ends a line, with or without a carriage return."""
    *whole, rest = text.split("\n")
    lines = tuple(line + "\n" for line in whole)
    return (*lines, rest) if rest else lines


def blocks_from(starts: Iterable[int], lines: Sequence[str]) -> tuple[Block, ...]:
    """Blocks without headings that begin at these lines, and at the first."""
    bounds = sorted({0, *starts, len(lines)})
    return tuple(Block(start, end) for start, end in pairwise(bounds))


def _decoded(body: bytes, encoding: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is marked as {encoding}, but is not") from error


def _refuse_binary(content: bytes) -> None:
    if b"\0" in content:
        raise Unreadable("it is binary (it holds NUL bytes)")
    control = len(content) - len(content.translate(None, _CONTROL))
    if control > _MOST_CONTROL_SHARE * len(content):
        raise Unreadable("it is binary (more than 30 % control characters)")
