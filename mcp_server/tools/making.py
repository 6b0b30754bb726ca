"""GatewayTool: a tool with a closed list of arguments and failures an agent can act on.

The SDK prefixes every failure, prints a page for a wrong argument, ignores arguments it does not
know and hides engine errors. Here arguments are refused by name, engine errors keep their text,
and everything else stays what it is: a bug, logged with its traceback and hidden from the model.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ValidationError

from engine.errors import EngineError
from mcp_server.budgets import NAME_CHARACTERS, briefly

_USELESS = (
    "title",
    "$defs",
    "$ref",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)
"""Titles repeat names; limits that nobody meets by chance are told by the refusal."""


class GatewayTool(Tool):
    """A tool with a closed list of arguments and plain sentences for failures."""

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:
        """Runs the tool.

        Raises:
            ToolError: The arguments are refused or the engine said why it cannot serve them.
            UnexpectedToolError: A bug; its own text stays on the server.
        """
        try:
            return await super().run(arguments, context, convert_result)
        except UnexpectedToolError as error:
            if isinstance(error.__cause__, EngineError):
                raise ToolError(str(error.__cause__)) from error.__cause__
            raise
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(self._refusal(cause)) from cause
            raise ToolError(str(cause or error)) from cause

    def _refusal(self, error: ValidationError) -> str:
        known = list(self.parameters.get("properties", {}))
        sentences = [_sentence(problem, known) for problem in error.errors()[:3]]
        return f"{self.name} was not run: " + "; ".join(sentences) + "."


def tool(
    function: Callable[..., Any],
    *,
    title: str,
    writes: bool = False,
    destroys: bool = False,
    text_only: bool = False,
) -> GatewayTool:
    """Makes an `async def` function a tool; its docstring is what the model reads.

    Args:
        function: Flat parameters, each annotated with a description.
        title: For people.
        writes: It changes the index.
        destroys: It deletes what is indexed.
        text_only: It has no structured result.
    """
    made = GatewayTool.from_function(
        function,
        title=title,
        description=" ".join((function.__doc__ or "").split()),
        annotations=ToolAnnotations(
            title=title,
            read_only_hint=not writes,
            destructive_hint=destroys,
            idempotent_hint=True,
            open_world_hint=False,
        ),
        structured_output=False if text_only else None,
    )
    assert isinstance(made, GatewayTool)
    model = made.fn_metadata.arg_model
    model.model_config["extra"] = "forbid"
    model.model_rebuild(force=True)
    schema = model.model_json_schema(by_alias=True)
    made.parameters = _terse(schema, schema.get("$defs", {}))
    if result := made.fn_metadata.output_schema:
        made.fn_metadata.output_schema = _terse(result, result.get("$defs", {}), ["default"])
    return made


def answer(
    text: str, result: BaseModel, structured: dict[str, Any] | None = None
) -> CallToolResult:
    """A result in both channels: words for models, data for programs; all of it unless given."""
    data = result.model_dump() if structured is None else structured
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=data)


def _sentence(problem: Any, known: list[str]) -> str:
    name = briefly(".".join(str(part) for part in problem["loc"]), NAME_CHARACTERS)
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}" if near else f"it takes {', '.join(known) or 'none'}"
        return f"there is no argument {name}; {hint}"
    if problem["type"] == "missing":
        return f"the argument {name} is missing"
    message = str(problem["msg"])
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _terse(part: Any, definitions: Mapping[str, Any], also: Sequence[str] = ()) -> Any:
    """A part of a schema without what costs tokens and tells nothing.

    That is pydantic's titles, nothing as the default of what may be left out, limits that the
    refusal tells, and definitions that stand apart from their one use.

    Args:
        part: Any part of it.
        definitions: The schema's, by name; none refers to itself.
        also: Keys that tell nothing here.
    """
    if isinstance(part, list):
        return [_terse(one, definitions, also) for one in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    schema = cast("dict[str, Any]", part)
    if reference := schema.get("$ref"):
        schema = definitions[str(reference).rpartition("/")[2]] | schema
    kept = {key: of for key, of in schema.items() if key not in (*_USELESS, *also)}
    if not kept.get("default", True):
        del kept["default"]
    if kept.get("additionalProperties") is True:
        del kept["additionalProperties"]
    properties = kept.pop("properties", None)
    terse = {key: _terse(of, definitions, also) for key, of in kept.items()}
    if properties is not None:
        terse["properties"] = {
            name: _terse(of, definitions, also) for name, of in properties.items()
        }
    return terse
