"""MCP over HTTP answers as over any transport, and to each key what it is for."""

import json
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.subscriptions import ResourceUpdated

from engine import __version__
from mcp_server.changes import INDEX
from mcp_server.concurrency import Admission
from mcp_server.http.parsing import MOST_BYTES
from mcp_server.keys import Keys
from mcp_server.server import build_over

pytestmark = pytest.mark.anyio

CHANGING = {"index_documents", "remove_documents"}


@asynccontextmanager
async def connected(url: str, era: str, key: str = ""):
    """The official client, with a key or without."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with anyio.fail_after(60):
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(f"{url}/mcp", http_client=http)
            async with Client(transport, mode=era) as client:
                yield client


async def test_a_search_over_http_finds_what_it_finds_in_memory(served, era):
    question = {"query": "What makes the sea rise and fall?"}
    async with connected(served.url, era) as client:
        over_http = await client.call_tool("semantic_search", question)
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert client.server_info.version == __version__
        assert "Indexed now: 3 documents in 1 collection" in client.instructions
    async with Client(build_over(served.gateway, read_only=False), mode=era) as client:
        in_memory = await client.call_tool("semantic_search", question)
        assert names == {tool.name for tool in (await client.list_tools()).tools}
    assert over_http.structured_content == in_memory.structured_content
    assert "tides.md" in json.dumps(over_http.structured_content)


async def test_a_body_that_is_too_large_is_refused_as_on_all_routes(served):
    async with httpx2.AsyncClient() as http:
        refused = await http.post(f"{served.url}/mcp", content=b" " * (MOST_BYTES + 1))
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "request_too_large"


async def test_a_caller_who_leaves_within_a_body_is_no_failure(served, caplog):
    caplog.set_level(logging.INFO, "mcp_server.http.logs")
    async with await anyio.connect_tcp("127.0.0.1", httpx2.URL(served.url).port) as caller:
        await caller.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    async with httpx2.AsyncClient(base_url=served.url) as http:
        with anyio.fail_after(30):
            while "route=mcp status=499" not in caplog.text:
                await http.get("/livez")
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


async def test_tokens_of_tools_count_as_those_of_routes(serve, home):
    first, _ = Keys(home.settings.keys_file).create("first")
    second, _ = Keys(home.settings.keys_file).create("second")
    asked = {"prompt": "Count to a hundred.", "max_tokens": 40}
    with serve(tokens_per_minute=60) as running:
        async with connected(running.url, "auto", first) as client:
            assert not (await client.call_tool("generate", asked)).is_error
            refused = await client.call_tool("generate", asked)
            assert refused.is_error
            assert "60 tokens a minute" in refused.content[0].text
        async with connected(running.url, "legacy", second) as client:
            assert not (await client.call_tool("generate", asked)).is_error


async def test_only_a_key_of_scope_admin_is_offered_what_changes_the_index(serve, home):
    keys = Keys(home.settings.keys_file)
    admin, _ = keys.create("admin", ["infer", "search", "admin"])
    usual, _ = keys.create("usual")
    with serve() as running:
        for key, changing in ((admin, CHANGING), (usual, set())):
            async with connected(running.url, "auto", key) as client:
                names = {tool.name for tool in (await client.list_tools()).tools}
                assert names & CHANGING == changing
                assert "semantic_search" in names
                assert ("index_documents" in client.instructions) == bool(changing)
                called = await client.call_tool("index_documents", {"path": str(home.documents)})
                assert called.is_error == (not changing)
        assert len(running.gateway.engine.library.collections()) == 1
        async with httpx2.AsyncClient() as http:
            refused = await http.post(f"{running.url}/mcp", json={})
        assert refused.status_code == 401


async def test_a_key_that_may_only_read_hears_what_another_has_indexed(serve, home):
    keys = Keys(home.settings.keys_file)
    admin, _ = keys.create("admin", ["infer", "search", "admin"])
    usual, _ = keys.create("usual")
    async with AsyncExitStack() as held:
        running = held.enter_context(serve())
        indexer = await held.enter_async_context(connected(running.url, "legacy", admin))
        client = await held.enter_async_context(connected(running.url, "auto", usual))
        heard = await held.enter_async_context(client.listen(resource_subscriptions=[INDEX]))
        await indexer.call_tool("index_documents", {"path": str(home.documents)})
        with anyio.fail_after(60):
            async for event in heard:
                assert event == ResourceUpdated(INDEX)
                read = await client.read_resource(INDEX, cache_mode="bypass")
                if json.loads(read.contents[0].text)["index"]["embedded"] == 3:
                    break


class Told(Admission):
    """An admission that keeps the names of those it lets in."""

    def slot(self, caller: str = "") -> Any:
        self.callers = [*getattr(self, "callers", []), caller]
        return super().slot(caller)


async def test_whatever_reads_the_index_takes_its_callers_turn(serve, home):
    key, _ = Keys(home.settings.keys_file).create("somebody")
    with serve() as running:
        for _ in running.gateway.engine.library.index(home.documents.resolve()):
            pass
        running.gateway.reads = Told(16, 1_000, "")
        async with connected(running.url, "auto", key) as client:
            listed = await client.call_tool("list_documents", {})
            first = listed.structured_content["documents"][0]["document_id"]
            await client.call_tool("get_document", {"document_id": first})
            await client.call_tool("status", {})
            await client.read_resource(f"doc://{first}")
            await client.get_prompt("answer_from_documents", {"question": "moon"})
        named = [name for name in running.gateway.reads.callers if name]
    assert len(named) == 6, "the prompt takes two"
    assert len(set(named)) == 1
