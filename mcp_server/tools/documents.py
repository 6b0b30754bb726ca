"""The tools index_documents, list_documents, get_document and remove_documents."""

import base64
import binascii
from pathlib import Path
from typing import Annotated, Any

from anyio import current_time
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.documents.finder import resolved
from engine.documents.indexer import IndexProgress
from engine.errors import InvalidInput
from mcp_server import arguments as words
from mcp_server import rendering, reports
from mcp_server.lifespan import Gateway
from mcp_server.results import (
    DocumentEntry,
    DocumentPage,
    IndexResult,
    RemoveResult,
)
from mcp_server.tools.making import GatewayTool, answer, tool

_SHOWN_FILES = 20
_PAGE_CHARACTERS = 30_000
_DOCUMENT_CHARACTERS = 40_000


def reading_tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools that change nothing."""

    async def list_documents(
        cursor: words.Cursor = "", limit: words.PageLimit = 50
    ) -> Annotated[CallToolResult, DocumentPage]:
        """Lists what is indexed: ids, paths, titles and sizes, a page at a time."""
        page = await gateway.index_queue.run(lambda: _page(gateway, cursor, limit))
        return answer(rendering.documents(page), page)

    async def get_document(
        document_id: words.DocumentId,
        line_start: words.LineStart = 1,
        line_end: words.LineEnd = 0,
        character_start: words.CharacterStart = 0,
    ) -> CallToolResult:
        """Reads an indexed document, or the lines around a passage found by semantic_search.
        Returns only the text, as it was when it was indexed."""
        lines = (line_start, line_end)
        text, more = await gateway.index_queue.run(
            lambda: reports.read_lines(
                gateway.engine, document_id, lines, character_start, _DOCUMENT_CHARACTERS
            )
        )
        parts = [text, more] if more else [text]
        return CallToolResult(content=[TextContent(type="text", text=part) for part in parts])

    return [
        tool(get_document, title="Read a document", text_only=True),
        tool(list_documents, title="List documents"),
    ]


def writing_tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools that change the index."""

    async def index_documents(
        path: words.FolderPath, context: Context[Any, Any], max_seconds: words.MaxSeconds = 45
    ) -> Annotated[CallToolResult, IndexResult]:
        """Makes a folder of Markdown, text and source files searchable, or brings it up to date:
        only what changed is read. Allowed folders are shown by status."""
        folder = allowed(path, gateway.settings.root)
        async with gateway.model(gateway.engine.embedder, context), gateway.index_runs:
            last = await _index(gateway, folder, context, max_seconds)
        result = await gateway.index_queue.run(
            lambda: reports.index(
                gateway.engine,
                last.report,
                complete=last.done >= last.total,
                shown=_SHOWN_FILES,
            )
        )
        return answer(rendering.index(result), result)

    async def remove_documents(
        document_ids: words.DocumentIds,
    ) -> Annotated[CallToolResult, RemoveResult]:
        """Removes documents from the index; the files themselves are left alone."""
        result = await gateway.index_queue.run(lambda: _remove(gateway, document_ids))
        return answer(rendering.removed(result), result)

    return [
        tool(index_documents, title="Index a folder", writes=True),
        tool(remove_documents, title="Remove documents", writes=True, destroys=True),
    ]


def allowed(path: str, roots: tuple[Path, ...]) -> Path:
    """The path with symbolic links resolved, if it lies under an allowed root.

    Raises:
        InvalidInput: No root is allowed, or the path is relative, malformed or outside all roots.
    """
    if not roots:
        raise InvalidInput(
            "No folder may be indexed yet: start the server with --root DIR "
            "(or NPU_GATEWAY_ROOT=DIR) to allow one and what is below it."
        )
    shown = ", ".join(map(str, roots))
    if not Path(path).is_absolute():
        raise InvalidInput(f"path must be absolute; allowed are {shown} and what is below.")
    place = resolved(Path(path))
    if not any(place.is_relative_to(resolved(root)) for root in roots):
        raise InvalidInput(f"{path} is outside the allowed folders: {shown}.")
    return place


async def _index(
    gateway: Gateway, folder: Path, context: Context[Any, Any], max_seconds: int
) -> IndexProgress:
    deadline = current_time() + max_seconds
    last: IndexProgress | None = None
    async with gateway.index_queue.steps(gateway.engine.index(folder)) as progress:
        async for step in progress:
            if step.done:
                await context.report_progress(step.done, step.total, step.path)
            # The first step only walks the folder: after it, one more is always taken.
            if last is not None and current_time() > deadline:
                return step
            last = step
    assert last is not None
    return last


def _remove(gateway: Gateway, document_ids: list[str]) -> RemoveResult:
    removed = gateway.engine.remove_documents(document_ids)
    return RemoveResult(removed=removed, documents=gateway.engine.index_statistics().documents)


def _page(gateway: Gateway, cursor: str, limit: int) -> DocumentPage:
    after = _decoded(cursor)
    found = gateway.engine.documents(after=after, limit=limit + 1)
    shown: list[DocumentEntry] = []
    characters = 0
    for document in found[:limit]:
        characters += len(document.path) + len(document.title)
        if shown and characters > _PAGE_CHARACTERS:
            break
        shown.append(reports.document(document))
    more = len(found) > len(shown)
    return DocumentPage(
        documents=shown,
        total=gateway.engine.index_statistics().documents,
        next_cursor=_encoded(shown[-1].path) if more else "",
    )


def _encoded(path: str) -> str:
    return base64.urlsafe_b64encode(path.encode("utf-8", "surrogatepass")).decode()


def _decoded(cursor: str) -> str:
    try:
        path = base64.b64decode(cursor, altchars=b"-_", validate=True).decode(
            "utf-8", "surrogatepass"
        )
    except (binascii.Error, ValueError):
        path = "?"
    if path and not Path(path).is_absolute():
        raise InvalidInput(
            "cursor is not one that list_documents gave; leave it out to start at the first page."
        )
    return path
