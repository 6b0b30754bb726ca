"""What the family answers with: a response, its output items and their parts.

Rule: whatever the official client or the Open Responses schema asks for is there, null where there
is nothing to say.
"""

from secrets import token_hex
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from mcp_server.http.openai.chat_result import TokenLogprobs

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]

_ID_BYTES = 24


def new_id(prefix: str) -> str:
    """An id that nothing else has."""
    return f"{prefix}_{token_hex(_ID_BYTES)}"


class FileCitation(BaseModel):
    """A document whose passage was before the model when it wrote the text.

    It says that the text could rest on the document, not which sentence of it does: a small model
    marks no places.
    """

    type: Literal["file_citation"] = "file_citation"
    file_id: str
    filename: str
    index: int
    """Of the document among those that were given, best first."""


class OutputText(BaseModel):
    """The text of a message."""

    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: list[FileCitation] = Field(default_factory=list[FileCitation])
    logprobs: list[TokenLogprobs] = Field(default_factory=list[TokenLogprobs])


class OutputMessage(BaseModel):
    """What the model says."""

    type: Literal["message"] = "message"
    id: str = Field(default_factory=lambda: new_id("msg"))
    status: ItemStatus = "in_progress"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = Field(default_factory=list[OutputText])


class FunctionCall(BaseModel):
    """A function that the model asks for."""

    type: Literal["function_call"] = "function_call"
    id: str = Field(default_factory=lambda: new_id("fc"))
    call_id: str = Field(default_factory=lambda: new_id("call"))
    name: str
    arguments: str = ""
    status: ItemStatus = "in_progress"


class FileSearchResult(BaseModel):
    """A passage that was found."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, str | float | bool]


class FileSearchCall(BaseModel):
    """A search of documents."""

    type: Literal["file_search_call"] = "file_search_call"
    id: str = Field(default_factory=lambda: new_id("fs"))
    status: Literal["in_progress", "searching", "completed"] = "in_progress"
    queries: list[str]
    results: list[FileSearchResult] | None = None
    """None unless the request includes them."""


OutputItem = Annotated[OutputMessage | FunctionCall | FileSearchCall, Field(discriminator="type")]


class InputTokensDetails(BaseModel):
    """Of the tokens that were read."""

    cached_tokens: int
    """Those known from an earlier request."""
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    """Of the tokens that were written."""

    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    """Tokens that were read and written."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = Field(default_factory=OutputTokensDetails)
    total_tokens: int


class IncompleteDetails(BaseModel):
    """Why a response is not complete."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseFailure(BaseModel):
    """What went wrong after the beginning."""

    code: Literal["server_error", "invalid_prompt", "rate_limit_exceeded"]
    message: str


class ResponseReasoning(BaseModel):
    """How much was thought before the answer: these models do not."""

    effort: None = None
    summary: None = None


class ResponseObject(BaseModel):
    """An answer, with what was asked for as it was understood."""

    id: str = Field(default_factory=lambda: new_id("resp"))
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus = "in_progress"
    background: Literal[False] = False
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem] = Field(default_factory=list[Any])
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: ResponseReasoning = Field(default_factory=ResponseReasoning)
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    user: str | None


class InputTokens(BaseModel):
    """How many tokens a request would be read as."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
