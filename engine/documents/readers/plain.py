"""Reads prose without a syntax, whose paragraphs are set apart by blank lines."""

from engine.documents.readers.interface import Reading, blocks_from, decode, split_lines


def read_text(content: bytes) -> Reading:
    """Reads prose: every paragraph is a block.

    Raises:
        Unreadable: The bytes are no text.
    """
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    starts = [
        number
        for number in range(1, len(lines))
        if lines[number].strip() and not lines[number - 1].strip()
    ]
    return Reading(text, encoding, byte_start, lines, blocks_from(starts, lines))
