"""ChatChunk and ChatResult: what the route /chat/completions sends, and how chunks make a whole."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from mcp_server.http.openai.answers import AnswerBody
from mcp_server.http.openai.logprobs import RankedToken, ToldToken

FinishReason = Literal["stop", "length", "tool_calls"]


def _is_none(value: object) -> bool:
    return value is None


class TokenProbability(BaseModel):
    """A token and how probable it was."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TokenProbability):
    """A token of the answer."""

    top_logprobs: list[TokenProbability]


class ChoiceLogprobs(BaseModel):
    """The tokens of a message's text."""

    content: list[TokenLogprobs]
    refusal: None = None


class FunctionDelta(BaseModel):
    """A function's name, or more of its arguments."""

    name: str | None = Field(default=None, exclude_if=_is_none)
    arguments: str = ""


class ToolCallDelta(BaseModel):
    """A call begins, or goes on."""

    index: int
    id: str | None = Field(default=None, exclude_if=_is_none)
    type: Literal["function"] | None = Field(default=None, exclude_if=_is_none)
    function: FunctionDelta


class Delta(BaseModel):
    """What a chunk adds to a message."""

    role: Literal["assistant"] | None = Field(default=None, exclude_if=_is_none)
    content: str | None = Field(default=None, exclude_if=_is_none)
    tool_calls: list[ToolCallDelta] | None = Field(default=None, exclude_if=_is_none)


class ChunkChoice(BaseModel):
    """What a chunk adds to a choice."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(AnswerBody):
    """A piece of a stream."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChunkChoice]


class CalledTool(BaseModel):
    """A function and its arguments, which are JSON."""

    name: str
    arguments: str


class ToolCallObject(BaseModel):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: CalledTool


class ChatMessageObject(BaseModel):
    """The model's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: list[Any] = []
    tool_calls: list[ToolCallObject] | None = Field(default=None, exclude_if=_is_none)


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessageObject
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatResult(AnswerBody):
    """A whole answer."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]


def folded(chunks: Sequence[ChatChunk]) -> ChatResult:
    """The answer whose chunks these are."""
    last = chunks[-1]
    by_index: dict[int, list[ChunkChoice]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            by_index.setdefault(choice.index, []).append(choice)
    return ChatResult(
        **last.model_dump(include={"id", "created", "model", "system_fingerprint"}),
        usage=last.usage,
        choices=[_folded_choice(by_index[index]) for index in sorted(by_index)],
    )


def _folded_choice(parts: Sequence[ChunkChoice]) -> ChatChoice:
    text = "".join(part.delta.content or "" for part in parts)
    calls: list[ToolCallObject] = []
    for delta in (delta for part in parts for delta in part.delta.tool_calls or ()):
        if delta.id is not None:
            name = delta.function.name or ""
            calls.append(ToolCallObject(id=delta.id, function=CalledTool(name=name, arguments="")))
        calls[delta.index].function.arguments += delta.function.arguments
    logprobs = [part.logprobs for part in parts if part.logprobs is not None]
    reason = parts[-1].finish_reason
    assert reason is not None
    return ChatChoice(
        index=parts[0].index,
        message=ChatMessageObject(
            content=text or (None if calls else ""), tool_calls=calls or None
        ),
        logprobs=ChoiceLogprobs(content=[t for one in logprobs for t in one.content])
        if logprobs
        else None,
        finish_reason=reason,
    )


def choice_logprobs(told: Sequence[ToldToken]) -> ChoiceLogprobs:
    """The probabilities of tokens."""
    return ChoiceLogprobs(content=list(map(_token, told)))


def _token(told: ToldToken) -> TokenLogprobs:
    top = [TokenProbability(**_probability(token)) for token in told.top]
    return TokenLogprobs(**_probability(told.token), top_logprobs=top)


def _probability(token: RankedToken) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.content)}
