"""The guard: the outermost layer, which lets nobody in who may not come.

Order: Host, Origin, the questions of browsers, key, scope, end of service, rate; then what is asked
for is done. What is refused is refused before any of its body is read.
Rules: it decides on the path as the server has decoded it, by the table of routes; what is in none
of its rows needs a key, too. A bug is logged once, with its traceback, and told without a word on
its cause.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from anyio import Event
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import EngineError
from mcp_server.http import credentials, origins
from mcp_server.http.answer import STALLED_SECONDS, Answer
from mcp_server.http.call import EVERYONE, Visit
from mcp_server.http.credentials import Callers
from mcp_server.http.doors import Door, Doors
from mcp_server.http.failures import Kind, Refused, error_response, kind_of
from mcp_server.http.hosts import Hosts
from mcp_server.http.origins import Origins
from mcp_server.http.rates import Rates
from mcp_server.http.telling import Account, Telling
from mcp_server.http.wire import ABORT
from mcp_server.lifespan import Stopping
from mcp_server.measures import Rejected

logger = logging.getLogger(__name__)

_MOST_HEADERS = 200
_MOST_HEADER_BYTES = 64 * 2**10
_TOO_LARGE = Kind(431, "invalid_request_error", "headers_too_large")
_CREDENTIALS = (b"authorization", b"x-api-key")
"""Not counted: what is too long to be a key is refused as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may come in, and who is told of it."""

    doors: Doors
    hosts: Hosts
    origins: Origins
    callers: Callers
    rates: Rates
    is_draining: Callable[[], bool]
    """Whether no new work is taken."""
    telling: Telling = field(default_factory=Telling)
    stalled_seconds: float = STALLED_SECONDS


class Guard:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._work: dict[Answer, bool] = {}
        """What is being answered, and whether that ends by itself."""
        self._one_ended = Event()

    async def idle(self) -> None:
        """Waits until nothing is being answered, but for what does not end by itself."""
        while any(self._work.values()):
            self._one_ended = Event()
            await self._one_ended.wait()

    def break_off(self) -> None:
        """Ends what is still being answered."""
        for answer in self._work:
            answer.work.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = _without_slash(scope["path"])
        door = self._rules.doors.find(scope)
        answer = Answer(send, self._rules.stalled_seconds)
        with self._rules.telling.of(scope, Account(door, answer)) as account:
            await self._answer(scope, receive, account)

    async def _answer(self, scope: Scope, receive: Receive, account: Account) -> None:
        door, answer = account.door, account.answer
        try:
            origin = self._check_names(scope)
            answer.headers += origins.headers(origin)
            if told := origins.preflight(scope, origin):
                await told(scope, receive, answer)
                return
            visit = account.visit = self._let_in(scope, door, answer)
        except EngineError as error:
            self._rules.telling.measures.record(Rejected(kind_of(error).code))
            await error_response(error)(scope, receive, answer)
            return
        scope.setdefault("state", {})["visit"] = visit
        with self._working(answer, is_endless=door.is_endless(scope)), answer.work:
            await self._served(scope, receive, answer)
        visit.settle()
        if answer.has_stalled:
            scope["state"].get(ABORT, _nothing)()
        elif answer.work.cancelled_caught:
            await self._break_off(scope, receive, answer)

    def _check_names(self, scope: Scope) -> str:
        """The named origin of a request, see `Origins.check`.

        Raises:
            EngineError: Its head is too large, or names another server or a foreign page.
        """
        _check_size(scope)
        return self._rules.origins.check(scope, self._rules.hosts.check(scope))

    def _let_in(self, scope: Scope, door: Door, answer: Answer) -> Visit:
        """Whoever sends a request.

        Raises:
            EngineError: They may not come in, or not now.
        """
        rules, request_id = self._rules, answer.request_id
        if door.scopes is None:
            return Visit(caller=EVERYONE, request_id=request_id)
        caller = rules.callers.find(scope, by_browser=door.is_page)
        credentials.check(caller, door.scopes)
        if rules.is_draining():
            raise Stopping
        answer.latest = lambda: rules.rates.headers(caller.key_id)
        reservation = rules.rates.reserve(caller.key_id)
        return Visit(caller=caller, request_id=request_id, reservation=reservation)

    async def _served(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            logger.exception("The request %s failed", answer.request_id)
            if answer.status:
                await answer.break_off()
            else:
                await error_response(error)(scope, receive, answer)

    async def _break_off(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        """Ends an answer for which there is no time left."""
        if answer.status:
            await answer.break_off()
        else:
            await error_response(Stopping())(scope, receive, answer)

    @contextmanager
    def _working(self, answer: Answer, *, is_endless: bool) -> Generator[None]:
        self._work[answer] = not is_endless
        try:
            yield
        finally:
            del self._work[answer]
            self._one_ended.set()


def _nothing() -> None:
    """Where a connection cannot be broken off."""


def _without_slash(path: str) -> str:
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


def _check_size(scope: Scope) -> None:
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers if name not in _CREDENTIALS)
    if size > _MOST_HEADER_BYTES or len(headers) > _MOST_HEADERS:
        raise Refused(
            f"The head of a request may have {_MOST_HEADER_BYTES:,} bytes and {_MOST_HEADERS} "
            "headers; send less.",
            kind=_TOO_LARGE,
        )
