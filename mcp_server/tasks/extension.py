"""TasksExtension: the extension io.modelcontextprotocol/tasks of MCP 2026-07-28 (SEP-2663).

    tools/call     not over within the tool's patience: a task instead of a result
    tasks/get      how far it is; in the end its result or its error
    tasks/cancel   ends it as a cancelled call ends
    tasks/update   acknowledged: no tool here asks for anything while it works

Rules: only a client that declares the extension, in the request itself, is ever given a task; all
others, and all of the older protocol, get their result as ever. Of what is optional, nothing is
built: no notifications/tasks, so a listener's `taskIds` are agreed to by none.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from anyio import move_on_after
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.server.mcpserver.context import Context
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, CallToolRequestParams, RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_server.asking import sender
from mcp_server.tasks.lasting import Words
from mcp_server.tasks.store import Tasks
from mcp_server.tasks.task import Task

IDENTIFIER = "io.modelcontextprotocol/tasks"

_Request = ServerRequestContext[Any, Any]


class TaskParams(RequestParams):
    """What tasks/get and tasks/cancel ask for."""

    task_id: str


class UpdateParams(TaskParams):
    """What tasks/update brings; since nothing is asked for, nothing is taken."""

    input_responses: dict[str, Any]


class TasksExtension(Extension):
    """The extension over the tasks of a gateway."""

    identifier = IDENTIFIER

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def methods(self) -> Sequence[MethodBinding]:
        """The methods of the extension, in the protocol's versions that have extensions."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", TaskParams, self._get, versions),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, versions),
            MethodBinding("tasks/update", UpdateParams, self._update, versions),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: _Request, call_next: CallNext
    ) -> HandlerResult:
        """Makes a call, which becomes a task if it may and is not over soon."""
        lasting = self._tasks.lasting.get(params.name)
        if lasting is None or not _declares(ctx):
            return await call_next(ctx)

        async def call(task: Task) -> HandlerResult:
            return await call_next(replace(ctx, session=_Session(ctx.session, task, lasting.words)))

        task = self._tasks.begin(sender(ctx), call)
        if task is None:
            return await call_next(ctx)
        return await self._answer(task, lasting.patience)

    async def _answer(self, task: Task, patience: float) -> HandlerResult:
        try:
            with move_on_after(patience):
                await task.ended.wait()
            if task.ended.is_set():
                return task.outcome()
            task.is_told = True
            return {"resultType": "task", **task.summary()}
        finally:
            if not task.is_told:
                self._tasks.drop(task)

    async def _get(self, ctx: _Request, params: TaskParams) -> HandlerResult:
        return self._found(ctx, params).details()

    async def _cancel(self, ctx: _Request, params: TaskParams) -> HandlerResult:
        self._found(ctx, params).cancel()
        return {}

    async def _update(self, ctx: _Request, params: UpdateParams) -> HandlerResult:
        self._found(ctx, params)
        return {}

    def _found(self, ctx: _Request, params: TaskParams) -> Task:
        """The task that a request names.

        Raises:
            MCPError: The client does not declare the extension, its header names another task than
                its request, or it has no such task.
        """
        require_client_extension(ctx, IDENTIFIER)
        if ctx.request is not None:
            named = decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER))
            if named != params.task_id:
                sentence = f"{MCP_NAME_HEADER} header does not match the request's taskId"
                raise MCPError(HEADER_MISMATCH, sentence)
        task = self._tasks.find(params.task_id, sender(ctx).name)
        if task is None:
            sentence = "There is no such task, or no more: call the tool again."
            raise MCPError(INVALID_PARAMS, sentence)
        return task


async def check_listeners(ctx: _Request, call_next: CallNext) -> HandlerResult:
    """Middleware: refuses to listen for tasks where the extension is not declared.

    Raises:
        MCPError: It is not.
    """
    if ctx.method == "subscriptions/listen":
        wanted = (ctx.params or {}).get("notifications")
        if isinstance(wanted, dict) and "taskIds" in wanted:
            require_client_extension(ctx, IDENTIFIER)
    return await call_next(ctx)


def may_last(context: Context[Any, Any]) -> bool:
    """Whether a tool's call may go on after its request was answered, with nobody waiting."""
    return isinstance(context.request_context.session, _Session)


class _Session(ServerSession):
    """A request's session while it is one, and nobody's once its call is a task.

    The protocol allows no progress beside a task: its `statusMessage` says how far it is.
    """

    def __init__(self, session: ServerSession, task: Task, words: Words) -> None:
        self._session = session
        self._task = task
        self._words = words

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tells whoever waits for the result, or takes note for those who will ask."""
        self._task.tell(self._words(progress, total, message))
        if not self._task.is_told:
            await self._session.report_progress(progress, total, message)


def _declares(ctx: _Request) -> bool:
    """Whether a request says that its client knows tasks."""
    capabilities = ctx.session.client_capabilities
    declared = cast("dict[str, Any]", (capabilities and capabilities.extensions) or {})
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and IDENTIFIER in declared
