"""Reads reStructuredText: section titles, and directives and paragraphs that stay whole.

Follows docutils where it decides what a title is. What Sphinx's directives describe (functions,
classes, options) is below its section by its name, as a heading that does not divide.
Rule: every line is looked at a fixed number of times; the text is left as it stands.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from engine.documents.readers.interface import Block, Heading, Reading, decode, split_lines

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*$")
_DIRECTIVE = re.compile(r" *\.\. +([\w:+.-]+)::(?: +(.*))?$")
_MARKUP = re.compile(r"\.\.(?: |$)")
_ANCHOR = re.compile(r"\.\. (?:_[^:]|index::)")
_ROLE = re.compile(r"(?::[\w:+.-]+:)?(`+)([!~]?)([^`<]+?)(?: *<[^`>]*>)?\1_{0,2}")
_BRACKET = re.compile(r"[(\[<,=]")

# Described by a phrase, not by a signature.
_FREE = frozenset(("describe", "object"))
_OBJECTS = frozenset(
    f"{domain}{kind}"
    for domain, kinds in {
        "": """
            function method class attribute data exception classmethod staticmethod property
            decorator decoratormethod coroutinefunction coroutinemethod awaitablefunction
            awaitablemethod abstractmethod option cmdoption envvar opcode pdbcommand describe object
            confval setting 2to3fixer
        """,
        "py:": """
            function method class attribute data exception classmethod staticmethod property
            decorator decoratormethod type
        """,
        "c:": "function type macro var member struct union enum enumerator expr",
        "cpp:": "function class struct type var member enum enum-class enumerator concept",
        "js:": "function method class data attribute",
        "rst:": "directive role directive:option",
    }.items()
    for kind in kinds.split()
)
_MODULES = frozenset(("module", "currentmodule", "py:module", "py:currentmodule"))
# What belongs to a module, and so bears its name.
_QUALIFIED = re.compile(
    r"(?:py:)?(?:function|class|data|exception|decorator|(?:coroutine|awaitable)function)$"
)

_LONGEST_MARK = 1000
_LONGEST_NAME = 100
_LONGEST_TITLE = 300
# A shorter underline is one only where it is as long as its title.
_SURE_UNDERLINE = 4


def read_rst(content: bytes) -> Reading:
    """Reads reStructuredText.

    Raises:
        Unreadable: The bytes are no text.
    """
    text, encoding, byte_start = decode(content)
    lines = split_lines(text)
    marks = [line.rstrip() if len(line) <= _LONGEST_MARK else "text" for line in lines]
    starts = _Outline(marks).starts()
    blocks = [
        Block(start, end, starts.get(start))
        for start, end in pairwise(sorted({0, *starts, len(lines)}))
    ]
    return Reading(text, encoding, byte_start, lines, tuple(blocks))


class _Outline:
    """The lines of one document, told where blocks begin."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._marks = marks
        self._starts: dict[int, Heading | None] = {}
        self._styles: list[tuple[str, bool]] = []
        self._level = 0
        self._module = ""
        self._objects: list[int] = []
        """Indents of the objects that a line is within."""
        self._opaque = -1
        """Indent of what holds a text of its own, such as an example, while a line is in it."""

    def starts(self) -> dict[int, Heading | None]:
        """Headings by the lines that blocks begin in."""
        body = 0
        for number, mark in enumerate(self._marks):
            if not mark or number < body:
                continue
            indent = len(mark) - len(mark.lstrip())
            if self._opaque >= 0 and indent > self._opaque:
                continue
            self._opaque = -1
            title = _title_at(self._marks, number) if indent == 0 else None
            if title and (number == body or not self._marks[number - 1]):
                body = self._title(number, *title)
            else:
                self._line(number, mark, indent, begins=number == body)
        return self._starts

    def _title(self, number: int, character: str, text: str, over: bool) -> int:
        """Notes a title; returns the line behind it."""
        style = (character, over)
        if style not in self._styles:
            self._styles.append(style)
        self._level = self._styles.index(style) + 1
        self._objects = []
        self._starts[self._anchored(number)] = Heading(self._level, _plain(text[:_LONGEST_TITLE]))
        return number + 2 + over

    def _line(self, number: int, mark: str, indent: int, *, begins: bool) -> None:
        directive = _DIRECTIVE.match(mark)
        kind = directive[1] if directive else ""
        within = [outer for outer in self._objects if outer < indent]
        level = self._level + 1 + len(within)
        left, self._objects = len(within) < len(self._objects), within
        if directive and kind in _OBJECTS:
            name = self._qualified(kind, _name(kind, directive[2] or ""))
            self._starts[number] = Heading(level, name, divides=False)
            self._objects.append(indent)
            return
        if left:
            self._starts[number] = Heading(level, "", divides=False)
        elif indent == 0 and (begins or not self._marks[number - 1] or _MARKUP.match(mark)):
            self._starts[number] = None
        if kind in _MODULES and directive:
            self._module = (directive[2] or "").strip()
        if directive or mark.endswith("::"):
            self._opaque = indent

    def _qualified(self, kind: str, name: str) -> str:
        bears = self._module and not self._objects and _QUALIFIED.match(kind)
        named = name.startswith(f"{self._module}.") or name == self._module
        return f"{self._module}.{name}" if bears and not named else name

    def _anchored(self, number: int) -> int:
        """The first of the labels and index entries right above a title, which belong to it."""
        while self._starts:
            start, heading = next(reversed(self._starts.items()))
            if heading or not _ANCHOR.match(self._marks[start]):
                break
            del self._starts[start]
            number = start
        return number


def _title_at(marks: Sequence[str], number: int) -> tuple[str, str, bool] | None:
    """The character of the title that begins in a line, its text, and whether a line is above."""
    first, second, third = (*marks[number : number + 3], "", "")[:3]
    if adornment := _ADORNMENT.match(first):
        text = second.strip()
        if text and third == first and _is_long_enough(first, text):
            return adornment[1], text, True
        return None
    adornment = _ADORNMENT.match(second)
    if adornment and _is_long_enough(second, first):
        return adornment[1], first, False
    return None


def _is_long_enough(underline: str, title: str) -> bool:
    return len(underline) >= min(len(title), _SURE_UNDERLINE)


def _name(kind: str, signature: str) -> str:
    """What a signature is of: the last word before its brackets."""
    text = " ".join(signature.replace("\\", "").split())[:_LONGEST_NAME]
    words = [] if kind in _FREE else _BRACKET.split(text, maxsplit=1)[0].split()
    return words[-1].lstrip("*&") if words else text


def _plain(title: str) -> str:
    """A title without the marks of its roles."""
    return " ".join(_ROLE.sub(r"\3", title).replace("\\", "").split())
