"""What the suite asks every server to give: content of each kind, resources, prompts, changes.

Names and texts are the suite's; each function is a tool, prompt or resource of its own name.
"""

import base64
import json
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    ClientCapabilities,
    ContentBlock,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import Field

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"

Told = Context[Any, Any]


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def _image() -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(PNG).decode(), mime_type="image/png")


def _embedded(uri: str, mime_type: str, words: str) -> EmbeddedResource:
    inner = TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return EmbeddedResource(type="resource", resource=inner)


async def test_simple_text() -> list[ContentBlock]:
    """Gives one text."""
    return [text("This is a simple text response for testing.")]


async def test_image_content() -> list[ContentBlock]:
    """Gives one picture."""
    return [_image()]


async def test_audio_content() -> list[ContentBlock]:
    """Gives one sound."""
    data = base64.b64encode(WAV).decode()
    return [AudioContent(type="audio", data=data, mime_type="audio/wav")]


async def test_embedded_resource() -> list[ContentBlock]:
    """Gives one resource."""
    words = "This is an embedded resource content."
    return [_embedded("test://embedded-resource", "text/plain", words)]


async def test_multiple_content_types() -> list[ContentBlock]:
    """Gives a text, a picture and a resource."""
    inner = json.dumps({"test": "data", "value": 123})
    return [
        text("Multiple content types test:"),
        _image(),
        _embedded("test://mixed-content-resource", "application/json", inner),
    ]


async def test_error_handling() -> CallToolResult:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_logging(context: Told) -> list[ContentBlock]:
    """Logs three lines to the client."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(line)
        await anyio.sleep(0.05)
    return [text("logged")]


async def test_logging_tool(context: Told) -> list[ContentBlock]:
    """Logs one line, to a client that wants lines."""
    await context.info("A line for whoever asked for lines")
    return [text("logged")]


async def test_tool_with_progress(context: Told) -> list[ContentBlock]:
    """Tells how far it is three times."""
    for done in (0, 50, 100):
        await context.report_progress(done, 100)
        await anyio.sleep(0.05)
    return [text("done")]


async def test_missing_capability(context: Told) -> list[ContentBlock]:
    """Needs a client that can sample."""
    needed = ClientCapabilities(sampling=SamplingCapability())
    if context.client_capabilities is None or context.client_capabilities.sampling is None:
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs a client that can sample.",
            data.model_dump(by_alias=True, exclude_none=True),
        )
    return [text("The client can sample.")]


async def test_trigger_tool_change(context: Told) -> list[ContentBlock]:
    """Tells listeners that the tools have changed."""
    await context.notify_tools_changed()
    return [text("told")]


async def test_trigger_prompt_change(context: Told) -> list[ContentBlock]:
    """Tells listeners that the prompts have changed."""
    await context.notify_prompts_changed()
    return [text("told")]


async def test_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> list[ContentBlock]:
    """Takes an argument that stands in a header, too."""
    return [text(region)]


async def json_schema_2020_12_tool() -> list[ContentBlock]:
    """Has a schema of many words."""
    return [text("called")]


WORDY_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

TOOLS = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
    test_tool_with_logging,
    test_logging_tool,
    test_tool_with_progress,
    test_missing_capability,
    test_trigger_tool_change,
    test_trigger_prompt_change,
    test_headers,
    json_schema_2020_12_tool,
)


def add_to(server: MCPServer[Any]) -> None:
    """Lays all of it over a server."""
    for tool in TOOLS:
        server.add_tool(tool, structured_output=False)
    _wordy = server._tool_manager.get_tool(json_schema_2020_12_tool.__name__)
    assert _wordy is not None
    _wordy.parameters = WORDY_SCHEMA
    _add_resources(server)
    _add_prompts(server)
    _add_handlers(server)


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    async def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        """A picture."""
        return PNG

    @server.resource("test://watched-resource", mime_type="text/plain")
    async def watched_resource() -> str:
        """A text to be told about."""
        return "Watched."

    @server.resource("test://template/{id}/data", mime_type="application/json")
    async def template(id: str) -> str:
        """A text of a name."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt()
    async def test_simple_prompt() -> str:
        """One message."""
        return "This is a simple prompt for testing."

    @server.prompt()
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """One message of two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
        """A resource and a message."""
        words = "Embedded resource content for testing."
        return [
            UserMessage(_embedded(resourceUri, "text/plain", words)),
            UserMessage("Please process the embedded resource above."),
        ]

    @server.prompt()
    async def test_prompt_with_image() -> list[Message]:
        """A picture and a message."""
        return [UserMessage(_image()), UserMessage("Please analyze the image above.")]


def _add_handlers(server: MCPServer[Any]) -> None:
    """What the product does not take: levels of logging, subscriptions of the older revisions."""
    rows = {
        "logging/setLevel": SetLevelRequestParams,
        "resources/subscribe": SubscribeRequestParams,
        "resources/unsubscribe": UnsubscribeRequestParams,
    }
    lowlevel = server._lowlevel_server

    async def taken(_context: Any, _params: Any) -> EmptyResult:
        return EmptyResult()

    for method, params in rows.items():
        lowlevel.add_request_handler(method, params, taken)
