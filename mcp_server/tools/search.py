"""The tool semantic_search: a question in, passages with their places out."""

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.corpus import Hit
from mcp_server import arguments as words
from mcp_server import concurrency, rendering
from mcp_server.lifespan import Gateway
from mcp_server.results import Passage, SearchResult
from mcp_server.tools.failures import GatewayTool, tool

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
        embedder = await gateway.loaded(gateway.engine.embedder, context)
        hits, documents = await concurrency.run(
            gateway.index_queue, lambda: _found(gateway, query, top_k)
        )
        characters = min(snippet_characters, _TEXT_CHARACTERS // max(1, len(hits)))
        result = SearchResult(
            passages=[_passage(hit, characters) for hit in hits],
            documents=documents,
            model=embedder.spec.model_id,
            provider=embedder.provider,
        )
        return CallToolResult(
            content=[TextContent(type="text", text=rendering.search(result))],
            structured_content=result.model_dump(),
        )

    return [tool(semantic_search, title="Search documents by meaning")]


def _found(gateway: Gateway, query: str, top_k: int) -> tuple[list[Hit], int]:
    return gateway.engine.search(query, top_k), gateway.engine.index_statistics().documents


def _passage(hit: Hit, characters: int) -> Passage:
    text, cut = rendering.snippet(hit.chunk.text, characters)
    return Passage(
        document_id=hit.document.document_id,
        path=hit.document.path,
        line_start=hit.chunk.line_start,
        line_end=hit.chunk.line_end,
        heading=" > ".join(hit.chunk.heading_path),
        score=round(hit.score, 2),
        text=text,
        cut=cut,
    )
