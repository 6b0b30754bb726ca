"""The tool status, for hosts that read no resources."""

from typing import Annotated

from mcp_types import CallToolResult, TextContent

from mcp_server import concurrency, rendering, reports
from mcp_server.lifespan import Gateway
from mcp_server.results import StatusResult
from mcp_server.tools.failures import GatewayTool, tool


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def status() -> Annotated[CallToolResult, StatusResult]:
        """Tells which models answer, whether they are loaded, what is indexed, which folders may
        be indexed, and what to do about each problem."""
        result = await concurrency.run(
            gateway.index_queue, lambda: reports.status(gateway.engine, gateway.settings)
        )
        return CallToolResult(
            content=[TextContent(type="text", text=rendering.status(result))],
            structured_content=result.model_dump(),
        )

    return [tool(status, title="Status")]
