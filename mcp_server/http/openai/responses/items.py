"""Input items: messages, calls and their results, as the turns that models read.

Rule: what says nothing to a model here (its reasoning, searches made before) is passed over; what
would have to be fetched, or is done by a tool that is not here, is refused.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field

from engine.decode.tool_calls import ToolCall
from engine.decode.tool_turns import CallingTurn, ToolResult, Turn
from engine.text.chat import Message
from mcp_server.http.failures import Refused
from mcp_server.http.openai.conversation import MOST_MESSAGES, Content, content_text


class InputMessage(BaseModel):
    """What somebody says."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class InputCall(BaseModel):
    """A call that the model made in an earlier turn."""

    type: Literal["function_call"]
    call_id: str
    name: str = Field(min_length=1, max_length=64)
    arguments: str
    """JSON, as the model wrote it."""


class InputCallOutput(BaseModel):
    """What a function gave back."""

    type: Literal["function_call_output"]
    call_id: str
    output: Content


class PassedOver(BaseModel):
    """What clients send back and no model here reads."""

    type: Literal["reasoning", "file_search_call"]


InputItem = Annotated[
    InputMessage | InputCall | InputCallOutput | PassedOver, Field(discriminator="type")
]

_KINDS = (
    "message",
    "function_call",
    "function_call_output",
    "reasoning",
    "file_search_call",
)


def _items(value: Any) -> Any:
    """A text as the message that it is; items by their types.

    Raises:
        Refused: There is an item of a type that is not read here.
    """
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        return value
    return [_typed(one, i) for i, one in enumerate(cast("list[Any]", value))]


def _typed(item: Any, index: int) -> Any:
    if not isinstance(item, dict):
        return item
    given = cast("dict[str, Any]", item)
    kind = given.get("type") or ("message" if "role" in given else "item_reference")
    if kind in _KINDS:
        return given | {"type": kind}
    if kind == "item_reference":
        advice = "nothing is stored here; send the item itself"
    else:
        advice = f"items may be {', '.join(_KINDS)}"
    raise Refused(
        f"Items of the type {str(kind)[:40]!r} are not supported: {advice}.",
        param=f"input.{index}.type",
        code="unsupported_parameter",
    )


_Items = Annotated[list[InputItem], Field(min_length=1, max_length=MOST_MESSAGES)]
InputItems = Annotated[_Items, BeforeValidator(_items, json_schema_input_type=str | _Items)]
"""The field input of a body; always read as items."""


def input_turns(items: Sequence[InputItem], instructions: str | None) -> list[Turn]:
    """The turns of a body.

    Raises:
        Refused: A part of a content is no text.
    """
    names = {item.call_id: item.name for item in items if isinstance(item, InputCall)}
    turns: list[Turn] = [Message("system", instructions)] if instructions else []
    for i, item in enumerate(items):
        match item:
            case InputMessage():
                turns.append(_said(item, f"input.{i}.content"))
            case InputCall():
                _add_call(turns, ToolCall(item.name, item.arguments))
            case InputCallOutput():
                text = content_text(item.output, f"input.{i}.output")
                turns.append(ToolResult(names.get(item.call_id, ""), text))
            case PassedOver():
                pass
    return turns


def _said(message: InputMessage, param: str) -> Message:
    role = "system" if message.role == "developer" else message.role
    return Message(role, content_text(message.content, param))


def _add_call(turns: list[Turn], call: ToolCall) -> None:
    """Puts a call to the turn of the model that it belongs to."""
    match turns[-1:]:
        case [CallingTurn(text, calls)]:
            turns[-1] = CallingTurn(text, (*calls, call))
        case [Message("assistant", text)]:
            turns[-1] = CallingTurn(text, (call,))
        case _:
            turns.append(CallingTurn("", (call,)))
