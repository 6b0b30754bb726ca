"""The tools index_documents and remove_documents: what changes the index."""

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

from anyio import current_time
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult

from engine.documents.collecting import Wishes
from engine.documents.progress import IndexProgress
from engine.errors import InvalidInput
from engine.library import Library
from mcp_server import arguments as words
from mcp_server import rendering, reports
from mcp_server.lifespan import Gateway
from mcp_server.results import IndexResult, RemoveResult
from mcp_server.roots import allowed, allowed_among
from mcp_server.tasks.extension import may_last
from mcp_server.tools.making import GatewayTool, answer, tool

_SHOWN_FILES = 20
_TELL_SECONDS = 0.5
"""Between two words on how far it is: MCP asks for moderation, people need no more."""


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def index_documents(
        context: Context[Any, Any],
        path: words.FolderPath = "",
        name: words.CollectionName = "",
        include: words.Include = [],  # noqa: B006 - pydantic copies it for each call.
        exclude: words.Exclude = [],  # noqa: B006
        max_seconds: words.MaxSeconds = 45,
    ) -> Annotated[CallToolResult, IndexResult]:
        """Makes a folder of documents, mail and source files searchable, or brings it up to date.
        Allowed folders are shown by status."""
        roots = gateway.settings.root
        folder = await gateway.read(lambda: allowed(path, roots)) if path else None
        wishes = Wishes(name or None, tuple(include) or None, tuple(exclude) or None)
        steps = await gateway.read(lambda: _steps(gateway, folder, wishes))
        return await _answer(gateway, steps, context, _seconds(context, max_seconds))

    async def remove_documents(
        document_ids: words.DocumentIds,
    ) -> Annotated[CallToolResult, RemoveResult]:
        """Removes documents from the index; the files stay."""
        library = gateway.engine.library
        result = await gateway.index_queue.run(lambda: _remove(library, document_ids))
        return answer(rendering.removed(result), result)

    return [
        tool(index_documents, title="Index a folder", writes=True),
        tool(remove_documents, title="Remove documents", writes=True, destroys=True),
    ]


def _steps(gateway: Gateway, folder: Path | None, wishes: Wishes) -> Generator[IndexProgress]:
    """A run over a folder, or over all collections that may be indexed.

    Raises:
        InvalidInput: There is no folder to give a wish to, or nothing to bring up to date.
    """
    library, roots = gateway.engine.library, gateway.settings.root
    if folder is not None:
        return library.index(folder, wishes)
    if not wishes.are_none:
        raise InvalidInput("name, include and exclude are those of a folder: give its path, too.")
    collections = library.store().collections()
    known = allowed_among((one.root for one in collections), roots)
    if not known:
        raise InvalidInput("No folder is indexed yet: give the path of one that status allows.")
    return library.index_changed(known)


def _seconds(context: Context[Any, Any], max_seconds: int) -> int:
    """How long a run may take: as long as any may, where nobody waits for it or said less."""
    asked: dict[str, Any] = (context.request_context.params or {}).get("arguments") or {}
    return words.LONGEST_RUN if may_last(context) and "max_seconds" not in asked else max_seconds


async def _answer(
    gateway: Gateway,
    steps: Generator[IndexProgress],
    context: Context[Any, Any],
    max_seconds: int,
) -> CallToolResult:
    problem = await gateway.why_no_embedder(context.report_progress)
    last = await gateway.index(steps, _Teller(context, max_seconds).goes_on)
    assert last is not None
    notice = "" if last.is_last else rendering.TIME_RAN_OUT
    library = gateway.engine.library
    result = await gateway.read(
        lambda: reports.index(library, last, shown=_SHOWN_FILES, problem=problem, notice=notice)
    )
    return answer(rendering.index(result), result)


class _Teller:
    """Tells how far a run is, and ends it when its time is over."""

    def __init__(self, context: Context[Any, Any], max_seconds: int) -> None:
        self._context = context
        self._deadline = current_time() + max_seconds
        self._told_at, self._told = float("-inf"), 0

    async def goes_on(self, step: IndexProgress) -> bool:
        """Whether there is time left; a step that only looks is always followed by another."""
        is_due = current_time() - self._told_at >= _TELL_SECONDS
        if step.done > self._told and (is_due or step.is_last):
            self._told_at, self._told = current_time(), step.done
            message = rendering.progress(step)
            await self._context.report_progress(step.done, step.total, message)
        return step.phase == "looking" or current_time() <= self._deadline


def _remove(library: Library, document_ids: list[str]) -> RemoveResult:
    removed = library.remove_documents(document_ids)
    return RemoveResult(removed=removed, documents=library.index_statistics().documents)
