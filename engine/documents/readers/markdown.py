"""Reads Markdown: headings, and fences, tables and paragraphs that stay whole.

Follows CommonMark where it decides what a heading is; the rest of the syntax is left as it stands.
Rule: every line is looked at a fixed number of times, whatever it holds.
"""

import re
from collections.abc import Sequence

from engine.documents.readers.front_matter import metadata_of
from engine.documents.readers.interface import Block, Heading, Reading, decode, split_lines

_FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)$")
_BREAK = re.compile(r" {0,3}(?:-[ \t]*){3,}$")
# Lines whose paragraph an underline does not turn into a heading: code, lists, quotes, tables.
_NO_TITLE = re.compile(r"(?: {4}|\t| {0,3}(?:[-+*][ \t]|\d{1,9}[.)][ \t]|[>|]))")

# A longer line is no heading and no fence: looking for one in it would only take time.
_LONGEST_MARK = 1000
_LONGEST_TITLE_LINES = 3
_LONGEST_FRONT_MATTER = 200


def read_markdown(content: bytes) -> Reading:
    """Reads Markdown.

    Raises:
        Unreadable: The bytes are no text.
    """
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    marks = [line.rstrip() if len(line) <= _LONGEST_MARK else "text" for line in lines]
    blocks: list[Block] = []
    body = _after_front_matter(marks)
    start = _after_blank(marks, body)
    if start:
        blocks.append(Block(0, start))
    while start < len(lines):
        end, heading = _block(marks, start)
        end = _after_blank(marks, end)
        blocks.append(Block(start, end, heading))
        start = end
    metadata = metadata_of(marks[1 : body - 1]) if body else {}
    return Reading(text, encoding, byte_start, lines, tuple(blocks), metadata=metadata)


def _block(marks: Sequence[str], start: int) -> tuple[int, Heading | None]:
    """Where the block that begins at a line ends, and the heading if it is one."""
    first = marks[start]
    if fence := _FENCE.match(first):
        return _after_fence(marks, start, fence[1]), None
    if first.lstrip().startswith("<!--"):
        return _after_comment(marks, start), None
    if atx := _ATX.match(first):
        return start + 1, Heading(len(atx[1]), _atx_text(first))
    if _BREAK.match(first):
        return start + 1, None
    return _paragraph(marks, start)


def _paragraph(marks: Sequence[str], start: int) -> tuple[int, Heading | None]:
    may_be_title = not _NO_TITLE.match(marks[start])
    for number in range(start + 1, len(marks)):
        mark = marks[number]
        if not mark or _ATX.match(mark) or _FENCE.match(mark):
            return number, None
        underline = _UNDERLINE.match(mark)
        if underline and may_be_title and number - start <= _LONGEST_TITLE_LINES:
            text = " ".join(line.strip() for line in marks[start:number])
            return number + 1, Heading(1 if "=" in underline[1] else 2, text)
    return len(marks), None


def _atx_text(line: str) -> str:
    text = line.strip().lstrip("#").strip()
    bare = text.rstrip("#")
    return bare.rstrip() if bare != text and bare[-1:] in ("", " ", "\t") else text


def _after_fence(marks: Sequence[str], start: int, fence: str) -> int:
    for number in range(start + 1, len(marks)):
        mark = marks[number].strip()
        if mark.startswith(fence) and not mark.strip(fence[0]):
            return number + 1
    return len(marks)


def _after_comment(marks: Sequence[str], start: int) -> int:
    for number in range(start, len(marks)):
        if "-->" in marks[number]:
            return number + 1
    return len(marks)


def _after_front_matter(marks: Sequence[str]) -> int:
    if marks and marks[0] == "---":
        for number in range(1, min(len(marks), _LONGEST_FRONT_MATTER)):
            if marks[number] in ("---", "..."):
                return number + 1
    return 0


def _after_blank(marks: Sequence[str], number: int) -> int:
    while number < len(marks) and not marks[number]:
        number += 1
    return number
