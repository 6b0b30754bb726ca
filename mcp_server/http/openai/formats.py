"""Formats: response_format, and what the Responses route calls text.format, as an OutputForm.

Rule: a schema is kept to by the choice of tokens, whether `strict` is set or not.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from engine.decode.output_forms import JsonSchema
from engine.errors import InvalidInput
from mcp_server.http.failures import Refused

FormatType = Literal["text", "json_object", "json_schema"]


class NamedSchema(BaseModel):
    """A schema of the answer."""

    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """What an answer of chat completions must look like."""

    type: FormatType
    json_schema: NamedSchema | None = None


def chat_form(given: ResponseFormat | None) -> JsonSchema | None:
    """The form that a body of chat completions asks for; None leaves it to the model.

    Raises:
        Refused: The schema is missing or is no JSON schema.
    """
    if given is None:
        return None
    schema = given.json_schema.schema_ if given.json_schema else None
    return json_form(given.type, schema, "response_format.json_schema.schema")


def json_form(kind: FormatType, schema: dict[str, Any] | None, param: str) -> JsonSchema | None:
    """The form of a kind; None leaves it to the model.

    Args:
        kind: As in both bodies.
        schema: For json_schema alone.
        param: Where the schema stands in the body.

    Raises:
        Refused: The schema is missing or is no JSON schema.
    """
    if kind == "text":
        return None
    if kind == "json_object":
        return JsonSchema({"type": "object"})
    if schema is None:
        raise Refused(
            f"{param} is missing; give it.", param=param, code="missing_required_parameter"
        )
    try:
        return JsonSchema(schema)
    except InvalidInput as error:
        raise Refused(str(error), param=param) from error
