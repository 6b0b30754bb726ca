"""What the suite asks of a server with tasks: tools that are slow, that fail, and that need a task.

Names and texts are the suite's. `confirm_delete` and `multi_input`, which ask for something while
they work, are left out: no tool of the product does.
"""

from typing import Any

import anyio
from asking_fixtures import NAME
from mcp.server.mcpserver import Context, MCPServer, require_client_extension
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, ElicitResult, InputRequiredResult, TextContent

from mcp_server.tasks.extension import IDENTIFIER
from mcp_server.tasks.lasting import Lasting, as_told
from mcp_server.tasks.store import Tasks

_SOON_SECONDS = 1.0
"""In which a busy machine, too, has asked for a name."""


def add_to(server: MCPServer[Any], tasks: Tasks) -> None:
    """Adds the tools; all but `greet` become tasks at once where a client knows them."""
    server.add_tool(greet)
    for slow in (slow_compute, failing_job, protocol_error_job):
        server.add_tool(slow)
        tasks.lasting[slow.__name__] = Lasting(as_told, patience=0)
    server.add_tool(test_tool_with_task, structured_output=False)
    tasks.lasting[test_tool_with_task.__name__] = Lasting(as_told, patience=_SOON_SECONDS)


async def test_tool_with_task(context: Context[Any, Any]) -> Any:
    """Asks for a name at once; then takes its time, and is a task."""
    answer = (context.input_responses or {}).get("user_name")
    if not isinstance(answer, ElicitResult):
        return InputRequiredResult(input_requests={"user_name": NAME})
    await anyio.sleep(2 * _SOON_SECONDS)
    return [TextContent(type="text", text=f"Hello, {(answer.content or {})['name']}!")]


async def greet(name: str) -> str:
    """Answers at once."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float, label: str = "") -> str:
    """Takes so many seconds."""
    await anyio.sleep(seconds)
    return f"{label} took {seconds} s"


async def failing_job(context: Context[Any, Any]) -> str:
    """Fails as tools fail; only as a task."""
    require_client_extension(context.request_context, IDENTIFIER)
    await anyio.sleep(1)
    raise ToolError("This job always fails.")


async def protocol_error_job() -> str:
    """Fails as requests fail, once it is a task."""
    await anyio.sleep(0.1)
    raise MCPError(INTERNAL_ERROR, "This job fails as a request.")
