"""Runs one endpoint: reads the body, calls, answers errors, and stops when the caller leaves.

Rules: a caller who leaves cancels what is done for them, streamed or not; whoever takes nothing for
half a minute has left. Errors raised on purpose become answers; everything else is a bug, logged
once with its traceback and told without a word on its cause.
"""

import logging
from typing import Any

from anyio import create_task_group, fail_after
from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from engine.errors import EngineError
from mcp_server.http import parsing
from mcp_server.http.call import EVERYONE, Call, Visit
from mcp_server.http.endpoint import Endpoint
from mcp_server.http.failures import error_response
from mcp_server.lifespan import Gateway

logger = logging.getLogger(__name__)

_STALLED_SECONDS = 30.0
"""For which a caller may take nothing of what is sent."""


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
        except TimeoutError:
            logger.info("A caller took nothing for %d s and was left", _STALLED_SECONDS)
        except EngineError as error:
            await self._fail(error, scope, receive, sending)
        except Exception as error:
            logger.exception("%s failed", self._endpoint.name)
            await self._fail(error, scope, receive, sending)

    async def _call(self, scope: Scope, receive: Receive) -> Call[Any]:
        visit: Visit = scope.get("state", {}).get("visit") or Visit(caller=EVERYONE, request_id="")
        body = self._endpoint.body
        return Call(
            gateway=self._gateway,
            visit=visit,
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
            tasks.cancel_scope.cancel()

        async with create_task_group() as tasks:
            tasks.start_soon(answer)
            await _left(receive)
            tasks.cancel_scope.cancel()
        for error in failures:
            raise error

    async def _fail(
        self, error: Exception, scope: Scope, receive: Receive, sending: "_Watched"
    ) -> None:
        """Tells of an error, or breaks the answer off where it is too late for a status."""
        if not sending.has_started:
            await error_response(error)(scope, receive, sending)


class _Watched:
    """Sends, notes that the answer has begun, and gives up on whoever does not read."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        self.has_started = True
        with fail_after(_STALLED_SECONDS):
            await self._send(message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
