"""The tools index_documents, list_documents, get_document and remove_documents."""

import base64
import binascii
from pathlib import Path
from typing import Annotated, Any

from anyio import current_time
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel

from engine.corpus import Document
from engine.documents.indexer import IndexProgress, IndexReport
from engine.errors import InvalidInput
from mcp_server import arguments as words
from mcp_server import concurrency, rendering, reports
from mcp_server.lifespan import Gateway
from mcp_server.results import (
    DocumentEntry,
    DocumentPage,
    IndexResult,
    RemoveResult,
    SkippedFile,
)
from mcp_server.tools.failures import GatewayTool, tool

_SHOWN_SKIPPED = 20
_PAGE_CHARACTERS = 30_000
_DOCUMENT_CHARACTERS = 40_000


def reading_tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools that change nothing."""

    async def list_documents(
        cursor: words.Cursor = "", limit: words.PageLimit = 50
    ) -> Annotated[CallToolResult, DocumentPage]:
        """Lists what is indexed: ids, paths, titles and sizes, a page at a time."""
        page = await concurrency.run(gateway.index_queue, lambda: _page(gateway, cursor, limit))
        return _result(rendering.documents(page), page)

    async def get_document(
        document_id: words.DocumentId,
        line_start: words.LineStart = 1,
        line_end: words.LineEnd = 0,
    ) -> CallToolResult:
        """Reads an indexed document, or the lines around a passage found by semantic_search.
        Returns only the text, as it was when it was indexed."""
        text, more = await concurrency.run(
            gateway.index_queue,
            lambda: reports.read_lines(
                gateway.engine, document_id, line_start, line_end, _DOCUMENT_CHARACTERS
            ),
        )
        contents = [TextContent(type="text", text=part) for part in (text, more) if part]
        return CallToolResult(content=[*contents] or [TextContent(type="text", text="")])

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
        folder = allowed(Path(path), gateway.settings.root)
        await gateway.loaded(gateway.engine.embedder, context)
        report, complete = await _index(gateway, folder, context, max_seconds)
        documents = await _document_count(gateway)
        result = _index_result(report, complete, documents)
        return _result(rendering.index(result), result)

    async def remove_documents(
        document_ids: words.DocumentIds,
    ) -> Annotated[CallToolResult, RemoveResult]:
        """Removes documents from the index; the files themselves are left alone."""
        removed = await concurrency.run(
            gateway.index_queue, lambda: gateway.engine.remove_documents(document_ids)
        )
        result = RemoveResult(removed=removed, documents=await _document_count(gateway))
        text = (
            f"{rendering.count(removed, 'document')} removed, "
            f"{rendering.count(result.documents, 'document')} left in the index."
        )
        return _result(text, result)

    return [
        tool(index_documents, title="Index a folder", writes=True),
        tool(remove_documents, title="Remove documents", writes=True, destroys=True),
    ]


def allowed(path: Path, roots: tuple[Path, ...]) -> Path:
    """The path with symbolic links resolved, if it lies under an allowed root.

    Raises:
        InvalidInput: No root is allowed, or the path is relative, absent or outside all roots.
    """
    if not roots:
        raise InvalidInput(
            "No folder may be indexed yet: start the server with --root DIR "
            "(or NPU_GATEWAY_ROOT=DIR) to allow one and what is below it."
        )
    shown = ", ".join(map(str, roots))
    if not path.is_absolute():
        raise InvalidInput(f"path must be absolute; allowed are {shown} and what is below.")
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise InvalidInput(f"{path} is outside the allowed folders: {shown}.")
    return resolved


async def _index(
    gateway: Gateway, folder: Path, context: Context[Any, Any], max_seconds: int
) -> tuple[IndexReport, bool]:
    deadline = current_time() + max_seconds
    last: IndexProgress | None = None
    steps = gateway.engine.index(folder)
    async with concurrency.closing(gateway.index_queue, steps) as progress:
        async for last in progress:
            if last.done:
                await context.report_progress(last.done, last.total, last.path)
            # Within a large file the work would be lost: only between files.
            if current_time() > deadline and float(last.done).is_integer():
                break
    assert last is not None
    return last.report, last.done >= last.total


def _index_result(report: IndexReport, complete: bool, documents: int) -> IndexResult:
    return IndexResult(
        complete=complete,
        indexed=report.indexed,
        unchanged=report.unchanged,
        removed=report.removed,
        skipped=len(report.skipped),
        skipped_files=[
            SkippedFile(path=str(file.path), reason=file.reason)
            for file in report.skipped[:_SHOWN_SKIPPED]
        ],
        documents=documents,
    )


async def _document_count(gateway: Gateway) -> int:
    return await concurrency.run(
        gateway.index_queue, lambda: gateway.engine.index_statistics().documents
    )


def _page(gateway: Gateway, cursor: str, limit: int) -> DocumentPage:
    after = _decoded(cursor)
    found = gateway.engine.documents(after=after, limit=limit + 1)
    shown: list[DocumentEntry] = []
    characters = 0
    for document in found[:limit]:
        characters += len(document.path) + len(document.title)
        if shown and characters > _PAGE_CHARACTERS:
            break
        shown.append(_entry(document))
    more = len(found) > len(shown)
    return DocumentPage(
        documents=shown,
        total=gateway.engine.index_statistics().documents,
        next_cursor=_encoded(shown[-1].path) if more else "",
    )


def _entry(document: Document) -> DocumentEntry:
    return DocumentEntry(
        document_id=document.document_id,
        path=document.path,
        title=document.title,
        lines=document.line_count,
        chunks=document.chunk_count,
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


def _result(text: str, result: BaseModel) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=result.model_dump()
    )
