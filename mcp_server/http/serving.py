"""Serves over HTTP until it is told to stop; then lets answers end, for a while.

    first signal   no new work is taken: 503, and readiness says so; what is in work goes on
    after a while  `Gateway.stopping`: streams end with their last frame, the rest is broken off
    in the end     what runs beside the requests stops, models and index close, exit status 0
    second signal  at once

Rules: nothing is said before somebody can connect; nothing is ever written to stdout.
Of uvicorn 0.54: it tells an open stream nothing of its end, and raises the signal again that ended
it; `Server` mends both.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from socket import socket
from types import FrameType

import uvicorn
from anyio import move_on_after

from engine.engine import Engine
from mcp_server import ending
from mcp_server.http import app
from mcp_server.http.guard import Guard
from mcp_server.http.listening import file_remover, listening, url
from mcp_server.http.tracing import opened
from mcp_server.http.wire import Wire
from mcp_server.keys import Keys
from mcp_server.lifespan import Gateway
from mcp_server.settings import Settings, check_access, tracing_is_configured

logger = logging.getLogger(__name__)

_LAST_FRAMES_SECONDS = 0.7
"""For answers to end once `stopping` is set: a step of the model and some frames."""

_END_SECONDS = 1.8
"""After the time for answers, for everything; then the process ends, whatever hangs."""

_KEEP_ALIVE_SECONDS = 75.0
"""An idle connection stays open, longer than clients keep theirs: one that a client is about to
use is not closed under its hands."""

_MOST_HEAD_BYTES = 256 * 2**10
"""Of what is not told apart yet; the guard refuses far less, in better words."""


def serve(engine: Engine, settings: Settings) -> None:
    """Serves until a signal; does not return, the process ends here.

    Raises:
        BadSetting: Others could call, and nobody has said who may.
        Unavailable: The address cannot be had.
        StoreError: The keys cannot be read.
    """
    needs_key = Keys(settings.keys_file).any()
    check_access(settings, has_keys=needs_key)
    _keep_stdout_empty()
    gateway = app.counted(engine, settings)
    tracing = opened(is_configured=tracing_is_configured(), version=engine.version)
    code = 0
    with listening(settings) as listener:
        end = partial(_end, engine, file_remover(listener))
        server = Server(app.build(gateway, tracing), gateway, end)
        sys.stderr.write(f"npu-gateway: {_greeting(url(listener), needs_key=needs_key)}\n")
        sys.stderr.flush()
        try:
            server.run([listener])
        except BaseException:
            logger.exception("The server stopped")
            code = 1
    ending.end(engine, code)


class Server(uvicorn.Server):
    """uvicorn, with an end of our own."""

    def __init__(self, guard: Guard, gateway: Gateway, end: Callable[[int], None]) -> None:
        """
        Args:
            guard: The application.
            gateway: Told to drain and to stop.
            end: Ends the process at once, with a status.
        """
        super().__init__(config(guard))
        self._guard = guard
        self._gateway = gateway
        self._end = end

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handles signals within the block; none is raised again, and none that whoever started
        this has it ignore (nohup) is heeded."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in ending.heeded()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the end; or ends at once."""
        if self.should_exit:
            self._end(ending.status_of(sig))
        self.should_exit = True

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Called once the server is to end, by a signal or from within."""
        drain_seconds = self._gateway.settings.drain_seconds
        late = threading.Timer(drain_seconds + _END_SECONDS, self._end, [0])
        late.daemon = True
        late.start()
        self._gateway.is_draining = True
        with move_on_after(drain_seconds):
            await self._guard.idle()
        self._gateway.stopping.set()
        with move_on_after(_LAST_FRAMES_SECONDS):
            await self._guard.idle()
        self._guard.break_off()
        await super().shutdown(sockets)
        late.cancel()


def config(guard: Guard, keep_alive_seconds: float = _KEEP_ALIVE_SECONDS) -> uvicorn.Config:
    """How uvicorn serves an application.

    Args:
        guard: The application.
        keep_alive_seconds: After which a connection is closed on which nothing is asked.
    """
    told = uvicorn.Config(
        guard,
        loop="asyncio",
        http=Wire,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Who a caller is and what it called is never taken from a header that anybody may send.
        proxy_headers=False,
        forwarded_allow_ips="",
        workers=1,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
    )
    # Typed as whole seconds, though the event loop takes any.
    told.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]
    return told


def _greeting(address: str, *, needs_key: bool) -> str:
    who = "with a key" if needs_key else "without a key, since none was ever created"
    return f"listening on {address} for whoever comes {who}."


def _end(engine: Engine, remove_file: Callable[[], None], status: int) -> None:
    remove_file()
    ending.end(engine, status)


def _keep_stdout_empty() -> None:
    """Sends what libraries print to stderr until the process ends."""
    sys.stdout = sys.stderr
    if sys.platform != "win32":
        os.dup2(2, 1)
