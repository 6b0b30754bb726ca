"""The tool semantic_search: a question in, passages with their places out."""

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from engine.search.narrowing import Narrowing
from mcp_server import arguments as words
from mcp_server import passages, rendering
from mcp_server.asking import asker
from mcp_server.budgets import SEARCH_TOKENS
from mcp_server.lifespan import Gateway
from mcp_server.passages import Asked
from mcp_server.results import SearchResult
from mcp_server.tools.making import GatewayTool, answer, tool


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def semantic_search(
        query: words.Query,
        context: Context[Any, Any],
        top_k: words.TopK = 8,
        max_tokens: words.ResultTokens = SEARCH_TOKENS,
        cursor: words.Cursor = "",
        collections: words.Collections = [],  # noqa: B006 - pydantic copies it for each call.
        paths: words.PathGlobs = [],  # noqa: B006
        kinds: words.DocumentKinds = [],  # noqa: B006
        modified_after: words.ModifiedAfter = "",
        modified_before: words.ModifiedBefore = "",
        metadata: words.Metadata = {},  # noqa: B006
        mode: words.SearchMode = "hybrid",
        explain: words.Explain = False,
        snippet_characters: words.SnippetCharacters = 800,
    ) -> Annotated[CallToolResult, SearchResult]:
        """Finds passages by words and meaning in the user's own documents, notes, mail and code:
        use it before answering about them. Gives path and lines to cite."""
        narrowing = Narrowing(
            collections=collections,
            paths=paths,
            kinds=kinds,
            modified_after=modified_after,
            modified_before=modified_before,
            metadata=metadata,
        )
        asked = Asked(
            query=query,
            top_k=top_k,
            snippet_characters=snippet_characters,
            max_tokens=max_tokens,
            narrowing=narrowing,
            mode=mode,
            cursor=cursor,
            explain=explain,
        )
        return await _answer(gateway, asked, context)

    return [tool(semantic_search, title="Search documents by words and meaning")]


async def _answer(gateway: Gateway, asked: Asked, context: Context[Any, Any]) -> CallToolResult:
    library = gateway.engine.library
    by = asker(context)
    request = await gateway.read(lambda: asked.request(library), by.name)
    found = await gateway.searched(
        request,
        context.report_progress,
        lambda matches: passages.result(library, asked, matches),
        by.name,
    )
    return answer(rendering.search(found), found, passages.structured(found))
