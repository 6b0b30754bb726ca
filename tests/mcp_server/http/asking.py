"""Requests handed to an application as a server would hand them, byte for byte."""

import json
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Send

HOST = (b"host", b"localhost:8642")


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]

    @property
    def code(self) -> str:
        return self.error["code"]


async def ask(
    app: ASGIApp,
    path: str = "/v1/models",
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    host: tuple[bytes, bytes] | None = HOST,
    body: bytes = b"",
    server: tuple[str, int | None] = ("127.0.0.1", 8642),
    state: dict[str, Any] | None = None,
    receive: Receive | None = None,
    send: Send | None = None,
) -> Answered:
    """The answer to one request; whoever sends it stays until then.

    With a `send` of the test's own, nothing is kept of it.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "server": server,
        "client": ("127.0.0.1", 50_000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*([host] if host else []), *headers],
        "state": state or {},
    }
    coming = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive_body() -> Message:
        if coming:
            return coming.pop()
        await anyio.sleep_forever()
        raise AssertionError

    async def keep(message: Message) -> None:
        sent.append(message)

    with anyio.fail_after(60):
        await app(scope, receive or receive_body, send or keep)
    head, *rest = sent or [{"status": 0, "headers": []}]
    return Answered(
        head["status"],
        {name.decode(): value.decode() for name, value in head["headers"]},
        b"".join(message["body"] for message in rest),
    )
