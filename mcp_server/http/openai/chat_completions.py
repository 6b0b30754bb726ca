"""The route /chat/completions: a conversation in, its next message out, at once or as it comes.

Rule: the message is the fold of the stream's chunks, so that both are of one make.
"""

import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from starlette.responses import Response

from engine.decode.decoder import Decoder, Piece
from engine.decode.output_forms import OutputForm, ToolCalls
from engine.decode.tool_calls import ArgumentsDelta, CallBegun, Event, TextDelta, ToolCallStream
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.openai.answers import Asked, answering
from mcp_server.http.openai.chat_result import (
    ChatChunk,
    ChatResult,
    ChunkChoice,
    Delta,
    FunctionDelta,
    ToolCallDelta,
    choice_logprobs,
    folded,
)
from mcp_server.http.openai.conversation import ChatMessages, chat_turns, prompt_of
from mcp_server.http.openai.formats import ResponseFormat, chat_form
from mcp_server.http.openai.logprobs import ShownTokens, ToldToken
from mcp_server.http.openai.sampling import ChoiceCount, SamplingFields, TokenLimit
from mcp_server.http.openai.sending import StreamOptions, sent
from mcp_server.http.openai.tools import MOST_TOOLS, FunctionTool, GivenToolChoice, tool_form


class ChatBody(SamplingFields):
    """A request for the next message of a conversation."""

    IGNORED: ClassVar[tuple[str, ...]] = (
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    )
    REFUSED: ClassVar[Mapping[str, str]] = {
        "audio": "the models here write text alone.",
        "moderation": "nothing here judges texts; leave it out.",
        "web_search_options": "nothing here reaches the web; leave it out.",
        "functions": "use tools.",
        "function_call": "use tool_choice.",
        "chat_template": "the model's own is used; leave it out.",
        "structured_outputs": "use response_format.",
        "guided_json": "use response_format.",
        "guided_regex": "use response_format with a pattern in its schema.",
        "guided_choice": "use response_format with an enum in its schema.",
        "guided_grammar": "use response_format.",
        "grammar": "use response_format.",
    }

    model: str
    messages: ChatMessages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: ChoiceCount | None = None
    max_completion_tokens: TokenLimit | None = None
    max_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: GivenToolChoice = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="chat_completions",
            method="POST",
            path="/chat/completions",
            scope="infer",
            answer=_chat,
            operation="chat",
            reads="messages",
            body=ChatBody,
            result=ChatResult,
            chunk=ChatChunk,
        ),
    )


async def _chat(call: Call[ChatBody]) -> Response:
    """Writes the next message of a conversation."""
    asked = await call.gateway.tokenised(partial(_asked, call), call.caller.key_id)
    body, chunks = call.body, _chunks(call, asked)
    return await sent(chunks, folded, stream=body.stream, options=body.stream_options)


def _asked(call: Call[ChatBody]) -> Asked:
    body = call.body
    form = _form(body)
    most = body.max_completion_tokens or body.max_tokens or call.usual_tokens
    return Asked(
        model=body.model,
        prompts=[prompt_of(chat_turns(body.messages), form)],
        params=partial(body.sampling, max_tokens=most, logprobs=_top(body)),
        choices=body.n or 1,
        form=form,
        has_logprobs=bool(body.logprobs),
    )


def _top(body: ChatBody) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise Refused("top_logprobs needs logprobs; set it to true.", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _form(body: ChatBody) -> OutputForm | None:
    functions = [tool.function for tool in body.tools or ()]
    calls = tool_form(functions, body.tool_choice, parallel=body.parallel_tool_calls)
    form = chat_form(body.response_format)
    if calls is not None and form is not None:
        raise Refused(
            "An answer has one form: leave out response_format, or set tool_choice to none.",
            param="response_format",
        )
    return calls or form


async def _chunks(call: Call[ChatBody], asked: Asked) -> AsyncGenerator[list[ChatChunk]]:
    async with answering(call, asked) as work:
        made = partial(
            ChatChunk,
            id=f"chatcmpl-{secrets.token_hex(12)}",
            created=call.created,
            model=asked.model,
            system_fingerprint=work.fingerprint,
        )
        choices = [_Choice(i, work.decoder, asked) for i in range(asked.choices)]
        async for pieces in work.coming:
            read = (choices[index].read(piece) for index, piece in pieces)
            yield [made(choices=[choice]) for parts in read for choice in parts]
        yield [made(choices=[], usage=work.usage())]


class _Choice:
    """One answer on its way into chunks."""

    def __init__(self, index: int, decoder: Decoder, asked: Asked) -> None:
        self._index = index
        self._calls = ToolCallStream() if isinstance(asked.form, ToolCalls) else None
        self._tokens = ShownTokens(decoder.token_bytes) if asked.has_logprobs else None
        self._has_begun = self._has_called = False

    def read(self, piece: Piece) -> Iterator[ChunkChoice]:
        """What a piece adds."""
        if not self._has_begun:
            self._has_begun = True
            yield self._adding(Delta(role="assistant", content=""))
        if self._tokens and piece.logprob and not piece.is_stop_token:
            self._tokens.add(piece.logprob)
        for event in self._events(piece):
            yield from self._told(event)
        if piece.finish_reason is not None:
            yield from self._ended(piece.finish_reason)

    def _events(self, piece: Piece) -> Sequence[Event]:
        if self._calls is None:
            return [TextDelta(piece.text)] if piece.text else []
        events = self._calls.feed(piece.text) if piece.text else []
        if piece.finish_reason is None:
            return events
        return [*events, *self._calls.finish(is_cut=piece.finish_reason == "length")]

    def _told(self, event: Event) -> Iterator[ChunkChoice]:
        match event:
            case TextDelta(text):
                told = self._tokens.show(text) if self._tokens else None
                yield self._adding(Delta(content=text), told)
            case CallBegun(index, name):
                self._has_called = True
                call = ToolCallDelta(
                    index=index,
                    id=f"call_{secrets.token_hex(12)}",
                    type="function",
                    function=FunctionDelta(name=name),
                )
                yield self._adding(Delta(tool_calls=[call]))
            case ArgumentsDelta(index, text):
                more = ToolCallDelta(index=index, function=FunctionDelta(arguments=text))
                yield self._adding(Delta(tool_calls=[more]))
            case _:
                pass

    def _ended(self, reason: Literal["stop", "length"]) -> Iterator[ChunkChoice]:
        if reason == "length" and self._tokens and self._calls is None:
            yield self._adding(Delta(content=""), self._tokens.rest())
        is_call = self._has_called and reason == "stop"
        yield ChunkChoice(
            index=self._index,
            delta=Delta(),
            finish_reason="tool_calls" if is_call else reason,
        )

    def _adding(self, delta: Delta, told: Sequence[ToldToken] | None = None) -> ChunkChoice:
        logprobs = None if told is None else choice_logprobs(told)
        return ChunkChoice(index=self._index, delta=delta, logprobs=logprobs)
