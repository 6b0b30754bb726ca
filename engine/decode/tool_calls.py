"""Tool calls as text: how they are read in an answer as it comes.

Each call is one JSON object between tags, as Hermes and Qwen models write it; the grammar of
`tool_grammar` lets an answer of the form `ToolCalls` have no others.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

OPENING, CLOSING = "<tool_call>", "</tool_call>"

_HEAD = re.compile(r'\{"name": ?("(?:[^"\\]|\\.)*"), ?"arguments": ?(?=[^ ])')
"""What a call says before its arguments."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for."""

    name: str
    arguments_json: str
    """The arguments as JSON text, as the model wrote it."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the text before the calls."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call begins."""

    index: int
    """Of the answer's calls, from 0."""
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """More of a call's arguments; joined they are their JSON text as the model wrote it."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is complete."""

    index: int


Event = TextDelta | CallBegun | ArgumentsDelta | CallEnded


class ToolCallStream:
    """Reads one answer of the form `ToolCalls` as it comes, however it is cut into pieces.

    Text that may be the beginning of a call is held back until that is known. An answer that its
    limit cut may lack the end of its last call, and a call that was cut before its arguments is
    not told.
    """

    def __init__(self) -> None:
        self._state: Literal["text", "head", "arguments"] = "text"
        self._waiting = ""
        """Text that is not told yet."""
        self._calls = 0
        """Calls begun."""
        self._arguments = _Nesting()

    def feed(self, text: str) -> list[Event]:
        """What is certain now that this text has come."""
        self._waiting += text
        return list(self._events())

    def finish(self, *, is_cut: bool = False) -> list[Event]:
        """What is left when the answer has ended.

        Args:
            is_cut: By its limit: what may have been the beginning of a call stays untold.
        """
        rest, self._waiting = "" if is_cut else self._waiting, ""
        return list(self._said(rest)) if self._state == "text" else []

    def _events(self) -> Iterator[Event]:
        before = None
        while self._state != before:  # Else more text is needed.
            before = self._state
            yield from self._read()

    def _read(self) -> Iterator[Event]:
        match self._state:
            case "text":
                return self._read_text()
            case "head":
                return self._read_head()
            case "arguments":
                return self._read_arguments()

    def _read_text(self) -> Iterator[Event]:
        text, tag, after = self._waiting.partition(OPENING)
        shown = len(text) if tag else len(text) - _begun_tag(text)
        yield from self._said(text[:shown])
        self._waiting = after if tag else text[shown:]
        if tag:
            self._state = "head"

    def _said(self, text: str) -> Iterator[Event]:
        """Text before the first call; after it there is only what parts calls."""
        if text and not self._calls:
            yield TextDelta(text)

    def _read_head(self) -> Iterator[Event]:
        head = _HEAD.match(self._waiting)
        if head is not None:
            self._waiting = self._waiting[head.end() :]
            self._state, self._arguments = "arguments", _Nesting()
            self._calls += 1
            yield CallBegun(self._calls - 1, json.loads(head[1]))

    def _read_arguments(self) -> Iterator[Event]:
        index, text = self._calls - 1, self._waiting
        end = self._arguments.end_in(text)
        if told := text[:end]:
            yield ArgumentsDelta(index, told)
        self._waiting = "" if end is None else text[end:]
        if end is not None:
            self._state = "text"
            yield CallEnded(index)


class _Nesting:
    """Finds the end of a JSON value that stands in an object, however it is cut."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    def end_in(self, text: str) -> int | None:
        """Where the bracket stands that closes the object around the value; None: not yet."""
        for at, sign in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped = sign == "\\"
                self._in_string = sign != '"'
            elif sign == '"':
                self._in_string = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                if not self._depth:
                    return at
                self._depth -= 1
        return None


def _begun_tag(text: str) -> int:
    """Length of the longest end of a text that the opening tag begins with."""
    lengths = range(min(len(OPENING) - 1, len(text)), 0, -1)
    return next((length for length in lengths if OPENING.startswith(text[-length:])), 0)
