"""What is no HTTP is refused in the words of all refusals, and is nobody's failure."""

import json
import logging
import socket
from urllib.parse import urlsplit

import pytest

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
    with socket.create_connection((address.hostname, address.port), timeout=30) as caller:
        caller.sendall(f"{head}\r\nno chunk\r\n".encode())
        answer = caller.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"
    assert not [one for one in caplog.records if one.levelno > logging.WARNING]
