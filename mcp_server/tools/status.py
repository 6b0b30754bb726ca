"""The tool status, for hosts that read no resources."""

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from mcp_server import rendering
from mcp_server.asking import asker
from mcp_server.lifespan import Gateway
from mcp_server.results import StatusResult
from mcp_server.tools.making import GatewayTool, answer, tool


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def status(context: Context[Any, Any]) -> Annotated[CallToolResult, StatusResult]:
        """Tells which models answer, what is indexed, which folders may be indexed, and what to
        do about each problem."""
        result = await gateway.read(gateway.status, asker(context).name)
        return answer(rendering.status(result), result)

    return [tool(status, title="Status")]
