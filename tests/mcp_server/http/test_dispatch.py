"""Whoever leaves is worked for no longer; whoever sends too much, or reads nothing, is left."""

import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
import pytest
from asking import ask
from starlette.routing import Route

from mcp_server.concurrency import Admission
from mcp_server.http import app, call, parsing, streaming
from mcp_server.http.credentials import Callers
from mcp_server.http.doors import Door, Doors
from mcp_server.http.guard import Guard, Rules
from mcp_server.http.hosts import Hosts
from mcp_server.http.origins import Origins
from mcp_server.http.rates import Rates
from mcp_server.http.streaming import DONE, PING, EventStream
from mcp_server.http.wire import ABORT
from mcp_server.keys import Keys
from mcp_server.lifespan import Gateway

JSON = (b"content-type", b"application/json")
LONG = {
    "model": "smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "Count from one to a thousand, in words."}],
    "max_tokens": 8000,
    "logit_bias": {"2": -100},
}
SECONDS = 60
"""Far less than the answer would take."""


@contextmanager
def asked(url, body):
    """A request whose sender reads nothing, and hangs up in the end."""
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=SECONDS) as caller:
        caller.sendall(f"{head}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        yield caller


def comes_to(running, count, wanted):
    """Waits until a count is as wanted, while the server answers others."""
    end = time.monotonic() + SECONDS
    while count() != wanted:
        assert time.monotonic() < end, f"{count()}, not {wanted}"
        assert running.get("/livez").status_code == 200


def test_work_for_callers_who_leave_ends_streamed_or_not_or_in_line(serve):
    with serve(slots=1) as running:
        answers = running.gateway.answers
        for is_stream in (True, False):
            with asked(running.url, {**LONG, "stream": is_stream}):
                comes_to(running, lambda: answers.working, 1)
                with asked(running.url, {**LONG, "stream": is_stream}):
                    comes_to(running, lambda: answers.waiting, 1)
                comes_to(running, lambda: answers.waiting, 0)
                assert answers.working == 1
            comes_to(running, lambda: answers.working, 0)
            comes_to(running, lambda: running.gateway.engine.answering().active, 0)
        short = {**LONG, "max_tokens": 1}
        assert running.post("/v1/chat/completions", short).status_code == 200


def test_a_prompt_counts_though_its_caller_leaves_before_the_answers_end(serve, caplog):
    caplog.set_level("INFO")
    with serve(slots=1) as running:
        answers = running.gateway.answers
        with asked(running.url, LONG | {"stream": True}) as caller:
            assert caller.recv(65_536)
        comes_to(running, lambda: answers.working, 0)
    assert re.search(r"route=chat_completions .* prompt_tokens=[1-9]", caplog.text)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "param", "text"),
    [
        ("/chat/completions", "messages", [{"role": "user", "content": "tide " * 9_000}]),
        ("/completions", "prompt", "tide " * 9_000),
        ("/responses", "input", "tide " * 9_000),
        ("/completions", "prompt", ""),
    ],
)
def test_what_the_engine_alone_finds_names_the_field_it_is_in(served, path, param, text, stream):
    answer = served.post(path, {"model": LONG["model"], param: text, "stream": stream})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_head_has_no_body_and_other_methods_are_not_taken(served):
    head = served.http.head("/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 100
    for method, path in (("PUT", "/v1/models"), ("GET", "/v1/embeddings"), ("DELETE", "/livez")):
        refused = served.http.request(method, path)
        assert refused.status_code == 405
        assert refused.json()["error"]["code"] == "method_not_allowed"
        assert refused.headers["allow"] in ("GET, HEAD", "POST")


@pytest.mark.anyio
async def test_a_body_is_read_up_to_its_limit_and_no_further(home):
    engine = home.engine()
    guard = app.build(Gateway(engine, home.settings))
    part, taken = b"x" * 65_536, [0]

    async def endless():
        taken[0] += 1
        return {"type": "http.request", "body": part, "more_body": True}

    told = (b"content-length", str(parsing.MOST_BYTES + 1).encode())
    for header in (told, (b"transfer-encoding", b"chunked")):
        taken[0] = 0
        refused = await ask(guard, "/v1/embeddings", JSON, header, method="POST", receive=endless)
        assert (refused.status, refused.code) == (413, "request_too_large")
        assert refused.headers["x-should-retry"] == "false"
        assert taken[0] == (0 if header is told else parsing.MOST_BYTES // len(part) + 1)
    engine.close()


@pytest.mark.anyio
async def test_a_call_waits_for_its_model_for_a_while_and_is_told_to_come_back(home, monkeypatch):
    engine, gate = home.engine(), threading.Event()
    home.use_embedder(engine, lambda _: gate.wait(SECONDS) and home.embedder)
    gateway = Gateway(engine, home.settings)
    monkeypatch.setattr(call, "_PATIENCE_SECONDS", 0)
    body = json.dumps({"model": "all-minilm-l6-v2", "input": "x"}).encode()
    async with gateway.running():
        refused = await ask(app.build(gateway), "/v1/embeddings", JSON, method="POST", body=body)
        gate.set()
        await gateway.embedder_loaded.wait()
    assert (refused.status, refused.code) == (503, "model_loading")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-should-retry"] == "true"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"content": "a"}),
        ("/detokenize", {"tokens": [1]}),
        ("/responses/input_tokens", {"input": "a"}),
        ("/embeddings", {"model": "all-minilm-l6-v2", "input": "tide " * 5_000}),
        ("/chat/completions", LONG),
    ],
)
async def test_texts_wait_to_become_tokens_in_a_line_that_has_an_end(home, path, body):
    engine = home.engine()
    gateway = Gateway(engine, home.settings)
    gateway.tokenising = Admission(1, 0, "Full.")
    async with gateway.running(), gateway.tokenising.slot():
        content = json.dumps(body).encode()
        refused = await ask(app.build(gateway), path, JSON, method="POST", body=content)
    assert (refused.status, refused.code) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    engine.close()


def guarded(application, home, stalled_seconds=30.0) -> Guard:
    """An application behind a guard of its own."""
    doors = Doors([(Route("/stream", application), Door(name="s", path="/stream", scopes=None))])
    return Guard(
        application,
        Rules(
            doors=doors,
            hosts=Hosts([]),
            origins=Origins([]),
            callers=Callers(Keys(home.settings.keys_file)),
            rates=Rates(0, 0),
            is_draining=lambda: False,
            stalled_seconds=stalled_seconds,
        ),
    )


@pytest.mark.anyio
async def test_whoever_takes_nothing_is_left_and_the_work_for_them_ends(home):
    ended, aborted = anyio.Event(), []

    async def frames():
        try:
            while True:
                yield DONE
        finally:
            ended.set()

    async def take_nothing(_):
        await anyio.sleep_forever()

    guard = guarded(lambda *asgi: EventStream(frames())(*asgi), home, stalled_seconds=0.01)
    state = {ABORT: lambda: aborted.append(True)}
    await ask(guard, "/stream", send=take_nothing, state=state)
    assert ended.is_set()
    assert aborted == [True]


@pytest.mark.anyio
async def test_a_silence_is_broken_by_comments(home, monkeypatch):
    monkeypatch.setattr(streaming, "PING_SECONDS", 0.01)
    pinged = anyio.Event()

    async def frames():
        yield b"data: 1\n\n"
        await pinged.wait()
        yield DONE

    sent = []

    async def send(message):
        sent.append(message.get("body"))
        if message.get("body") == PING:
            pinged.set()

    await ask(guarded(lambda *asgi: EventStream(frames())(*asgi), home), "/stream", send=send)
    assert sent[1] == b"data: 1\n\n"
    assert PING in sent
    assert sent[-2:] == [DONE, b""]
