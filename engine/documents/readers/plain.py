"""Reads text and source files, whose blocks are set apart by blank lines."""

from collections.abc import Callable

from engine.documents.readers.interface import Reading, blocks_from, decode, split_lines


def read_text(content: bytes) -> Reading:
    """Reads prose: every paragraph is a block.

    Raises:
        Unreadable: The bytes are no text.
    """
    return _reading(content, lambda line: bool(line.strip()))


def read_source(content: bytes) -> Reading:
    """Reads code or configuration: what starts at the margin after a blank line is a block.

    Raises:
        Unreadable: The bytes are no text.
    """
    return _reading(content, lambda line: not line[0].isspace() and line[0] not in ")]}")


def _reading(content: bytes, begins: Callable[[str], bool]) -> Reading:
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    starts = [
        number
        for number in range(1, len(lines))
        if begins(lines[number]) and not lines[number - 1].strip()
    ]
    return Reading(text, encoding, byte_start, lines, blocks_from(starts, lines))
