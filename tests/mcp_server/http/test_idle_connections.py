"""A connection on which nothing is asked is closed after a while, and no other one."""

import json
import socket
from functools import partial
from urllib.parse import urlsplit

from mcp_server.http.serving import config

WAITING_SECONDS = 30
"""Far less than a connection is kept otherwise."""

BODY = json.dumps(
    {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "Count from one to a hundred, in words."}],
        "max_tokens": 24,
        "logit_bias": {"2": -100},
        "stream": True,
    }
)
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


def told(url: str, asked: bytes) -> bytes:
    """All that comes over a connection until the server closes it."""
    address = urlsplit(url)
    to = (address.hostname, address.port)
    with socket.create_connection(to, timeout=WAITING_SECONDS) as caller:
        try:
            caller.sendall(asked)
            return caller.makefile("rb").read()
        except ConnectionError:
            return b""


def test_a_connection_is_closed_once_nothing_is_asked_for_a_while_and_not_within_an_answer(serve):
    with serve(configured=partial(config, keep_alive_seconds=0.05)) as running:
        assert told(running.url, b"") == b""
        for asked, last in ((GET, b"}"), (POST, b"data: [DONE]\n\n\r\n0\r\n\r\n")):
            # Where this thread is slow the connection is closed before anything was asked.
            while not (answer := told(running.url, asked)):
                pass
            assert answer.endswith(last)
