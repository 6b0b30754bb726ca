"""The tool semantic_search: a question in, passages with their places out."""

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from engine.embed.embeddings import Embeddings
from mcp_server import arguments as words
from mcp_server import rendering, reports
from mcp_server.lifespan import Gateway
from mcp_server.results import SearchResult
from mcp_server.tools.making import GatewayTool, answer, tool

_TEXT_CHARACTERS = words.RESULT_CHARACTERS // 2
"""For the passages of one result together; the rest is room for paths, headings and escapes."""


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def semantic_search(
        query: words.Query,
        context: Context[Any, Any],
        top_k: words.TopK = 5,
        snippet_characters: words.SnippetCharacters = 1200,
    ) -> Annotated[CallToolResult, SearchResult]:
        """Finds passages by meaning in the user's own indexed documents, notes and code: use it
        before answering about them. Gives path and lines to cite; get_document reads around."""

        def look_up(question: Embeddings) -> SearchResult:
            found = gateway.engine.nearest(question, top_k)
            return reports.search(gateway.engine, found, snippet_characters, _TEXT_CHARACTERS)

        result = await gateway.searched(query, context, look_up)
        return answer(rendering.search(result), result)

    return [tool(semantic_search, title="Search documents by meaning")]
