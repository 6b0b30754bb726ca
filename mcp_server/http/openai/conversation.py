"""Conversations in OpenAI's shape as the turns that models read.

Rules: developer is another word for system; instructions at the beginning are one turn; a content
is text, given whole or in parts, and nothing else is looked at or fetched.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from engine.decode.output_forms import ToolCalls
from engine.decode.tool_calls import ToolCall
from engine.decode.tool_turns import CallingTurn, ToolResult, Turn, messages_of
from engine.text.chat import Message
from mcp_server.http.failures import Refused

MOST_MESSAGES = 2_048
_MOST_CALLS = 128

_TEXT_PARTS = ("text", "input_text", "output_text")


class ContentPart(BaseModel):
    """A part of a content; the types text, input_text, output_text and refusal are taken."""

    type: str
    text: str | None = None
    refusal: str | None = None


def _in_parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


_Parts = Annotated[list[ContentPart], Field(max_length=MOST_MESSAGES)]
Content = Annotated[_Parts, BeforeValidator(_in_parts, json_schema_input_type=str | _Parts)]
"""A text, or its parts; always read as parts."""


class CalledFunction(BaseModel):
    """What was called."""

    name: str = Field(min_length=1, max_length=64)
    arguments: str
    """JSON, as the model wrote it."""


class MadeCall(BaseModel):
    """A call that the model made in an earlier turn."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """A message of chat completions."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[MadeCall], Field(max_length=_MOST_CALLS)] | None = None
    tool_call_id: str | None = None


ChatMessages = Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]


def chat_turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The turns of a body of chat completions.

    Raises:
        Refused: A part of a content is no text.
    """
    names = {call.id: call.function.name for one in messages for call in one.tool_calls or ()}
    return [_turn(one, names, f"messages.{i}") for i, one in enumerate(messages)]


def prompt_of(turns: Iterable[Turn], form: object) -> list[Message]:
    """What the model reads of a conversation.

    Args:
        turns: The conversation, oldest first.
        form: That of the answer; the tools of `ToolCalls` are told.
    """
    tools = form.functions if isinstance(form, ToolCalls) else ()
    return messages_of(_joined(turns), tools)


def content_text(content: Sequence[ContentPart] | None, param: str) -> str:
    """The text of a content.

    Args:
        content: Its parts.
        param: Where it stands in the body.

    Raises:
        Refused: A part is no text.
    """
    return "".join(_part_text(part, f"{param}.{i}") for i, part in enumerate(content or ()))


def _part_text(part: ContentPart, param: str) -> str:
    if part.type == "refusal":
        return part.refusal or ""
    if part.type not in _TEXT_PARTS:
        raise Refused(
            f"Parts of the type {part.type[:40]!r} are not supported; the models here read text "
            "alone.",
            param=f"{param}.type",
            code="unsupported_parameter",
        )
    if part.text is None:
        raise Refused(
            f"{param}.text is missing; give it.",
            param=f"{param}.text",
            code="missing_required_parameter",
        )
    return part.text


def _turn(message: ChatMessage, names: Mapping[str, str], param: str) -> Turn:
    text = content_text(message.content, f"{param}.content") or message.refusal or ""
    match message.role:
        case "tool":
            return ToolResult(names.get(message.tool_call_id or "", ""), text)
        case "assistant" if message.tool_calls:
            calls = [(call.function.name, call.function.arguments) for call in message.tool_calls]
            return CallingTurn(text, tuple(ToolCall(*call) for call in calls))
        case "developer":
            return Message("system", text)
        case role:
            return Message(role, text)


def _joined(turns: Iterable[Turn]) -> list[Turn]:
    """The conversation with the instructions at its beginning as one turn."""
    rest = list(turns)
    told: list[str] = []
    while rest and isinstance(first := rest[0], Message) and first.role == "system":
        told.append(first.content)
        del rest[0]
    return [Message("system", "\n\n".join(filter(None, told))), *rest] if told else rest
