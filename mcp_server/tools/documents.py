"""The tools get_document and list_documents: what is indexed, read and listed."""

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.search.narrowing import Narrowing
from mcp_server import arguments as words
from mcp_server import listing, reading, rendering
from mcp_server.asking import asker
from mcp_server.lifespan import Gateway
from mcp_server.results import DocumentPage
from mcp_server.tools.making import GatewayTool, answer, tool


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""
    library = gateway.engine.library

    async def list_documents(
        context: Context[Any, Any],
        cursor: words.Cursor = "",
        limit: words.PageLimit = 50,
        collections: words.Collections = [],  # noqa: B006 - pydantic copies it for each call.
        paths: words.PathGlobs = [],  # noqa: B006
        skipped: words.Skipped = False,
    ) -> Annotated[CallToolResult, DocumentPage]:
        """Lists what is indexed: collections, ids, paths, titles, kinds, sizes."""
        wanted = listing.Wanted(
            cursor=cursor,
            limit=limit,
            narrowing=Narrowing(collections=collections, paths=paths),
            skipped=skipped,
        )
        page = await gateway.read(lambda: listing.page(library, wanted), asker(context).name)
        return answer(rendering.documents(page), page)

    async def get_document(
        document_id: words.DocumentId,
        context: Context[Any, Any],
        line_start: words.LineStart = 1,
        line_end: words.LineEnd = 0,
        character_start: words.CharacterStart = 0,
        page: words.Page = 0,
    ) -> CallToolResult:
        """Reads an indexed document, or the lines around a passage of semantic_search. Returns
        only the text, as it was when it was indexed."""
        wanted = reading.Wanted(
            document_id=document_id,
            line_start=line_start,
            line_end=line_end,
            character_start=character_start,
            page=page,
        )
        caller = asker(context).name
        text, note = await gateway.read(lambda: reading.read(library, wanted), caller)
        texts = [text, note] if note else [text]
        return CallToolResult(content=[TextContent(type="text", text=part) for part in texts])

    return [
        tool(get_document, title="Read a document", text_only=True),
        tool(list_documents, title="List documents"),
    ]
