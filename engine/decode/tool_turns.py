"""Turns with tools as plain messages: the tools themselves, calls made before, and their results.

For models whose chat template knows no tools: tools are named in the system prompt, and calls and
results are JSON objects between tags, as Hermes and Qwen models were trained on. Rule: what a tool
gave back, or was called with, closes no tag: within JSON each `<` is written as `\\u003c`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NoReturn

from engine.decode.output_forms import Tool
from engine.decode.tool_calls import CLOSING, OPENING, ToolCall
from engine.text.chat import Message

_RESULT = "<tool_response>{}</tool_response>"


@dataclass(frozen=True, slots=True)
class CallingTurn:
    """A turn of the model's in which it called tools."""

    text: str
    """What it said before; may be empty."""
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back."""

    name: str
    """The tool's; empty where it is not known."""
    content: str


Turn = Message | CallingTurn | ToolResult


def messages_of(turns: Iterable[Turn], tools: Sequence[Tool] = ()) -> list[Message]:
    """A conversation as models without a template for tools read it.

    Results that follow each other become one turn of the user's.

    Args:
        turns: The conversation.
        tools: What may be called; told at the end of the system prompt at its beginning, or in one
            of their own.
    """
    messages: list[Message] = []
    for are_results, group in groupby(turns, lambda turn: isinstance(turn, ToolResult)):
        rendered = list(map(_message, group))
        if are_results:
            rendered = [Message("user", "\n".join(message.content for message in rendered))]
        messages += rendered
    return _told(messages, tools) if tools else messages


def tools_prompt(tools: Sequence[Tool]) -> str:
    """What a system prompt says, so that the model knows its tools and how to call them."""
    listed = "\n".join(
        json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            ensure_ascii=False,
        )
        for tool in tools
    )
    return (
        "You have these tools, one to a line, each with a JSON schema of its arguments:\n"
        f"{listed}\n"
        "To call a tool, answer with nothing but\n"
        f'{OPENING}{{"name": "the tool\'s name", "arguments": {{…}}}}{CLOSING}\n'
        "and one such line for each further call."
    )


def _told(messages: list[Message], tools: Sequence[Tool]) -> list[Message]:
    told = tools_prompt(tools)
    match messages:
        case [Message("system", content), *others] if content.strip():
            return [Message("system", f"{content}\n\n{told}"), *others]
        case [Message("system"), *others]:
            return [Message("system", told), *others]
        case _:
            return [Message("system", told), *messages]


def _message(turn: Turn) -> Message:
    match turn:
        case Message():
            return turn
        case CallingTurn(text, calls):
            return Message("assistant", "\n".join(filter(None, [text, *map(_call_text, calls)])))
        case ToolResult(name, content):
            named = {"name": name} if name else {}
            return Message("user", _RESULT.format(_json(named | {"content": content})))


def _call_text(call: ToolCall) -> str:
    arguments = _parsed(call.arguments_json)
    return f"{OPENING}{_json({'name': call.name, 'arguments': arguments})}{CLOSING}"


def _parsed(arguments_json: str) -> object:
    """Arguments as a value; a text that is no JSON, as clients may send it back, stays a text."""
    try:
        return json.loads(arguments_json or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return arguments_json


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _json(value: object) -> str:
    # JSON has this character within strings alone.
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
