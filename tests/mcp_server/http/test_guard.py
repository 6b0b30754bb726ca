"""The guard lets in who may come, refuses everybody else before any work, and tells each why."""

import base64
import re
from dataclasses import replace

import pytest
from asking import ask

from mcp_server.http import app
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint
from mcp_server.http.openai.bodies import RequestBody
from mcp_server.keys import Keys
from mcp_server.lifespan import Gateway

pytestmark = pytest.mark.anyio

PAGE = "https://chat.example"


@pytest.fixture
def build(home):
    """Builds the application of a home, with other settings; it answers without a lifespan."""
    engines = []

    def built(**changes):
        engines.append(home.engine(**changes))
        return app.build(Gateway(engines[-1], replace(home.settings, **changes)))

    yield built
    for engine in engines:
        engine.close()


@pytest.fixture
def keys(home) -> Keys:
    return Keys(home.settings.keys_file)


def bearer(key: str | bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + (key if isinstance(key, bytes) else key.encode())


async def test_only_own_names_are_answered_to(build):
    application = build(allowed_host=("box.example",))
    for host in ("127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:80", "box.example:443"):
        assert (await ask(application, host=(b"host", host.encode()))).status == 200, host
    foreign = ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "localhost,"]
    for host in [*foreign, "192.168.1.7", "local\xe9", "localhost:80:80", "[::1", "0.0.0.0"]:
        refused = await ask(application, host=(b"host", host.encode("latin-1")))
        assert (refused.status, refused.code) == (421, "misdirected_request"), host
    assert (await ask(application, host=None)).status == 421
    assert (await ask(application, "/v1/models", (b"host", b"localhost"))).status == 421


async def test_the_address_that_a_connection_came_to_is_an_own_name(build):
    host, server = (b"host", b"192.168.1.7:8642"), ("192.168.1.7", 8642)
    assert (await ask(build(), host=host, server=server)).status == 200
    assert (await ask(build(), host=(b"host", b"sock"), server=("sock", None))).status == 421


async def test_pages_of_other_origins_are_refused_whatever_they_send(build):
    application = build(cors_origin=(PAGE,))
    own = (b"origin", b"http://localhost:8642")
    assert (await ask(application, "/v1/models", own)).status == 200
    foreign = [b"https://evil.example", b"null", b"", b"http://localhost:1", b"http://127.0.0.1"]
    for origin in [*foreign, b"https://chat.example.evil.example", b"https://chat.example:444"]:
        for method, path in [("GET", "/v1/models"), ("OPTIONS", "/v1/models"), ("POST", "/mcp")]:
            refused = await ask(application, path, (b"origin", origin), method=method)
            assert (refused.status, refused.code) == (403, "origin_not_allowed")
            assert "access-control-allow-origin" not in refused.headers
    both = await ask(application, "/v1/models", own, (b"origin", PAGE.encode()))
    assert both.status == 403


async def test_pages_of_a_named_origin_may_ask_call_and_read(build, keys):
    application = build(cors_origin=(PAGE,))
    keys.create("somebody")
    origin = (b"origin", PAGE.encode())
    told = await ask(
        application,
        "/v1/chat/completions",
        origin,
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization, X-Stainless-OS,cookie,mcp-method"),
        method="OPTIONS",
    )
    assert told.status == 204
    assert told.headers["access-control-allow-origin"] == PAGE
    assert (
        told.headers["access-control-allow-headers"] == "authorization, x-stainless-os, mcp-method"
    )
    assert "access-control-allow-credentials" not in told.headers
    assert "access-control-allow-private-network" not in told.headers
    refused = await ask(application, "/v1/models", origin)
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    assert (await ask(application, "/v1/models", origin, method="OPTIONS")).status == 401


async def test_without_keys_everything_is_open_and_whatever_is_shown_is_ignored(build):
    application = build()
    for shown in (b"Bearer undefined", b"Basic x", b"\xff" * 100_000):
        assert (await ask(application, "/v1/models", (b"authorization", shown))).status == 200


async def test_from_the_first_key_on_every_route_but_the_probes_needs_one(build, keys):
    application = build()
    _, entry = keys.create("somebody")
    closed = [(one.method, one.path) for one in app.ENDPOINTS if one.scope is not None]
    closed += [("GET", "/v1/models"), ("POST", "/mcp"), ("GET", "/nowhere"), ("GET", "/v1/")]
    closed += [("GET", path) for path in ("//v1/models", "/v1/../metrics", "/v1/%2e%2e/livez")]
    closed += [("GET", path) for path in ("/livez/../v1/models", "/x/livez", "/livez/x", "/LIVEZ")]
    closed += [
        ("OPTIONS", "/v1/models"),
        ("HEAD", "/v1/models"),
        ("PUT", "/v1/models"),
        ("GET", ""),
    ]
    for method, path in closed:
        refused = await ask(application, path, method=method)
        assert refused.status == 401, (method, path)
        if method != "HEAD":
            assert refused.code == "invalid_api_key"
        assert refused.headers["www-authenticate"].startswith(("Bearer", "Basic"))
    keys.revoke(entry.id)
    assert (await ask(application)).status == 401, "no key is left, so nobody may come in"


async def test_a_key_is_shown_as_bearer_or_as_x_api_key(build, keys):
    application = build()
    key, _ = keys.create("somebody")
    good = [
        bearer(key),
        (b"authorization", f"bearer  {key} ".encode()),
        (b"x-api-key", key.encode()),
    ]
    for header in good:
        assert (await ask(application, "/v1/models", header)).status == 200
    bad = [bearer(key[:-1]), bearer(key + "x"), bearer(""), bearer("ключ"), bearer(b"\xff\x00")]
    bad += [bearer("x" * 100_000), (b"authorization", key.encode()), (b"x-api-key", b"loc_")]
    basic = base64.b64encode(f"me:{key}".encode())
    for header in [*bad, (b"authorization", b"Basic " + basic)]:
        refused = await ask(application, "/v1/models", header)
        assert (refused.status, refused.code) == (401, "invalid_api_key")
        assert refused.error["type"] == "authentication_error"
    assert (await ask(application, "/v1/models", bearer(key), bearer(key))).status == 401


async def test_a_browser_may_give_the_key_as_a_password_for_the_status_page_alone(build, keys):
    application = build()
    key, _ = keys.create("somebody", ["infer", "search", "admin"])

    def basic(word: str) -> tuple[bytes, bytes]:
        return b"authorization", b"Basic " + base64.b64encode(f"me:{word}".encode())

    for path in ("/", "/status.json"):
        assert (await ask(application, path, basic(key))).status == 200
        for wrong in (basic("x"), basic(""), (b"authorization", b"Basic %%%"), bearer("x")):
            refused = await ask(application, path, wrong)
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith('Basic realm="npu-gateway"')
    for path in ("/metrics", "/v1/models", "/mcp"):
        refused = await ask(application, path, basic(key))
        assert refused.status == 401
        assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_lost_file_of_keys_lets_nobody_in_and_is_told_without_its_path(
    build, keys, home, caplog
):
    application = build()
    key, _ = keys.create("somebody")
    assert (await ask(application, "/v1/models", bearer(key))).status == 200
    home.settings.keys_file.write_text("{")
    refused = await ask(application, "/v1/models", bearer(key))
    assert (refused.status, refused.code) == (500, "keys_unusable")
    assert str(home.settings.data_dir) not in refused.body.decode()
    assert refused.headers["x-should-retry"] == "false"
    assert str(home.settings.keys_file) in caplog.text
    assert key not in caplog.text


async def test_a_key_is_good_for_its_scopes_alone(build, keys):
    application = build()
    searching, _ = keys.create("searching", ["search"])
    inferring, _ = keys.create("inferring", ["infer"])
    for key, path in [(searching, "/v1/models"), (inferring, "/mcp"), (searching, "/mcp")]:
        refused = await ask(application, path, bearer(key))
        assert (refused.status, refused.code) == (403, "insufficient_permissions")
        assert refused.error["type"] == "permission_error"
    assert (await ask(application, "/v1/models", bearer(inferring))).status == 200
    assert (await ask(application, "/nowhere", bearer(searching))).status == 404


async def test_every_answer_has_an_id_of_its_own_and_is_no_script(build):
    application = build()
    asked = [("/v1/models", "GET"), ("/nowhere", "GET"), ("/v1/models", "PUT")]
    answers = [await ask(application, path, method=method) for path, method in asked]
    answers.append(await ask(application, host=(b"host", b"evil.example")))
    assert [answer.status for answer in answers] == [200, 404, 405, 421]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", one) for one in ids)
    assert len(set(ids)) == len(ids)
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}
    assert answers[2].headers["allow"] == "GET, HEAD"


async def test_a_slash_at_the_end_changes_nothing_and_leads_nowhere_else(build):
    application = build()
    assert (await ask(application, "/v1/models/")).status == 200
    assert (await ask(application, "/v1/models/all-minilm-l6-v2/")).status == 200
    sent = await ask(application, "/v1/embeddings/", method="POST", body=b"{}")
    assert sent.status == 415, "no redirect"
    assert (await ask(application, "/v1/models//")).status == 404


async def test_a_large_head_is_refused(build):
    application = build()
    large = await ask(application, "/v1/models", (b"x-much", b"x" * 65_536))
    many = await ask(application, "/v1/models", *[(b"x-many", b"x")] * 300)
    assert {(one.status, one.code) for one in (large, many)} == {(431, "headers_too_large")}


async def test_a_server_that_is_about_to_end_takes_no_new_work(home):
    engine = home.engine()
    gateway = Gateway(engine, home.settings)
    application = app.build(gateway)
    gateway.is_draining = True
    refused = await ask(application)
    engine.close()
    assert (refused.status, refused.code) == (503, "shutting_down")
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_bug_is_logged_once_and_told_without_a_word_on_its_cause(
    build, monkeypatch, caplog
):
    async def fail(call: Call[RequestBody]):
        """Fails."""
        raise ZeroDivisionError(f"secret of {__file__}")

    broken = Endpoint(
        name="broken", method="POST", path="/broken", scope="infer", answer=fail, body=RequestBody
    )
    monkeypatch.setattr(app, "ENDPOINTS", (broken,))
    json = (b"content-type", b"application/json")
    answer = await ask(build(), "/v1/broken", json, method="POST", body=b"{}")
    assert (answer.status, answer.code) == (500, "engine_error")
    assert answer.headers["x-should-retry"] == "false"
    assert "x-request-id" in answer.headers
    for word in (b"secret", b"Zero", b"Traceback", __file__.encode()):
        assert word not in answer.body
    assert caplog.text.count("Traceback") == 1
    assert answer.headers["x-request-id"] in caplog.text


async def test_a_key_has_its_requests_a_minute_and_is_told_what_is_left(build, keys):
    application = build(requests_per_minute=2)
    key, _ = keys.create("somebody")
    other, _ = keys.create("somebody else")
    answers = [await ask(application, "/v1/models", bearer(key)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["1", "0", "0"]
    refused = answers[-1]
    assert (refused.error["type"], refused.code) == ("rate_limit_error", "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert 0 < int(refused.headers["retry-after-ms"]) <= 30_000
    assert refused.headers["x-should-retry"] == "true"
    assert (await ask(application, "/v1/models", bearer(other))).status == 200
