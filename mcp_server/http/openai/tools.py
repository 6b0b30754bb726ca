"""Tools of a body: which functions a model may call, and whether it must.

Rule: where nothing may be called, the model is told of no tools; where some may, of all, so that
a prompt's beginning stays the same whatever may be called.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from engine.decode.output_forms import ToolCalls
from engine.errors import InvalidInput
from mcp_server.http.failures import Refused

MOST_TOOLS = 128

_Word = Literal["none", "auto", "required"]


class Function(BaseModel):
    """A function that a model may call; a tool of the Responses route is one with its type."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(BaseModel):
    """A tool of chat completions."""

    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    """The name of a function."""

    name: str


class AllowedTool(BaseModel):
    """A tool that a choice leaves, in the shape of either body."""

    type: Literal["function"] = "function"
    function: NamedFunction | None = None
    name: str | None = None


class AllowedTools(BaseModel):
    """Some of the tools."""

    mode: Literal["auto", "required"] = "auto"
    tools: list[AllowedTool] = Field(max_length=MOST_TOOLS)


class ToolChoice(BaseModel):
    """Which tools are called, in the shape of either body; a word alone is its type."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: NamedFunction | None = None
    name: str | None = None
    allowed_tools: AllowedTools | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[AllowedTool] | None = Field(default=None, max_length=MOST_TOOLS)


def _worded(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


GivenToolChoice = Annotated[
    ToolChoice | None, BeforeValidator(_worded, json_schema_input_type=_Word | ToolChoice | None)
]
"""The field tool_choice of a body."""


def tool_form(
    functions: Sequence[Function], choice: ToolChoice | None, *, parallel: bool | None = None
) -> ToolCalls | None:
    """What the choice of tools makes of an answer; None is one without calls.

    Args:
        functions: All that a body names.
        choice: None is auto.
        parallel: Whether several may be called at once; None is yes.

    Raises:
        Refused: A function or the choice cannot be as it is.
    """
    mode, names = _chosen(choice or ToolChoice(type="auto"))
    known = {one.name for one in functions}
    if missing := [name for name in names or () if name not in known]:
        raise Refused(
            f"tool_choice names {missing[0][:64]!r}, which is not among tools.", param="tool_choice"
        )
    if mode == "required" and not functions:
        raise Refused("tool_choice asks for a call, but there are no tools.", param="tool_choice")
    if mode == "none" or not functions:
        return None
    allowed = None if names is None else tuple(names)
    described = [_described(one) for one in functions]
    try:
        return ToolCalls(described, mode, allowed=allowed, parallel=parallel is not False)
    except InvalidInput as error:
        raise Refused(str(error), param="tools") from error


def _chosen(choice: ToolChoice) -> tuple[str, list[str] | None]:
    """none, auto, required or a name, and the names that are left; None for all."""
    if choice.type == "function":
        name = _name(choice)
        return name, [name]
    if choice.type == "allowed_tools":
        allowed = choice.allowed_tools or AllowedTools(
            mode=choice.mode or "auto", tools=choice.tools or []
        )
        names = [_name(one) for one in allowed.tools]
        if not names:
            raise Refused("tool_choice allows no tool; name one or give none.", param="tool_choice")
        return allowed.mode, names
    return choice.type, None


def _name(named: ToolChoice | AllowedTool) -> str:
    name = named.function.name if named.function else named.name
    if name is None:
        raise Refused(
            "tool_choice has no function name; give it.",
            param="tool_choice",
            code="missing_required_parameter",
        )
    return name


def _described(function: Function) -> dict[str, Any]:
    own = function.model_dump(include={"name", "description", "parameters"})
    return {"type": "function", "function": own}
