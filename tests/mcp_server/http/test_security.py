"""Attacks that other local servers have fallen to, each tried at the front door.

Of the classes in which they come, these are tried elsewhere: Host, Origin, keys and scopes in
test_guard, tools by scope in test_mcp_over_http, bodies too large in test_dispatch; model files
that lie, weights outside their folder and behind links in engine/models/test_folder and test_graph;
templates in engine/text/test_chat; documents behind links in engine/documents/test_finder and
test_indexer; texts that carry hidden signs in openai/test_vector_stores.
"""

import ast
import gzip
import hashlib
import json
import logging
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from asking import ask

import engine
import mcp_server
from mcp_server.http import app
from mcp_server.keys import Keys
from mcp_server.lifespan import Gateway

CANARY = "canary-7c1e"
JSON = (b"content-type", b"application/json")
LOST_IDS = (
    "../../secret.txt",
    "..%2f..%2fsecret.txt",
    "....//secret.txt",
    "/etc/passwd",
    "C:\\secret.txt",
    "\\\\server\\share\\secret.txt",
    "secret.txt\x00.md",
    "CON",
    "tides.md:ads",
    "file:///etc/passwd",
    "http://169.254.169.254/",
    "' OR 1=1 --",
    "*",
    "x" * 5_000,
)
HOSTILE_QUERIES = (
    "' OR 1=1 --",
    '"unbalanced',
    "NEAR(sea moon",
    "documents:sea",
    "sea AND OR NOT",
    "*",
    "^sea",
    "{sea} - +",
    "sea\x00moon",
    "');DROP TABLE documents;--",
    "‮sea​",
)


@pytest.fixture
def guard(home):
    """The application of a home whose notes are indexed; a secret lies beside them."""
    home.documents.with_name("secret.txt").write_text(CANARY)
    engine = home.engine()
    for _ in engine.library.index(home.documents.resolve()):
        pass
    yield app.build(Gateway(engine, home.settings))
    engine.close()


async def posted(guard, path, body, *headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await ask(guard, path, *(headers or (JSON,)), method="POST", body=content)


@pytest.mark.anyio
async def test_no_id_leads_to_a_file(guard):
    for lost in LOST_IDS:
        for path in (
            f"/v1/models/{lost}",
            f"/v1/vector_stores/{lost}",
            f"/v1/vector_stores/documents/files/{lost}/content",
            f"/{lost}",
        ):
            answer = await ask(guard, path)
            assert answer.status in (400, 404), (path, answer.status)
            assert CANARY.encode() not in answer.body
        for body in (
            {"model": lost, "input": "x"},
            {"model": lost, "messages": [{"role": "user", "content": "x"}]},
        ):
            path = "/v1/embeddings" if "input" in body else "/v1/chat/completions"
            answer = await posted(guard, path, body)
            assert (answer.status, answer.code) == (404, "model_not_found"), (lost, answer.body)


@pytest.mark.anyio
async def test_no_query_is_a_command(guard):
    before = await ask(guard, "/v1/vector_stores/documents/files")
    for query in HOSTILE_QUERIES:
        answer = await posted(guard, "/v1/vector_stores/documents/search", {"query": query})
        assert answer.status in (200, 400), (query, answer.body)
        for part in ({"type": "eq", "key": query, "value": query},):
            body = {"query": "sea", "filters": part}
            answer = await posted(guard, "/v1/vector_stores/documents/search", body)
            assert answer.status in (200, 400), (query, answer.body)
    after = await ask(guard, "/v1/vector_stores/documents/files")
    assert (before.status, after.body) == (200, before.body)


@pytest.mark.anyio
async def test_what_a_page_can_send_without_asking_is_refused(guard):
    body = {"model": "all-minilm-l6-v2", "input": "x"}
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b""):
        answer = await posted(guard, "/v1/embeddings", body, (b"content-type", kind))
        assert answer.status == 415, kind
    assert (await posted(guard, "/v1/embeddings", body, (b"accept", b"*/*"))).status == 415


@pytest.mark.anyio
async def test_a_compressed_body_is_refused_unopened(guard):
    bomb = gzip.compress(b"0" * 2**26)
    for coding in (b"gzip", b"deflate", b"br", b"zstd", b"gzip, identity"):
        header = (b"content-encoding", coding)
        answer = await posted(guard, "/v1/embeddings", bomb, JSON, header)
        assert (answer.status, answer.code) == (415, "unsupported_encoding")


@pytest.mark.anyio
async def test_nothing_is_fetched_for_a_caller(guard, monkeypatch):
    def refuse(*_):
        raise AssertionError("a name was looked up or called")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    url = "http://169.254.169.254/latest/meta-data"
    parts = (
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "/etc/passwd"}},
    )
    model = "smollm2-135m-instruct"
    for part in parts:
        messages = [{"role": "user", "content": [part]}]
        answer = await posted(guard, "/v1/chat/completions", {"model": model, "messages": messages})
        assert answer.status == 400, part
    for part in (
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_file", "file_url": url},
    ):
        items = [{"role": "user", "content": [part]}]
        answer = await posted(guard, "/v1/responses", {"model": model, "input": items})
        assert answer.status == 400, part


@pytest.mark.anyio
async def test_what_is_out_of_bounds_is_refused_by_its_name_and_not_echoed(guard):
    body = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "x"}]}
    wrong = {
        "n": 9,
        "max_tokens": -1,
        "temperature": 1e9,
        "top_p": -0.5,
        "top_logprobs": 21,
        "seed": 2**70,
        "stop": ["x"] * 17,
        "logit_bias": {str(i): 1 for i in range(1_025)},
        "presence_penalty": "2",
        "stream": 1,
    }
    for name, value in wrong.items():
        answer = await posted(guard, "/v1/chat/completions", body | {name: value})
        assert answer.status == 400, (name, answer.body)
        assert (answer.error["param"] or "").partition(".")[0] == name
    secret = body | {"n": {CANARY: CANARY}, "stop": CANARY * 100, "messages": CANARY}
    answer = await posted(guard, "/v1/chat/completions", secret)
    assert answer.status == 400
    assert CANARY.encode() not in answer.body
    numbers = (b'{"n": NaN}', b'{"n": 1e999}', b"9" * 5_000)
    for raw in (*numbers, b"[" * 200_000, b"\xff\xfe{\x00}\x00", b'{"n": "\\ud800"}'):
        answer = await posted(guard, "/v1/chat/completions", raw)
        assert answer.status == 400, raw[:20]


@pytest.mark.anyio
async def test_no_look_changes_anything(guard, home):
    def state():
        files = sorted(path for path in home.documents.parent.rglob("*") if path.is_file())
        kept = [path for path in files if not path.name.endswith(("-shm", "-wal"))]
        return [(path, hashlib.sha256(path.read_bytes()).digest()) for path in kept]

    await ask(guard, "/v1/vector_stores")
    before = state()
    for one in app.ENDPOINTS:
        if one.method == "GET":
            await ask(guard, one.path.replace("{store}", "documents"))
    assert state() == before
    for word in ("load", "unload", "pull", "delete", "reload", "shutdown", "restart"):
        assert (await ask(guard, f"/v1/models/{word}")).status == 404


@pytest.mark.anyio
async def test_no_header_and_no_path_forges_a_line_of_the_log(guard, caplog):
    caplog.set_level(logging.DEBUG)
    forged = b"x\r\nWARNING forged: \x1b[31mred"
    for name in (b"x-client-request-id", b"user-agent", b"authorization", b"referer"):
        await ask(guard, "/v1/models", (name, forged))
    await ask(guard, "/v1/mod\r\nWARNING forged: \x1b[31mels")
    await ask(guard, "/v1/models/\nforged", method="FORGED")
    assert caplog.records
    assert "FORGED" not in caplog.text
    for record in caplog.records:
        assert "\x1b" not in record.getMessage()
        assert "\nWARNING forged" not in record.getMessage()
        assert "\n" not in record.getMessage()


@pytest.mark.anyio
async def test_no_key_is_ever_logged_or_echoed(guard, home, caplog):
    caplog.set_level(logging.DEBUG)
    key, entry = Keys(home.settings.keys_file).create("somebody")
    wrong = "loc_wrong" + key[9:]
    for shown in (key, wrong):
        for name, value in ((b"authorization", f"Bearer {shown}"), (b"x-api-key", shown)):
            answer = await ask(guard, "/v1/models", (name, value.encode()))
            assert shown.encode() not in answer.body
            assert shown not in str(answer.headers)
    assert key not in caplog.text
    assert wrong not in caplog.text
    assert entry.id in caplog.text, "whose request it was"


def test_over_a_socket_nothing_gets_around_the_guard(serve, home):
    Keys(home.settings.keys_file).create("somebody")
    with serve() as running:
        address = urlsplit(running.url)
        heads = (
            ("GET //v1/models", "localhost", 401),
            ("GET /v1/../v1/models", "localhost", 401),
            ("GET /livez/%2e%2e/metrics", "localhost", 401),
            ("GET /%6civez", "localhost", 200),
            ("GET http://localhost/livez", "localhost", 401),
            ("GET /v1/models?x=/livez", "localhost", 401),
            ("GET /v1/models#/livez", "localhost", 401),
            ("GET /livez", "evil.example", 421),
            ("GET /livez", "localhost\r\nHost: evil.example", 400),
            ("OPTIONS *", "localhost", 401),
        )
        for target, host, status in heads:
            with socket.create_connection((address.hostname, address.port), timeout=60) as caller:
                head = f"{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                caller.sendall(head.encode())
                answer = caller.makefile("rb").read()
            assert int(answer.split()[1]) == status, (target, host, answer[:200])
            assert status == 200 or json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
            assert b"x-request-id: req_" in answer


def test_no_code_is_read_from_data():
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "torch"}
    for package in (engine, mcp_server):
        for path in Path(package.__path__[0]).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                names = {
                    *(one.name.partition(".")[0] for one in getattr(node, "names", ())),
                    str(getattr(node, "module", "")).partition(".")[0],
                }
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert not names & forbidden, path
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("eval", "exec", "compile"), path
                if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
                    is_open = node.arg in ("allow_pickle", "shell") and node.value.value
                    assert not is_open, path
