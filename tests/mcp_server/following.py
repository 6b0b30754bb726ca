"""The client's side of the tasks extension, on the official client: follows a task to its end."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import anyio
from homes import Home
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict

from mcp_server.lifespan import Gateway
from mcp_server.server import build_over, running
from mcp_server.tasks.extension import IDENTIFIER
from mcp_server.tasks.store import Tasks

ENDED = ("completed", "failed", "cancelled")


class Told(Result):
    """What is told of a task, whenever it is."""

    model_config = ConfigDict(extra="allow")
    result_type: str = "complete"
    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    ttl_ms: int
    poll_interval_ms: int | None = None
    status_message: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Begun(Told):
    """A task instead of a result."""

    result_type: Literal["task"] = "task"


class Named(RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[Named, str]):
    name_param = "taskId"


async def ask(session: ClientSession, method: str, task_id: str) -> Told:
    """One question on a task."""
    return await session.send_request(
        TaskRequest(method=method, params=Named(task_id=task_id)), Told
    )


async def acknowledged(session: ClientSession, method: str, task_id: str) -> dict[str, Any]:
    """The empty answer to what is told a task."""
    answers = {} if method == "tasks/update" else None
    params = Named(task_id=task_id, input_responses=answers)
    found = await session.send_request(TaskRequest(method=method, params=params), Empty)
    return found.model_dump(exclude={"meta"})


class Empty(Result):
    model_config = ConfigDict(extra="allow")
    result_type: str


async def ended(session: ClientSession, task_id: str) -> Told:
    """Asks until a task has ended."""
    return await asked(session, task_id, lambda told: told.status in ENDED)


async def said(session: ClientSession, task_id: str, ending: str) -> Told:
    """Asks until a task's words end so."""
    return await asked(session, task_id, lambda told: told.status_message.endswith(ending))


async def asked(session: ClientSession, task_id: str, is_enough: Callable[[Told], bool]) -> Told:
    """Asks until enough is told; of a task that has ended nothing else will be."""
    with anyio.fail_after(60):
        while not is_enough(told := await ask(session, "tasks/get", task_id)):
            assert told.status not in ENDED, told
            assert told.poll_interval_ms
            await anyio.sleep(0.01)
    return told


async def until(is_so: Callable[[], Any]) -> None:
    """Waits until something is so."""
    with anyio.fail_after(60):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it.
            await anyio.sleep(0.01)


class Following(ClientExtension):
    """To whoever calls a tool, a task looks like a call that takes its time."""

    identifier = IDENTIFIER

    def claims(self) -> list[ResultClaim[Begun]]:
        return [ResultClaim(result_type="task", model=Begun, resolve=self._resolve)]

    async def _resolve(self, begun: Begun, context: ClaimContext) -> CallToolResult:
        told = await ended(context.session, begun.task_id)
        return CallToolResult.model_validate(told.result)


async def begin(client: Client, name: str, arguments: dict[str, Any]) -> Any:
    """A call whose task, if it becomes one, is left to the test."""
    return await client.session.call_tool(name, arguments, allow_claimed=True)


def with_patience(tasks: Tasks, seconds: float) -> None:
    """Changes how long calls are waited for before they become tasks."""
    for name, lasting in tasks.lasting.items():
        tasks.lasting[name] = replace(lasting, patience=seconds)


@asynccontextmanager
async def following(
    home: Home, era: str = "auto", patience: float = 0, *, declares: bool = True, **changes: Any
) -> AsyncGenerator[tuple[Client, Gateway]]:
    """A client in memory that knows tasks, or does not, and the gateway behind it."""
    engine = home.engine(**changes)
    gateway = Gateway(engine, replace(home.settings, **changes))
    with_patience(gateway.tasks, patience)
    known = [Following()] if declares else []
    try:
        async with (
            running(gateway),
            Client(build_over(gateway, read_only=False), mode=era, extensions=known) as client,
        ):
            yield client, gateway
    finally:
        engine.close()
