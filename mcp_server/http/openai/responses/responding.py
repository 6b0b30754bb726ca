"""Responding: the pieces of one answer as the events of a response.

Rule: nothing is told before the first piece is there, so that whatever is wrong with a request is
told by a status; what goes wrong later becomes the last event. An answer that is not streamed is
the response in the last event.
"""

import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count

from engine.decode.decoder import Piece, Usage
from engine.decode.output_forms import ToolCalls
from engine.decode.tool_calls import (
    ArgumentsDelta,
    CallBegun,
    CallEnded,
    TextDelta,
    ToolCallStream,
)
from engine.decode.tool_calls import Event as Part
from engine.errors import EngineError, InvalidInput
from mcp_server.http.call import Call
from mcp_server.http.failures import error_result
from mcp_server.http.openai import answers
from mcp_server.http.openai.chat_result import choice_logprobs
from mcp_server.http.openai.logprobs import ShownTokens, ToldToken
from mcp_server.http.openai.responses import file_search
from mcp_server.http.openai.responses.bodies import ResponsesBody
from mcp_server.http.openai.responses.events import ResponseEvent
from mcp_server.http.openai.responses.objects import (
    InputTokensDetails,
    ResponseFailure,
    ResponseObject,
    ResponseUsage,
)
from mcp_server.http.openai.responses.preparing import Prepared
from mcp_server.http.openai.responses.writing import Events, Writing
from mcp_server.http.streaming import DONE, Frames, frame

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Responding:
    """One response that is to be written."""

    call: Call[ResponsesBody]
    prepared: Prepared
    writing: Writing

    async def events(self) -> AsyncGenerator[Events]:
        """All events of a response that succeeds, those together that come together.

        Raises:
            EngineError: It cannot be written, or not to its end.
        """
        body, form = self.call.body, self.prepared.form
        asked = answers.Asked(
            model=body.model,
            prompts=[self.prepared.messages],
            params=partial(
                body.sampling,
                max_tokens=body.max_output_tokens or self.call.usual_tokens,
                logprobs=body.logprobs,
            ),
            form=form,
            has_logprobs=body.logprobs is not None,
        )
        async with answers.answering(self.call, asked) as work:
            tokens = ShownTokens(work.decoder.token_bytes) if asked.has_logprobs else None
            reading = _Reading(self.writing, isinstance(form, ToolCalls), tokens)
            has_begun = False
            async for pieces in work.coming:
                begun = [] if has_begun else self._beginning()
                has_begun = True
                yield [*begun, *(event for _, piece in pieces for event in reading.read(piece))]

    async def frames(self) -> Frames:
        """The same as bytes to be sent, and a failure as the last event."""
        numbers, has_begun = count(), False
        async with aclosing(self.events()) as coming:
            try:
                async for events in coming:
                    if events:
                        has_begun = True
                        yield _encoded(events, numbers)
            except Exception as error:
                if not has_begun:
                    raise
                yield _encoded(self.writing.fail(_failure(error)), numbers)
        yield DONE

    async def response(self) -> ResponseObject:
        """The response when it is whole.

        Raises:
            EngineError: As `events`.
        """
        async with aclosing(self.events()) as coming:
            last = None
            async for events in coming:
                last = events[-1] if events else last
        assert isinstance(last, ResponseEvent)
        return last.response

    def _beginning(self) -> Events:
        begun, searched = self.writing.begin(), self.prepared.searched
        if searched is None:
            return begun
        with_results = self.call.body.includes("file_search_call.results")
        item = file_search.search_call(searched.query, searched.findings, with_results=with_results)
        return [*begun, *self.writing.search(item)]


class _Reading:
    """Reads one answer: which of its text is said, and which calls functions."""

    def __init__(self, writing: Writing, may_call: bool, tokens: ShownTokens | None) -> None:
        self._writing = writing
        self._calls = ToolCallStream() if may_call else None
        self._tokens = tokens

    def read(self, piece: Piece) -> Events:
        """What is certain now."""
        if self._tokens and piece.logprob and not piece.is_stop_token:
            self._tokens.add(piece.logprob)
        events = [event for part in self._parts(piece) for event in self._told(part)]
        if piece.finish_reason is not None:
            assert piece.usage is not None
            ending = "incomplete" if piece.finish_reason == "length" else "completed"
            events += self._rest() if ending == "incomplete" else []
            events += self._writing.end(ending, _usage(piece.usage))
        return events

    def _parts(self, piece: Piece) -> Sequence[Part]:
        if self._calls is None:
            return [TextDelta(piece.text)] if piece.text else []
        parts = self._calls.feed(piece.text) if piece.text else []
        if piece.finish_reason is None:
            return parts
        return [*parts, *self._calls.finish(is_cut=piece.finish_reason == "length")]

    def _told(self, part: Part) -> Events:
        match part:
            case TextDelta(text):
                shown = self._tokens.show(text) if self._tokens else list[ToldToken]()
                return self._writing.say(text, choice_logprobs(shown).content)
            case CallBegun(_, name):
                return self._writing.call(name)
            case ArgumentsDelta(_, text):
                return self._writing.argue(text)
            case CallEnded():
                return self._writing.close()

    def _rest(self) -> Events:
        """The tokens of half a character that a limit has cut."""
        rest = self._tokens.rest() if self._tokens and self._calls is None else []
        return self._writing.say("", choice_logprobs(rest).content) if rest else []


def _usage(used: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=used.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=used.cached_tokens),
        output_tokens=used.completion_tokens,
        total_tokens=used.prompt_tokens + used.completion_tokens,
    )


def _failure(error: Exception) -> ResponseFailure:
    """What the caller is told of an error; the log is told of bugs."""
    if not isinstance(error, EngineError):
        logger.error("responses failed after its beginning", exc_info=error)
    code = "invalid_prompt" if isinstance(error, InvalidInput) else "server_error"
    return ResponseFailure(code=code, message=error_result(error).error.message)


def _encoded(events: Events, numbers: Iterator[int]) -> bytes:
    return b"".join(
        frame(event.model_copy(update={"sequence_number": next(numbers)}), event.type)
        for event in events
    )
