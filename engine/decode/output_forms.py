"""OutputForm: what an answer must look like: JSON of a schema, a pattern, choices or tool calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from engine.errors import InvalidInput

Schema = dict[str, Any] | bool
"""A JSON schema as parsed."""

_LONGEST_SCHEMA = 100_000
_MOST_CHOICES = 10_000
_LONGEST_CHOICE = 10_000
_MOST_TOOLS = 128
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A JSON text that satisfies a schema (draft 2020-12).

    Whether the schema can be guaranteed is found out by `Constraints.start`.
    """

    schema: Schema | str
    """Parsed, or as JSON text; kept parsed, and apart from what was given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", _own(self.schema, "The schema"))

    @property
    def parsed(self) -> Schema:
        """The schema as read."""
        return cast(Schema, self.schema)


@dataclass(frozen=True, slots=True)
class Regex:
    """A text that matches a regular expression from beginning to end."""

    pattern: str

    def __post_init__(self) -> None:
        if not isinstance(cast(object, self.pattern), str) or not self.pattern:
            raise InvalidInput("The pattern must be a string that is not empty.")


@dataclass(frozen=True, slots=True)
class Choices:
    """Exactly one of these texts."""

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(cast(object, self.texts), tuple):
            raise InvalidInput("The choices must be a tuple of strings.")
        if not 1 <= len(self.texts) <= _MOST_CHOICES:
            raise InvalidInput(
                f"There must be 1 to {_MOST_CHOICES} choices, but there are {len(self.texts)}."
            )
        for text in cast(tuple[object, ...], self.texts):
            if not isinstance(text, str) or not 1 <= len(text) <= _LONGEST_CHOICE:
                raise InvalidInput(
                    f"Each choice must be a string of 1 to {_LONGEST_CHOICE} characters."
                )
            _encoded(text, "A choice")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may ask for."""

    name: str
    description: str
    parameters: dict[str, Any]
    """A JSON Schema of its arguments."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Calls of tools, or text where the choice is "auto"."""

    tools: Sequence[dict[str, Any] | Tool]
    """In OpenAI's shape: {"type": "function", "function": {name, description, parameters}}."""
    choice: str = "auto"
    """"auto", "required", or the name of the one tool to be called."""
    allowed: tuple[str, ...] | None = None
    """Names of the tools that may be called; None for all."""
    parallel: bool = True
    """Whether there may be several calls in one answer."""

    def __post_init__(self) -> None:
        tools = tuple(tool if isinstance(tool, Tool) else _tool(tool) for tool in self.tools)
        object.__setattr__(self, "tools", tools)
        names = [tool.name for tool in tools]
        if not 1 <= len(tools) <= _MOST_TOOLS or len(set(names)) < len(names):
            raise InvalidInput(f"Give 1 to {_MOST_TOOLS} tools, each with a name of its own.")
        if self.choice not in ("auto", "required", *names):
            raise InvalidInput(
                f"tool_choice must be auto, required or one of {', '.join(names)}, but is "
                f"{self.choice!r}."
            )
        if self.allowed is not None:
            self._check_allowed(self.allowed, names)

    def _check_allowed(self, allowed: Sequence[str], names: Sequence[str]) -> None:
        if not allowed or not set(allowed) <= set(names):
            raise InvalidInput(
                f"The allowed tools must be some of {', '.join(names)}, but are "
                f"{', '.join(map(repr, allowed)) or 'none'}."
            )
        if self.choice not in ("auto", "required", *allowed):
            raise InvalidInput(f"The tool {self.choice!r} must be called, but is not allowed.")

    @property
    def functions(self) -> tuple[Tool, ...]:
        """The tools as read."""
        return cast(tuple[Tool, ...], self.tools)

    @property
    def callable(self) -> tuple[Tool, ...]:
        """The tools that may be called."""
        named = tuple(tool for tool in self.functions if tool.name == self.choice)
        if named or self.allowed is None:
            return named or self.functions
        return tuple(tool for tool in self.functions if tool.name in self.allowed)


OutputForm = JsonSchema | Regex | Choices | ToolCalls


def _tool(described: object) -> Tool:
    match described:
        case {"type": "function", "function": {"name": str(name)}}:
            function = cast(dict[str, dict[str, Any]], described)["function"]
            description = function.get("description") or ""
            own = _own(
                function.get("parameters") or _NO_ARGUMENTS, f"parameters of the tool {name[:64]!r}"
            )
            fits = 1 <= len(name) <= 64 and name.isprintable() and isinstance(description, str)
            if fits and isinstance(own, dict):
                return Tool(name, description, own)
        case _:
            pass
    raise InvalidInput(
        'A tool must be {"type": "function", "function": {"name": …, "description": …, '
        '"parameters": a schema}} with a name of 1 to 64 characters.'
    )


def _own(given: object, what: str) -> Schema:
    """A schema of our own, whatever becomes of the one given."""
    try:
        text = given if isinstance(given, str) else json.dumps(given, allow_nan=False)
        if len(text) > _LONGEST_SCHEMA:
            raise InvalidInput(f"{what} has {len(text)} characters; at most {_LONGEST_SCHEMA} do.")
        parsed = json.loads(text)
        _encoded(json.dumps(parsed, ensure_ascii=False, allow_nan=False), what)
    except (TypeError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["too deep"])[0][:200]
        raise InvalidInput(f"{what} is not valid JSON ({reason}); correct it.") from error
    if not isinstance(parsed, dict | bool):
        raise InvalidInput(f"{what} must be a JSON object, true or false.")
    return cast(Schema, parsed)


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} holds a lone surrogate (half of a UTF-16 pair), which is no character; "
            "remove it."
        ) from error
