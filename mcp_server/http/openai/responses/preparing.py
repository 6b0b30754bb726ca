"""Preparing: what a body asks of a decoder: its prompt, made to fit where that was asked for.

Rule: a route that counts tokens and one that answers read one and the same prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.decode.decoder import Decoder
from engine.decode.output_forms import OutputForm
from engine.decode.tool_turns import ToolResult, Turn
from engine.text.chat import Message
from mcp_server.http.call import Call
from mcp_server.http.failures import Refused
from mcp_server.http.openai.answers import served_context
from mcp_server.http.openai.conversation import prompt_of
from mcp_server.http.openai.formats import json_form
from mcp_server.http.openai.responses import file_search
from mcp_server.http.openai.responses.bodies import PromptBody
from mcp_server.http.openai.responses.items import input_turns
from mcp_server.http.openai.responses.tools import choice_of_functions, functions, search_tool
from mcp_server.http.openai.stores import Finding, Findings
from mcp_server.http.openai.tools import tool_form

_PASSAGE_TOKENS = 1_500
"""Of all passages together: SmolLM2 reads as many in four seconds on two cores."""

# Of a context, what is left for an answer where its length is not said, and where it is.
_USUAL_SHARE, _LARGEST_SHARE = 4, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A search that was made for an answer."""

    query: str
    findings: Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a decoder is asked."""

    messages: list[Message]
    form: OutputForm | None
    searched: Searched | None
    passages: list[Finding]
    """Of what was found, those that are in the prompt, best first."""


async def prepared(call: Call[Any], body: PromptBody, model: str | None) -> Prepared:
    """What a body asks of the decoder.

    Args:
        call: Whose gateway has it.
        body: The call's.
        model: The id that was given, if one was.

    Raises:
        EngineError: The body cannot be served as it is, or this model does not answer here.
    """
    gateway, caller = call.gateway, call.caller.key_id
    turns, form = await gateway.tokenised(
        lambda: (input_turns(body.input, body.instructions), _form(body)), caller
    )
    if model is not None:
        await served_context(gateway, model)
    async with gateway.model(gateway.engine.decoder, call.tell) as decoder:
        searched = await _searched(call, body, turns)
        return await gateway.tokenised(
            lambda: _prepared(decoder, body, turns, form, searched), caller
        )


def _form(body: PromptBody) -> OutputForm | None:
    choice = choice_of_functions(body.tools, body.tool_choice)
    calls = tool_form(functions(body.tools), choice, parallel=body.parallel_tool_calls)
    given = body.text.format
    text = json_form(given.type, given.schema_, "text.format.schema")
    if calls is not None and text is not None:
        raise Refused(
            "An answer has one form: leave out text.format, or set tool_choice to none.",
            param="text.format",
        )
    return calls or text


async def _searched(call: Call[Any], body: PromptBody, turns: Sequence[Turn]) -> Searched | None:
    tool = search_tool(body.tools, body.tool_choice)
    query = file_search.query_of(turns)
    if tool is None or not query:
        return None
    return Searched(query=query, findings=await file_search.findings(call, tool, query))


def _prepared(
    decoder: Decoder,
    body: PromptBody,
    turns: Sequence[Turn],
    form: OutputForm | None,
    searched: Searched | None,
) -> Prepared:
    def fit(some: Sequence[Turn], tokens: int) -> bool:
        return decoder.is_within(prompt_of(some, form), tokens)

    room = decoder.context - _answer_room(decoder.context, body.max_output_tokens)
    kept = (
        _truncated(turns, lambda some: fit(some, room))
        if body.truncation == "auto"
        else list(turns)
    )
    found = file_search.worth_giving(searched.findings) if searched and fit(kept, room) else []
    most = min(room, decoder.count(prompt_of(kept, form)) + _PASSAGE_TOKENS) if found else 0
    given = file_search.most_that_fit(
        found, lambda some: fit(file_search.informed(kept, some), most)
    )
    messages = prompt_of(file_search.informed(kept, found[:given]), form)
    return Prepared(
        messages=messages,
        form=form,
        searched=searched,
        passages=found[:given],
    )


def _answer_room(context: int, most: int | None) -> int:
    """Tokens that are left for an answer."""
    return context // _USUAL_SHARE if most is None else min(most, context // _LARGEST_SHARE)


def _truncated(turns: Sequence[Turn], fits: Callable[[Sequence[Turn]], bool]) -> list[Turn]:
    """The turns without as many of the oldest as it takes for them to fit.

    Instructions stay, and so does the last turn; what a tool gave back goes with its call.
    """
    if fits(turns):
        return list(turns)
    told = [one for one in turns if _is_told(one)]
    rest = [one for one in turns if not _is_told(one)]
    starts = [i for i, one in enumerate(rest) if not isinstance(one, ToolResult)] or [0]
    least, most = 0, len(starts) - 1
    while least < most:
        middle = (least + most) // 2
        if fits([*told, *rest[starts[middle] :]]):
            most = middle
        else:
            least = middle + 1
    return [*told, *rest[starts[least] :]]


def _is_told(turn: Turn) -> bool:
    return isinstance(turn, Message) and turn.role == "system"
