"""The routes /responses: text, functions and the search of documents in one request."""

from starlette.responses import Response

from engine.errors import NotFound
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints, Method
from mcp_server.http.openai.bodies import reply
from mcp_server.http.openai.responses import file_search
from mcp_server.http.openai.responses.bodies import InputTokensBody, ResponsesBody
from mcp_server.http.openai.responses.events import Event
from mcp_server.http.openai.responses.objects import InputTokens, ResponseObject
from mcp_server.http.openai.responses.preparing import prepared
from mcp_server.http.openai.responses.responding import Responding
from mcp_server.http.openai.responses.tools import shown_choice, shown_tools
from mcp_server.http.openai.responses.writing import Writing
from mcp_server.http.streaming import EventStream

_STORED: tuple[tuple[str, Method], ...] = (
    ("response", "GET"),
    ("response_delete", "DELETE"),
    ("response_post", "POST"),
)
"""Names of the routes on what would be stored."""


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="responses",
            method="POST",
            path="/responses",
            scope="infer",
            answer=_respond,
            operation="chat",
            reads="input",
            body=ResponsesBody,
            result=ResponseObject,
            chunk=Event,
        ),
        Endpoint(
            name="input_tokens",
            method="POST",
            path="/responses/input_tokens",
            scope="infer",
            answer=_count,
            reads="input",
            body=InputTokensBody,
            result=InputTokens,
        ),
        *(
            Endpoint(
                name=name,
                method=method,
                path="/responses/{response:path}",
                scope="infer",
                answer=_stored,
            )
            for name, method in _STORED
        ),
    )


async def _respond(call: Call[ResponsesBody]) -> Response:
    """Answers with text or calls of functions, after a search of documents if that is a tool."""
    body = call.body
    ready = await prepared(call, body, body.model)
    writing = Writing(_response(call), file_search.citations(ready.passages))
    responding = Responding(call, ready, writing)
    if body.stream:
        return EventStream(responding.frames())
    return reply(await responding.response())


async def _count(call: Call[InputTokensBody]) -> Response:
    """Counts the tokens that a request would be read as."""
    ready, gateway = await prepared(call, call.body, call.body.model), call.gateway
    async with gateway.model(gateway.engine.decoder, call.tell) as decoder:
        tokens = await gateway.tokenised(lambda: decoder.count(ready.messages), call.caller.key_id)
    return reply(InputTokens(input_tokens=tokens))


async def _stored(call: Call[None]) -> Response:
    """Tells that no response is stored here."""
    raise NotFound(f"There is no response {call.path['response'][:100]!r}: nothing is stored here.")


def _response(call: Call[ResponsesBody]) -> ResponseObject:
    """A response that has not begun, with what was asked for."""
    body = call.body
    params = body.sampling(context=1)
    return ResponseObject(
        created_at=call.created,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata,
        model=body.model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        prompt_cache_key=body.prompt_cache_key,
        safety_identifier=body.safety_identifier,
        temperature=params.temperature,
        text=body.text.model_dump(mode="json", by_alias=True, exclude_none=True),
        tool_choice=shown_choice(body.tool_choice),
        tools=shown_tools(body.tools),
        top_logprobs=body.top_logprobs or 0,
        top_p=params.top_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        truncation=body.truncation or "disabled",
        user=body.user,
    )
