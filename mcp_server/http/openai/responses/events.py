"""The events of a streamed response, each as the official client types it."""

from typing import Literal

from pydantic import BaseModel

from mcp_server.http.openai.chat_result import TokenLogprobs
from mcp_server.http.openai.responses.objects import (
    FileCitation,
    OutputItem,
    OutputText,
    ResponseObject,
)


class _Numbered(BaseModel):
    sequence_number: int = 0
    """Its place in the stream, set as it is sent."""


class ResponseEvent(_Numbered):
    """The response is in another state."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: ResponseObject


class ItemEvent(_Numbered):
    """An item begins, or is as it stays."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class _InItem(_Numbered):
    item_id: str
    output_index: int


class SearchEvent(_InItem):
    """A search is in another state."""

    type: Literal[
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
    ]


class ArgumentsDelta(_InItem):
    """More of the arguments of a call."""

    type: Literal["response.function_call_arguments.delta"] = (
        "response.function_call_arguments.delta"
    )
    delta: str


class ArgumentsDone(_InItem):
    """All arguments of a call."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    name: str
    arguments: str


class _InPart(_InItem):
    content_index: int = 0


class PartEvent(_InPart):
    """A text begins, or is as it stays."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    part: OutputText


class TextDelta(_InPart):
    """More of a text."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    delta: str
    logprobs: list[TokenLogprobs]


class TextDone(_InPart):
    """All of a text."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str
    logprobs: list[TokenLogprobs]


class AnnotationAdded(_InPart):
    """Something is said of a text."""

    type: Literal["response.output_text.annotation.added"] = "response.output_text.annotation.added"
    annotation_index: int
    annotation: FileCitation


Event = (
    ResponseEvent
    | ItemEvent
    | SearchEvent
    | PartEvent
    | TextDelta
    | TextDone
    | AnnotationAdded
    | ArgumentsDelta
    | ArgumentsDone
)
"""Something that has happened."""
