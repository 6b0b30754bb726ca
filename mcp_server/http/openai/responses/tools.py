"""Tools of a body: functions of the caller's, and the search of documents.

Rule: a choice that names the search alone leaves no function to be called; the search itself is
made before the answer, whatever the model would have decided.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, Field

from mcp_server.http.failures import Refused
from mcp_server.http.openai.filters import Filters
from mcp_server.http.openai.stores import MOST_RESULTS
from mcp_server.http.openai.tools import MOST_TOOLS, AllowedTool, Function, ToolChoice

_KINDS = ("function", "file_search")

_Word = Literal["none", "auto", "required"]


class FunctionTool(Function):
    """A function of the caller's."""

    type: Literal["function"]


class RankingOptions(BaseModel):
    """Which passages are good enough."""

    ranker: str | None = None
    """Accepted; there is one."""
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


class FileSearchTool(BaseModel):
    """The search of documents."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[list[str], Field(min_length=1, max_length=100)]
    """Ids or names of collections."""
    max_num_results: Annotated[int, Field(ge=1, le=MOST_RESULTS)] | None = None
    filters: Filters | None = None
    ranking_options: RankingOptions | None = None


def _tools(value: Any) -> Any:
    """Tools that can be used here.

    Raises:
        Refused: There is one of another type, or a second search.
    """
    if not isinstance(value, list):
        return [] if value is None else value
    given = cast("list[Any]", value)
    kinds = [
        cast("dict[str, Any]", one).get("type") if isinstance(one, dict) else None for one in given
    ]
    for i, kind in enumerate(kinds):
        if isinstance(kind, str) and kind not in _KINDS:
            raise Refused(
                f"Tools of the type {kind[:40]!r} are not supported; use function or file_search.",
                param=f"tools.{i}.type",
                code="unsupported_parameter",
            )
    if kinds.count("file_search") > 1:
        raise Refused(
            "One tool of the type file_search searches several vector_store_ids; give one.",
            param="tools",
        )
    return given


Tool = Annotated[FunctionTool | FileSearchTool, Field(discriminator="type")]
_Tools = Annotated[list[Tool], Field(max_length=MOST_TOOLS)]
GivenTools = Annotated[_Tools, BeforeValidator(_tools, json_schema_input_type=_Tools | None)]
"""The field tools of a body."""


class ChosenTool(BaseModel):
    """A tool that a choice leaves."""

    type: Literal["function", "file_search"] = "function"
    name: str | None = None


class Choice(BaseModel):
    """Which tools are used; a word alone is its type."""

    type: Literal["none", "auto", "required", "function", "allowed_tools", "file_search"]
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[ChosenTool] = Field(default_factory=list[ChosenTool], max_length=MOST_TOOLS)


def _worded(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


GivenChoice = Annotated[
    Choice | None, BeforeValidator(_worded, json_schema_input_type=_Word | Choice | None)
]
"""The field tool_choice of a body."""


def shown_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools as a response shows them."""
    return [
        one.model_dump(mode="json", exclude_none=isinstance(one, FileSearchTool)) for one in tools
    ]


def shown_choice(choice: Choice | None) -> str | dict[str, Any]:
    """The choice as a response shows it."""
    if choice is None:
        return "auto"
    if choice.type in get_args(_Word):
        return choice.type
    return choice.model_dump(mode="json", exclude_none=True, exclude_unset=True)


def functions(tools: Sequence[Tool]) -> list[Function]:
    """Those of the caller's."""
    return [one for one in tools if isinstance(one, FunctionTool)]


def choice_of_functions(tools: Sequence[Tool], choice: Choice | None) -> ToolChoice | None:
    """What the choice says of functions; None is auto.

    Where a search is made, that is the tool use that "required" asks for if there is no function.
    """
    if choice is None:
        return None
    is_served = search_tool(tools, choice) is not None and not functions(tools)
    match choice.type:
        case "file_search":
            return ToolChoice(type="none")
        case "required" if is_served:
            return None
        case "allowed_tools":
            named = [AllowedTool(name=one.name) for one in choice.tools if one.type == "function"]
            if choice.tools and not named:
                return ToolChoice(type="none")
            return ToolChoice(type="allowed_tools", mode=choice.mode, tools=named)
        case kind:
            return ToolChoice(type=kind, name=choice.name)


def search_tool(tools: Sequence[Tool], choice: Choice | None) -> FileSearchTool | None:
    """The search that is to be made, if one is.

    Raises:
        Refused: The choice names a search that is not among the tools.
    """
    found = next((one for one in tools if isinstance(one, FileSearchTool)), None)
    if choice is None:
        return found
    allowed = [one.type for one in choice.tools] if choice.type == "allowed_tools" else []
    if found is None and "file_search" in (choice.type, *allowed):
        raise Refused(
            "tool_choice names file_search, which is not among tools.", param="tool_choice"
        )
    is_left_out = choice.type in ("none", "function") or (allowed and "file_search" not in allowed)
    return None if is_left_out else found
