"""Tasks over HTTP outlive the request that began them, and each belongs to one key."""

from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from following import Following, acknowledged, begin, ended, with_patience
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, PROTOCOL_VERSION_META_KEY

from mcp_server.keys import Keys
from mcp_server.tasks.extension import IDENTIFIER

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def connected(url: str, key: str):
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, extensions=[Following()]) as client:
            yield client


async def test_a_task_belongs_to_its_key_and_counts_its_tokens(serve, home):
    keys = Keys(home.settings.keys_file)
    first, second = keys.create("first")[0], keys.create("second")[0]
    asked = {"prompt": "Count to a hundred.", "max_tokens": 40}
    with serve(tokens_per_minute=60) as running, anyio.fail_after(60):
        with_patience(running.gateway.tasks, 0)
        async with connected(running.url, first) as client:
            begun = await begin(client, "generate", asked)
        async with connected(running.url, second) as other:
            for method in ("tasks/get", "tasks/cancel", "tasks/update"):
                with pytest.raises(MCPError) as refused:
                    await acknowledged(other.session, method, begun.task_id)
                assert refused.value.code == INVALID_PARAMS
        async with connected(running.url, first) as again:
            told = await ended(again.session, begun.task_id)
            assert told.status == "completed"
            assert told.result["content"][0]["text"]
            refused = await again.call_tool("generate", asked)
            assert "60 tokens a minute" in refused.content[0].text
            await _header_must_name_the_task(running.url, first, begun.task_id)


async def _header_must_name_the_task(url: str, key: str, task_id: str) -> None:
    meta = {
        PROTOCOL_VERSION_META_KEY: "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {IDENTIFIER: {}}},
    }
    params = {"taskId": task_id, "_meta": meta}
    headers = {
        "authorization": f"Bearer {key}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tasks/get",
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": params}
    async with httpx2.AsyncClient(headers=headers) as http:
        for named, status in (({}, 400), ({"mcp-name": "x"}, 400), ({"mcp-name": task_id}, 200)):
            answer = await http.post(f"{url}/mcp", json=asked, headers=named)
            assert answer.status_code == status
            code = answer.json().get("error", {}).get("code")
            assert code == (HEADER_MISMATCH if status == 400 else None)
