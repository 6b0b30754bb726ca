"""What the family is asked: one body for answers, and the part of it that counts for tokens."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field, field_validator

from mcp_server.http.failures import Refused
from mcp_server.http.openai.bodies import RequestBody
from mcp_server.http.openai.formats import FormatType, NamedSchema
from mcp_server.http.openai.responses.items import InputItems
from mcp_server.http.openai.responses.tools import GivenChoice, GivenTools
from mcp_server.http.openai.sampling import SamplingFields, TokenLimit

_MOST_PAIRS = 16
_NOT_STORED = "nothing is stored here; send the whole conversation as input."


class TextFormat(NamedSchema):
    """What the text of an answer must look like."""

    type: FormatType


def _plain_text(value: Any) -> Any:
    return {"type": "text"} if value is None else value


def _empty(value: Any) -> Any:
    return {} if value is None else value


class TextConfig(BaseModel):
    """How the text of an answer is to be."""

    format: Annotated[
        TextFormat, BeforeValidator(_plain_text, json_schema_input_type=TextFormat | None)
    ] = Field(default_factory=lambda: TextFormat(type="text"))
    verbosity: str | None = None
    """Accepted; changes nothing."""


class PromptBody(RequestBody):
    """What decides on the prompt."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "conversation": _NOT_STORED,
        "prompt": "there are no stored prompts; send instructions and input.",
        "background": "answers are given in the call that asks for them.",
    }

    input: InputItems
    instructions: str | None = None
    tools: GivenTools = Field(default_factory=list[Any])
    tool_choice: GivenChoice = None
    parallel_tool_calls: bool | None = None
    text: Annotated[
        TextConfig, BeforeValidator(_empty, json_schema_input_type=TextConfig | None)
    ] = Field(default_factory=TextConfig)
    truncation: Literal["auto", "disabled"] | None = None
    max_output_tokens: TokenLimit | None = None
    previous_response_id: str | None = None

    @field_validator("previous_response_id")
    @classmethod
    def _unknown(cls, value: str | None) -> None:
        if value:
            raise Refused(
                f"There is no previous response {value[:100]!r}: {_NOT_STORED}",
                param="previous_response_id",
                code="previous_response_not_found",
            )


def _texts(value: Any) -> dict[str, str]:
    """Those pairs of an object that are texts."""
    if not isinstance(value, dict):
        return {}
    pairs = list(cast("dict[str, Any]", value).items())[:_MOST_PAIRS]
    return {key: one for key, one in pairs if isinstance(one, str)}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_Echoed = Annotated[str | None, BeforeValidator(_text)]


class InputTokensBody(PromptBody):
    """A request for the length of a prompt."""

    IGNORED: ClassVar[tuple[str, ...]] = ("personality", "reasoning")

    model: str | None = None


class ResponsesBody(SamplingFields, PromptBody):
    """A request for an answer."""

    IGNORED: ClassVar[tuple[str, ...]] = (
        "access_programs",
        "background_options",
        "context_management",
        "image",
        "reasoning",
        "store",
        "service_tier",
        "stream_options",
        "prompt_cache_options",
        "prompt_cache_retention",
    )
    REFUSED: ClassVar[Mapping[str, str]] = {
        **PromptBody.REFUSED,
        "moderation": "nothing is moderated here; leave it out.",
    }

    model: str
    stream: bool | None = None
    include: list[str] | None = None
    """file_search_call.results and message.output_text.logprobs are honoured."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    """Of searches, of which there is one at most."""
    metadata: Annotated[dict[str, str], BeforeValidator(_texts)] = Field(
        default_factory=dict[str, str]
    )
    """Echoed, as are the three below."""
    user: _Echoed = None
    safety_identifier: _Echoed = None
    prompt_cache_key: _Echoed = None

    @property
    def logprobs(self) -> int | None:
        """Most probable tokens to be told for each, or None for no word on it."""
        return (self.top_logprobs or 0) if self.includes("message.output_text.logprobs") else None

    def includes(self, what: str) -> bool:
        """Whether something is to be told that else is not."""
        return what in (self.include or ())
