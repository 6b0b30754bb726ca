"""A server process spoken to line by line, for what a client library would hide or repair."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from typing import Any

TIMEOUT = 120

META_OF_ERA: dict[str, dict[str, Any]] = {
    "legacy": {},
    "auto": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    },
}
"""What every request carries: nothing after a handshake, everything where there is none."""


class RawServer:
    """Lines in, lines out; every line from stdout is kept as it came."""

    def __init__(self, command: list[str], env: dict[str, str], era: str) -> None:
        self.meta = META_OF_ERA[era]
        self.era = era
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | env,
        )
        self.lines: list[bytes] = []
        self._errors: list[bytes] = []
        self._incoming: Queue[bytes] = Queue()
        self._answers: dict[Any, dict[str, Any]] = {}
        self._threads = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            self._incoming.put(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    @property
    def errors(self) -> str:
        """What came on stderr, once the process has ended."""
        for thread in self._threads:
            thread.join(TIMEOUT)
        return b"".join(self._errors).decode()

    def send_line(self, line: str) -> None:
        self.send_bytes(line.encode())

    def send_bytes(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: dict[str, Any] | None = None, **fields: Any) -> None:
        params = dict(params or {})
        if self.meta and "id" in fields:
            params["_meta"] = self.meta | params.get("_meta", {})
        message = {"jsonrpc": "2.0", "method": method, "params": params, **fields}
        self.send_line(json.dumps(message))

    def answer(self, request_id: int) -> dict[str, Any]:
        """The response to a request, in whatever order responses come; notifications are left."""
        while request_id not in self._answers:
            self._take_line(f"no answer to {request_id}")
        return self._answers.pop(request_id)

    def told(self, *parts: bytes) -> None:
        """Waits for a line with all of these in it."""
        while not any(all(part in line for part in parts) for line in self.lines):
            self._take_line(f"no line with {parts}")

    def _take_line(self, failure: str) -> None:
        try:
            line = self._incoming.get(timeout=TIMEOUT)
        except Empty:
            raise AssertionError(f"{failure} in {TIMEOUT} s") from None
        with suppress(ValueError):
            message = json.loads(line)
            if "method" not in message:
                self._answers[message.get("id")] = message

    def ask(self, request_id: int, method: str, params: dict[str, Any] | None = None) -> Any:
        self.send(method, params, id=request_id)
        return self.answer(request_id)

    def hello(self) -> dict[str, Any]:
        """Opens the connection as the era does; the result that tells who answers."""
        if self.era == "legacy":
            return self.initialize()["result"]
        return self.ask(0, "server/discover")["result"]

    def initialize(self, version: str = "2025-11-25") -> Any:
        answer = self.ask(
            0,
            "initialize",
            {
                "protocolVersion": version,
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "0"},
            },
        )
        self.send("notifications/initialized")
        return answer

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self, timeout: float = TIMEOUT) -> int:
        return self.process.wait(timeout)


@contextmanager
def raw_server(
    *flags: str, env: dict[str, str] | None = None, era: str = "legacy"
) -> Iterator[RawServer]:
    """The product's own server, started as a host starts it."""
    with started([sys.executable, "-m", "mcp_server", "serve", *flags], env, era) as server:
        yield server


@contextmanager
def started(
    command: list[str], env: dict[str, str] | None = None, era: str = "legacy"
) -> Iterator[RawServer]:
    """Any server process; it is ended at the end of the block."""
    server = RawServer(command, env or {}, era)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        for pipe in (server.process.stdin, server.process.stdout, server.process.stderr):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
