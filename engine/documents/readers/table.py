"""Reads tables and records: CSV, TSV and JSON lines, each record a block that stays whole.

The names of a table's columns are the heading of all its rows.
"""

import csv
from collections.abc import Iterator, Sequence

from engine.documents.readers.interface import (
    Block,
    Heading,
    Reading,
    blocks_from,
    decode,
    split_lines,
)

_SEPARATORS = ",;\t|"

# A longer field is no table's; where a quote is not closed, one field takes all that follows.
_LONGEST_RECORD_LINES = 1000


def read_table(content: bytes) -> Reading:
    """Reads comma- or tab-separated values.

    Raises:
        Unreadable: The bytes are no text.
    """
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    separator = _separator(lines)
    blocks = list(blocks_from(_record_starts(lines, separator), lines))
    if len(blocks) > 1 and (
        names := _column_names(lines[blocks[0].start : blocks[0].end], separator)
    ):
        blocks[0] = Block(blocks[0].start, blocks[0].end, Heading(1, ", ".join(names)))
    return Reading(text, encoding, byte_start, lines, tuple(blocks))


def read_json_lines(content: bytes) -> Reading:
    """Reads lines of JSON.

    Raises:
        Unreadable: The bytes are no text.
    """
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    return Reading(text, encoding, byte_start, lines, blocks_from(range(len(lines)), lines))


def _separator(lines: Sequence[str]) -> str:
    first = next((line for line in lines if line.strip()), "")
    return max(_SEPARATORS, key=first.count)


def _record_starts(lines: Sequence[str], separator: str) -> Iterator[int]:
    """Where records begin: at every line, but for those within quotes."""
    quotes = 0
    begun = 0
    for number, line in enumerate(lines):
        if quotes % 2 == 0 or number - begun > _LONGEST_RECORD_LINES:
            yield number
            quotes, begun = 0, number
        if quotes or _opens_quote(line, separator):
            quotes += line.count('"')


def _opens_quote(line: str, separator: str) -> bool:
    return line.startswith('"') or f'{separator}"' in line


def _column_names(record: Sequence[str], separator: str) -> list[str]:
    """The fields of a first record if they can be names, which are words, each another."""
    try:
        fields = next(csv.reader(record, delimiter=separator))
    except (csv.Error, StopIteration):
        return []
    names = [" ".join(field.split()) for field in fields]
    worded = all(any(character.isalpha() for character in name[:1]) for name in names)
    return names if worded and len({*names}) == len(names) > 1 else []
