"""MCP over HTTP answers as over any transport, and to each key what it is for."""

import json
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from eras import in_one_era
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError

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
        assert client.instructions.startswith("Private tools")
    async with Client(build_over(served.gateway, read_only=False), mode=era) as client:
        in_memory = await client.call_tool("semantic_search", question)
        assert names == {tool.name for tool in (await client.list_tools()).tools}
    assert over_http.structured_content == in_memory.structured_content
    assert "tides.md" in json.dumps(over_http.structured_content)


async def test_who_connects_over_http_is_told_what_is_indexed(served, era):
    with anyio.fail_after(60):
        said = ""
        while "Indexed now: 3 documents in 1 collection" not in said:
            async with connected(served.url, era) as client:
                said = client.instructions


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
        with anyio.fail_after(60):
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
        self._let_in(caller)
        return super().slot(caller)

    def run(self, call: Any, caller: str = "") -> Any:
        self._let_in(caller)
        return super().run(call, caller)

    def _let_in(self, caller: str) -> None:
        self.callers = [*getattr(self, "callers", []), caller]


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


CALLS = [
    ("semantic_search", {"query": "What makes the sea rise and fall?"}),
    ("semantic_search", {"query": "dough", "explain": True, "top_k": 1}),
    ("semantic_search", {"query": "dough", "topk": 1}),
    ("list_documents", {"limit": 2}),
    ("list_documents", {"collections": ["nothing"]}),
    ("get_document", {"document_id": "0" * 16}),
    ("embed", {"texts": ["the sea", "潮の満ち引き"], "encoding": "base64"}),
    ("embed", {"texts": ["x"] * 100}),
    ("generate", {"prompt": "Name a colour.", "max_tokens": 6}),
    ("generate", {"prompt": "Sea or bread?", "choices": ["sea", "bread"]}),
    ("generate", {"prompt": "x", "json_schema": {"type": "nothing"}}),
    ("status", {}),
    ("no_such_tool", {}),
]
CHANGING_FACTS = {"unloads_in", "memory", "answers", "placement", "size_bytes"}
"""Of status, which tell what the moment or the process is like."""


def lasting(value):
    """A result without what another moment changes."""
    if isinstance(value, list):
        return [lasting(one) for one in value]
    if isinstance(value, dict):
        return {name: lasting(one) for name, one in value.items() if name not in CHANGING_FACTS}
    return value


async def told(client: Client) -> list[object]:
    """All that a client is told: lists, the results of many calls, resources, a prompt."""
    found: list[object] = [
        [one.model_dump() for one in (await client.list_tools()).tools],
        [one.model_dump() for one in (await client.list_resources()).resources],
        [one.model_dump() for one in (await client.list_resource_templates()).resource_templates],
        [one.model_dump() for one in (await client.list_prompts()).prompts],
    ]
    for name, arguments in CALLS:
        result = await client.call_tool(name, arguments)
        text = [] if name == "status" else [part.text for part in result.content]
        facts = (result.meta or {}).get("finish_reason")
        found.append((name, result.is_error, text, lasting(result.structured_content), facts))
    first = found[4][3]["passages"][0]["document_id"]  # type: ignore[index]
    found.append((await client.read_resource(f"doc://{first}")).contents[0].text)
    found.append((await client.get_prompt("answer_from_documents", {"question": "sea"})).messages)
    with pytest.raises(MCPError) as missing:
        await client.read_resource("doc://0123456789abcdef")
    return [*found, (missing.value.code, missing.value.message, missing.value.data)]


@in_one_era
async def test_all_that_is_told_over_http_is_told_in_memory(served, era):
    async with connected(served.url, era) as client:
        over_http = await told(client)
    async with Client(build_over(served.gateway, read_only=False), mode=era) as client:
        in_memory = await told(client)
    for one, other in zip(over_http, in_memory, strict=True):
        assert one == other


@pytest.mark.nightly
async def test_all_that_is_told_over_http_is_told_over_stdio(served, era):
    settings = served.gateway.settings
    folders = ("--data-dir", settings.data_dir, "--models-dir", settings.models_dir)
    command = ["-m", "mcp_server", "serve", *folders, "--root", settings.root[0]]
    server = StdioServerParameters(command=sys.executable, args=[str(one) for one in command])
    with anyio.fail_after(120):
        async with Client(server, mode=era) as client:
            await client.call_tool("generate", {"prompt": "x", "max_tokens": 1})
            over_stdio = await told(client)
        async with connected(served.url, era) as client:
            over_http = await told(client)
    for one, other in zip(over_stdio, over_http, strict=True):
        assert one == other


async def test_a_closed_stream_ends_its_answer_and_the_next_call_is_answered(served, era):
    """In the newer era a call that is cancelled closes its stream; in the older one it may not."""
    started = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        if done >= 1:
            started.set()

    async def begin() -> None:
        asked = {"prompt": "Tell a very long story.", "max_tokens": 4_000}
        async with connected(served.url, era) as client:
            await client.call_tool("generate", asked, progress_callback=progress)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            await started.wait()
            tasks.cancel_scope.cancel()
        async with connected(served.url, era) as client:
            answers = {"active": 1}
            while answers["active"] or answers["kv_bytes"]:
                answers = (await client.call_tool("status", {})).structured_content["answers"]
            after = await client.call_tool("generate", {"prompt": "Say hello.", "max_tokens": 4})
    assert not after.is_error
