"""The two pipes, spoken to from their other ends: slow hosts, hosts that leave, broken answers."""

import contextlib
import json
import os
from pathlib import Path

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from mcp_server.launcher import streams
from mcp_server.launcher.start import Start

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n'

pytestmark = pytest.mark.anyio


class Host:
    """A host's ends of the pipes, and what the server's side called."""

    def __init__(self) -> None:
        self.reading, self.to_write = os.pipe()
        self.to_read, self.writing = os.pipe()
        self.calls: list[str] = []

    def opened(self):
        start = Start(self.reading, self.writing, 0)
        return streams.opened(
            start, lambda: self.calls.append("ended"), lambda: self.calls.append("gone")
        )

    def say(self, *lines: bytes) -> None:
        os.write(self.to_write, b"".join(lines))

    def close(self, *descriptors: int) -> None:
        for each in descriptors or (self.to_write, self.to_read, self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(each)

    def heard(self) -> list[dict]:
        """What was written; the server's end must not be in use any more."""
        os.close(self.writing)
        with open(self.to_read, "rb", closefd=False) as pipe:
            return [json.loads(line) for line in pipe]


@pytest.fixture
def host():
    host = Host()
    yield host
    host.close()


def answer(request_id, **result):
    return SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=request_id, result=result))


async def test_the_answer_to_what_came_right_before_the_end_is_still_written(host):
    host.say(REQUEST[:-1])
    host.close(host.to_write)
    with anyio.fail_after(60):
        async with host.opened() as (incoming, outgoing), outgoing:
            async for message in incoming:
                assert isinstance(message, SessionMessage)
                assert isinstance(message.message, JSONRPCRequest)
                await outgoing.send(answer(1, tools=[]))
    assert host.calls == ["ended"]
    assert host.heard() == [{"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}]


async def test_the_end_is_noticed_though_the_host_reads_nothing(host):
    """More than a pipe holds waits to be written, and bad lines come, which are not answered."""
    noise = JSONRPCNotification(jsonrpc="2.0", method="notifications/x", params={"a": "x" * 50_000})
    with anyio.fail_after(60):
        async with host.opened() as (incoming, outgoing), outgoing:
            with anyio.move_on_after(0.5):
                for _ in range(200):
                    await outgoing.send(SessionMessage(noise))
            host.say(b"{\n" * 10, REQUEST)
            host.close(host.to_write)
            assert len([message async for message in incoming]) == 1
    assert host.calls == ["ended"]
    host.close(host.to_read)  # Ends the thread that still writes.


async def test_a_host_that_no_longer_reads_is_gone(host):
    host.close(host.to_read)
    with anyio.fail_after(60):
        async with host.opened() as (_, outgoing), outgoing:
            await outgoing.send(answer(1))
            host.close(host.to_write)
    assert "gone" in host.calls


async def test_an_answer_that_json_cannot_say_costs_that_answer_alone(host, caplog):
    with anyio.fail_after(60):
        async with host.opened() as (_, outgoing), outgoing:
            await outgoing.send(answer(1, name="half of a pair: \ud800"))
            told = JSONRPCNotification(jsonrpc="2.0", method="x", params={"a": "\ud800"})
            await outgoing.send(SessionMessage(told))
            await outgoing.send(answer(2))
            host.close(host.to_write)
    first, second = host.heard()
    assert (first["id"], first["error"]["code"], second["id"]) == (1, -32603, 2)
    assert "cannot be written as JSON" in caplog.text


async def test_a_stdin_that_cannot_be_read_has_ended(host, tmp_path: Path):
    descriptor = os.open(tmp_path / "written", os.O_WRONLY | os.O_CREAT)
    host.close(host.reading)
    os.dup2(descriptor, host.reading)
    os.close(descriptor)
    with anyio.fail_after(60):
        async with host.opened() as (incoming, outgoing), outgoing:
            assert [message async for message in incoming] == []
    assert host.calls == ["ended"]
