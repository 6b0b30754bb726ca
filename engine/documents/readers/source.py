"""Reads source code: functions, methods and classes are blocks, with the comments above them.

Their names are headings that do not divide, so that a chunk knows where it is and several short
functions share one. Without the grammar of a language its files are read by their blank lines.
Knows no language: `outline` does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from engine.documents.readers.interface import Block, Heading, Reading, decode, split_lines
from engine.documents.readers.outline import Definition, definitions

_LANGUAGES = {
    "." + suffix: language
    for language, suffixes in {
        "python": "py pyi pyw",
        "javascript": "js mjs cjs jsx",
        "typescript": "ts mts cts",
        "tsx": "tsx",
        "c": "c h",
        "cpp": "cc cpp cxx hh hpp hxx",
        "java": "java",
        "go": "go",
        "rust": "rs",
        "c_sharp": "cs",
        "ruby": "rb",
        "php": "php",
        "bash": "sh bash",
        "kotlin": "kt kts",
        "lua": "lua",
        "scala": "scala",
        "swift": "swift",
    }.items()
    for suffix in suffixes.split()
}
_CPP_HEADER = re.compile(r"^[ \t]*(?:class|namespace|template|using)\b", re.MULTILINE)

# Lines that only close what began before.
_CLOSING = re.compile(r"(?:end|fi|#\s*endif\b.*)?\W*")


def read_source(content: bytes, suffix: str) -> Reading:
    """Reads code or configuration.

    Args:
        content: The file.
        suffix: Of its name, with the dot, in small letters; any is taken.

    Raises:
        Unreadable: The bytes are no text.
    """
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    headings = dict[int, Heading]()
    if language := _language(suffix, text):
        headings = _headings(definitions(language, text), lines)
    return Reading(text, encoding, byte_start, lines, _blocks(headings, lines))


def _language(suffix: str, text: str) -> str:
    if suffix == ".h" and _CPP_HEADER.search(text):
        return "cpp"
    return _LANGUAGES.get(suffix, "")


def _blocks(headings: Mapping[int, Heading], lines: Sequence[str]) -> tuple[Block, ...]:
    """Blocks that begin at the headings, and what is in none of them by its blank lines."""
    blocks: list[Block] = []
    for start, end in pairwise(sorted({0, *headings, len(lines)})):
        heading = headings.get(start)
        if heading and heading.text:
            blocks.append(Block(start, end, heading))
            continue
        inner = [n for n in range(start + 1, end) if _begins(lines[n], lines[n - 1])]
        first, *rest = pairwise([start, *inner, end])
        blocks.append(Block(*first, heading))
        blocks += [Block(*bounds) for bounds in rest]
    return tuple(blocks)


def _begins(line: str, before: str) -> bool:
    """Whether it starts at the margin after a blank line."""
    return not before.strip() and not line[0].isspace() and line[0] not in ")]}"


def _headings(defined: Iterator[Definition], lines: Sequence[str]) -> dict[int, Heading]:
    """By the lines they begin in; one without text where what was defined ends."""
    begun: dict[int, Heading] = {}
    ends: dict[int, int] = {}
    free = -1
    for definition in defined:
        if not free < definition.start < definition.end <= len(lines):
            continue
        level = definition.level
        begun[definition.start] = Heading(level, definition.label, divides=False)
        free = definition.start if definition.is_container else definition.end - 1
        ends[definition.end] = min(level, ends.get(definition.end, level))
    return begun | _closing(begun, ends, lines)


def _closing(
    begun: Mapping[int, Heading], ends: Mapping[int, int], lines: Sequence[str]
) -> dict[int, Heading]:
    """Ends that words follow: closing brackets and blank lines belong to what they close."""
    places = sorted({*begun, *ends, len(lines)})
    return {
        start: Heading(ends[start], "", divides=False)
        for start, end in pairwise(places)
        if start not in begun
        and not all(_CLOSING.fullmatch(line.strip()) for line in lines[start:end])
    }
