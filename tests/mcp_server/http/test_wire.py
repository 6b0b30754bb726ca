"""What is no HTTP is refused in the words of all refusals, and is nobody's failure."""

import json
import logging
import socket
from urllib.parse import urlsplit

import pytest

from mcp_server.http import wire

HEAD = "HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
JSON = "Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    "head",
    [
        f"GET /v1/models {HEAD}",
        f"POST /v1/embeddings {HEAD}{JSON}",
        f"POST /v1/embeddings {HEAD}",
        f"POST /v1/unknown {HEAD}Origin: https://evil.example\r\n",
    ],
)
def test_a_chunk_that_is_none_ends_a_request_whatever_it_asks_for(served, caplog, head):
    caplog.set_level(logging.INFO)
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as caller:
        caller.sendall(f"{head}\r\nno chunk\r\n".encode())
        answer = caller.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"
    assert not [one for one in caplog.records if one.levelno > logging.WARNING]


@pytest.mark.parametrize(
    "part",
    [
        "G",
        f"POST /v1/embeddings {HEAD}",
        f"POST /v1/embeddings {HEAD}{JSON}\r\n",
        f"POST /mcp {HEAD}{JSON}\r\n5\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nG",
    ],
)
def test_who_never_ends_a_request_is_refused_and_hung_up_on(served, monkeypatch, part):
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 0.05)
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as caller:
        caller.sendall(part.encode())
        *_, head, body = caller.makefile("rb").read().split(b"\r\n\r\n")
    assert b"HTTP/1.1 408 Request Timeout" in head
    assert json.loads(body)["error"]["code"] == "request_timeout"


def test_who_is_refused_before_the_body_has_come_does_not_hold_the_connection(served, monkeypatch):
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 0.05)
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as caller:
        caller.sendall(f"POST /v1/unknown {HEAD}\r\n".encode())
        assert caller.makefile("rb").read().startswith(b"HTTP/1.1 404 ")
