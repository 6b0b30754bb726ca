"""Tool calls as text: how a model is told of its tools, writes calls, and how they are read.

For models whose chat template knows no tools: the tools are named in the system prompt, and each
call is one JSON object between tags, as Hermes and Qwen models were trained on.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

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


def tool_calls_rules(form: ToolCalls, arguments: Sequence[str], space: str) -> str:
    """Rules of a grammar for answers of this form, in llguidance's Lark dialect.

    Args:
        form: The tools and which of them may be called.
        arguments: For each tool that may be called, the right side of a rule for its arguments.
        space: What may stand before the first call, as part of a rule.
    """
    rules, calls = list[str](), list[str]()
    for i, (tool, rule) in enumerate(zip(form.callable, arguments, strict=True)):
        name = json.dumps(json.dumps(tool.name, ensure_ascii=False))
        rules.append(f"arguments_{i}: {rule}")
        calls.append(
            f'"{{\\"name\\"" COLON {name} COMMA "\\"arguments\\"" COLON arguments_{i} "}}"'
        )
    rules.append("COLON: /: ?/\nCOMMA: /, ?/")
    rules.append(f"body: ({' | '.join(calls)}) {json.dumps(CLOSING)}")
    rules.append(f"call: {json.dumps(OPENING)} body")
    if form.choice == "auto":
        tag = re.escape(OPENING).replace("/", r"\/")
        rules.append(f"TEXT: /(?s:.*)/ & ~/(?s:.*){tag}(?s:.*)/")
        rules.append(f"head[lazy]: /(?s:.*){tag}/")
        rules.append(f"start: TEXT | head body call{{0,{_MOST_CALLS - 1}}}")
    else:
        most = _MOST_CALLS if form.choice == "required" else 1
        rules.append(f"start: {space}? call{{1,{most}}}")
    return "\n".join(rules)
