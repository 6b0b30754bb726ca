"""Runs one endpoint: reads the body, calls, answers errors, and stops when the caller leaves.

Rules: a caller who leaves cancels what is done for them, streamed or not. Errors raised on purpose
become answers; everything else is a bug, which is left to the guard.
"""

from typing import Any

from anyio import create_task_group
from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from engine.errors import EngineError
from mcp_server.http import parsing
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint
from mcp_server.http.failures import error_response, kind_of
from mcp_server.lifespan import Gateway
from mcp_server.measures import Rejected


class Dispatch:
    """An endpoint as an ASGI application."""

    def __init__(self, endpoint: Endpoint[Any], gateway: Gateway) -> None:
        self._endpoint = endpoint
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = _Watched(send)
        try:
            call = await self._call(scope, receive)
            await self._served(call, scope, receive, sending)
        except parsing.Disconnected:
            return
        except EngineError as error:
            if not sending.has_started:
                self._gateway.measures.record(Rejected(kind_of(error).code))
                response = error_response(error, self._endpoint.reads)
                await response(scope, receive, sending)

    async def _call(self, scope: Scope, receive: Receive) -> Call[Any]:
        body = self._endpoint.body
        return Call(
            gateway=self._gateway,
            visit=scope["state"]["visit"],
            body=await parsing.read(Headers(scope=scope), receive, body) if body else None,
            path=scope["path_params"],
            query=QueryParams(scope["query_string"]),
        )

    async def _served(
        self, call: Call[Any], scope: Scope, receive: Receive, sending: "_Watched"
    ) -> None:
        """Answers, unless the caller leaves before the answer is whole."""
        failures: list[Exception] = []

        async def answer() -> None:
            try:
                response = await self._endpoint.answer(call)
                await response(scope, receive, sending)
            except Exception as error:  # noqa: BLE001 - raised below, out of the group.
                failures.append(error)
            finally:
                if sending.has_started:
                    self._note(call)
            tasks.cancel_scope.cancel()

        async with create_task_group() as tasks:
            tasks.start_soon(answer)
            await _left(receive)
            tasks.cancel_scope.cancel()
        for error in failures:
            raise error

    def _note(self, call: Call[Any]) -> None:
        """Takes note of which model does what, for traces; that it exists is known by now."""
        call.visit.operation = self._endpoint.operation
        call.visit.model = getattr(call.body, "model", "") or ""


class _Watched:
    """Sends, and notes that the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        self.has_started = True
        await self._send(message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
