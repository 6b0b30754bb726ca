"""Tool calls as text: how a model is told of its tools, writes calls, and how they are read.

For models whose chat template knows no tools: the tools are named in the system prompt, and each
call is one JSON object between tags, as Hermes and Qwen models were trained on.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.decode.grammars.json_text import JsonText
from engine.decode.output_forms import Tool, ToolCalls

OPENING, CLOSING = "<tool_call>", "</tool_call>"
_MOST_CALLS = 16
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for."""

    name: str
    arguments_json: str
    """The arguments as JSON text."""


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


def parse_tool_calls(text: str) -> list[ToolCall]:
    """The calls in an answer of the form `ToolCalls`; none in an answer that is plain text."""
    calls: list[ToolCall] = []
    at = text.find(OPENING)
    while at >= 0:
        call, end = _JSON.raw_decode(text, at + len(OPENING))
        calls.append(ToolCall(call["name"], json.dumps(call["arguments"], ensure_ascii=False)))
        at = text.find(OPENING, end)
    return calls


def text_before_calls(text: str) -> str:
    """What an answer of the form `ToolCalls` says besides its calls."""
    return text.partition(OPENING)[0]


def tool_calls_start(form: ToolCalls, grammar: JsonText, space: str) -> str:
    """The right side of a grammar's start rule for answers of this form.

    Args:
        form: The tools and which of them may be called.
        grammar: Where their rules are added.
        space: What may stand before the first call, as part of a rule.

    Raises:
        InvalidInput: A tool's parameters cannot be guaranteed.
    """
    colon, comma = grammar.define("/: ?/", is_terminal=True), grammar.define("/, ?/", True)
    calls: list[str] = []
    for tool in form.callable:
        name = json.dumps(json.dumps(tool.name, ensure_ascii=False))
        arguments = grammar.add(tool.parameters, {"type": "object"})
        calls.append(
            f'"{{" "\\"name\\"" {colon} {name} {comma} "\\"arguments\\"" {colon} '
            f'{arguments.name} "}}"'
        )
    body = f"({' | '.join(calls)}) {json.dumps(CLOSING)}"
    call = grammar.define(f"{json.dumps(OPENING)} {body}")
    if form.choice == "auto":
        tag = re.escape(OPENING).replace("/", r"\/")
        text = grammar.define(f"/(?s:.*)/ & ~/(?s:.*){tag}(?s:.*)/", is_terminal=True)
        head = grammar.define(f"/(?s:.*){tag}/", options="[lazy]")
        return f"{text} | {head} {body} {call}{{0,{_MOST_CALLS - 1}}}"
    return f"{space} {call}" + (f"{{1,{_MOST_CALLS}}}" if form.choice == "required" else "")
