"""The tool embed: texts in, unit vectors out."""

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from engine.errors import InvalidInput
from mcp_server import arguments as words
from mcp_server import rendering, reports
from mcp_server.asking import asker
from mcp_server.budgets import LARGEST_CHARACTERS
from mcp_server.lifespan import Gateway
from mcp_server.results import EmbedResult
from mcp_server.tools.making import GatewayTool, answer, tool

_CHARACTERS = {"float": 11, "base64": 16 / 3}
"""Of a dimension at most: sign, digit, point, 6 decimals, comma, space; 4 bytes in base64."""

_OTHER_CHARACTERS = 1_000
"""Of a result, around its vectors."""


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def embed(
        texts: words.Texts,
        context: Context[Any, Any],
        kind: words.Kind = "document",
        encoding: words.Encoding = "float",
    ) -> Annotated[CallToolResult, EmbedResult]:
        """Turns texts into unit vectors, for programs. To find passages use semantic_search
        instead."""
        by = asker(context)
        async with gateway.model(gateway.engine.embedder, context.report_progress) as embedder:
            _check_size(len(texts), embedder.dimensions, encoding)
            async with gateway.embeddings.slot(by.name):
                found = await gateway.embedded(embedder, texts, kind)
            by.spend(prompt_tokens=found.prompt_tokens)
        result = reports.embeddings(found, encoding)
        return answer(rendering.embeddings(result), result)

    return [tool(embed, title="Embed texts")]


def _check_size(texts: int, dimensions: int, encoding: str) -> None:
    """Refuses what would not fit into one result, before any work is done."""
    room = LARGEST_CHARACTERS - _OTHER_CHARACTERS
    fits = int(room / (dimensions * _CHARACTERS[encoding]))
    if texts > fits:
        less = "send fewer a call, or encoding=base64" if encoding == "float" else "send fewer"
        raise InvalidInput(
            f"{texts} vectors do not fit into one result as {encoding}, {fits} do: {less}; "
            "for whole files use index_documents or, from a shell, npu-gateway embed --json."
        )
