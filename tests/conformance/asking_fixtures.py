"""What the suite has a server ask of its client: words, choices, roots.

Until 2025-11-25 by requests of its own; from 2026-07-28 by an InputRequiredResult, which the client
answers by calling again.
"""

from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    ContentBlock,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

Told = Context[Any, Any]
Answered = list[ContentBlock] | InputRequiredResult

STRING = {"type": "string"}


def _text(words: str) -> list[ContentBlock]:
    return [TextContent(type="text", text=words)]


def _form(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    asked = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": asked}


async def test_sampling(prompt: str, context: Told) -> list[ContentBlock]:
    """Has the client's model write."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    answer = await context.session.create_message(
        [message], max_tokens=100, related_request_id=context.request_id
    )
    return _text(f"LLM response: {answer.content}")


async def _elicited(context: Told, message: str, schema: dict[str, Any]) -> list[ContentBlock]:
    answer = await context.session.elicit_form(message, schema, context.request_id)
    return _text(f"Elicitation completed: action={answer.action}, content={answer.content}")


async def test_elicitation(message: str, context: Told) -> list[ContentBlock]:
    """Asks for a name and an address."""
    properties = {
        "username": STRING | {"description": "User's response"},
        "email": STRING | {"description": "User's email address"},
    }
    return await _elicited(context, message, _form(properties))


async def test_elicitation_sep1034_defaults(context: Told) -> list[ContentBlock]:
    """Asks with defaults of each type."""
    properties = {
        "name": STRING | {"default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": STRING | {"enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _elicited(context, "Please review", _form(properties, []))


async def test_elicitation_sep1330_enums(context: Told) -> list[ContentBlock]:
    """Asks for choices of each form."""
    plain = STRING | {"enum": ["option1", "option2", "option3"]}
    titled = [{"const": f"value{number}", "title": f"Choice {number}"} for number in (1, 2, 3)]
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]}
    properties = {
        "untitledSingle": plain,
        "titledSingle": STRING | {"oneOf": titled},
        "legacyEnum": STRING | legacy,
        "untitledMulti": {"type": "array", "items": plain},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await _elicited(context, "Please choose", _form(properties, []))


def _elicit(message: str, **properties: Any) -> ElicitRequest:
    params = ElicitRequestFormParams(message=message, requested_schema=_form(properties))
    return ElicitRequest(params=params)


def _sample(words: str, max_tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=words))
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


NAME = _elicit("What is your name?", name=STRING)


def _given(context: Told, key: str, kind: type[Any]) -> Any:
    """The client's answer of a key, if it is one of that kind."""
    answer = (context.input_responses or {}).get(key)
    return answer if isinstance(answer, kind) else None


def _field(context: Told, key: str, name: str) -> Any:
    """What stands in a field of a form that the client has filled in; None if it has not."""
    answer = _given(context, key, ElicitResult)
    return (answer.content or {}).get(name) if answer else None


async def test_input_required_result_elicitation(context: Told) -> Answered:
    """Asks for a name."""
    name = _field(context, "user_name", "name")
    return (
        InputRequiredResult(input_requests={"user_name": NAME})
        if name is None
        else _text(f"Hello, {name}!")
    )


async def test_input_required_result_sampling(context: Told) -> Answered:
    """Asks the client's model."""
    if answer := _given(context, "capital_question", CreateMessageResult):
        return _text(f"{answer.content}")
    asked = _sample("What is the capital of France?", 100)
    return InputRequiredResult(input_requests={"capital_question": asked})


async def test_input_required_result_list_roots(context: Told) -> Answered:
    """Asks for the client's roots."""
    if answer := _given(context, "client_roots", ListRootsResult):
        return _text(f"{answer.roots}")
    return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})


async def test_input_required_result_request_state(context: Told) -> Answered:
    """Asks for a yes, with a state."""
    is_sure = _field(context, "confirm", "ok")
    if is_sure is not None and context.request_state == "asked":
        return _text("state-ok")
    asked = _elicit("Please confirm", ok={"type": "boolean"})
    return InputRequiredResult(input_requests={"confirm": asked}, request_state="asked")


async def test_input_required_result_tampered_state(context: Told) -> Answered:
    """Asks for a yes, with a state that nobody may change."""
    return await test_input_required_result_request_state(context)


async def test_input_required_result_multiple_inputs(context: Told) -> Answered:
    """Asks for three things at once."""
    answers = (
        _field(context, "user_name", "name"),
        _given(context, "greeting", CreateMessageResult),
        _given(context, "client_roots", ListRootsResult),
    )
    if None not in answers and context.request_state == "three":
        return _text(f"{answers}")
    asked = {
        "user_name": NAME,
        "greeting": _sample("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    return InputRequiredResult(input_requests=asked, request_state="three")


async def test_input_required_result_multi_round(context: Told) -> Answered:
    """Asks for a name, then for a colour."""
    state = context.request_state or ""
    if state.startswith("name:") and (color := _field(context, "step2", "color")):
        return _text(f"{state.removeprefix('name:')} likes {color}")
    if state == "begun" and (name := _field(context, "step1", "name")):
        asked = {"step2": _elicit("Step 2: What is your favorite color?", color=STRING)}
        return InputRequiredResult(input_requests=asked, request_state=f"name:{name}")
    asked = {"step1": _elicit("Step 1: What is your name?", name=STRING)}
    return InputRequiredResult(input_requests=asked, request_state="begun")


async def test_input_required_result_capabilities(context: Told) -> Answered:
    """Asks only for what the client can."""
    can = context.client_capabilities
    asked: dict[str, Any] = {}
    if can and can.sampling is not None:
        asked["greeting"] = _sample("Generate a greeting", 50)
    if can and can.elicitation is not None:
        asked["user_name"] = NAME
    return InputRequiredResult(input_requests=asked) if asked else _text("nothing to ask with")


async def test_streaming_elicitation(context: Told) -> Answered:
    """Tells how far it is, then asks for a name."""
    await context.report_progress(1, 2)
    return await test_input_required_result_elicitation(context)


TOOLS = (
    test_sampling,
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_input_required_result_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round,
    test_input_required_result_capabilities,
    test_streaming_elicitation,
)


def add_to(server: MCPServer[Any]) -> None:
    """Lays all of it over a server."""
    for tool in TOOLS:
        server.add_tool(tool, structured_output=False)

    @server.prompt()
    async def test_input_required_result_prompt(context: Told) -> Any:
        """Asks what the prompt is about."""
        about = _field(context, "user_context", "context")
        if about is not None:
            return f"Use this context: {about}"
        asked = _elicit("What context should the prompt use?", context=STRING)
        return InputRequiredResult(input_requests={"user_context": asked})
