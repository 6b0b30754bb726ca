"""Whoever listens is told that a resource has changed; whoever cannot, is told nothing."""

import json
import threading
from dataclasses import replace
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.server.subscriptions import ResourceUpdated

from mcp_server import server
from mcp_server.changes import INDEX, MODELS
from mcp_server.lifespan import Gateway

pytestmark = pytest.mark.anyio


async def index(client, home) -> Any:
    asked = {"path": str(home.documents), "max_seconds": 3_600}
    return await client.call_tool("index_documents", asked)


async def documents(client) -> int:
    """How many documents the resource tells of."""
    read = await client.read_resource(INDEX, cache_mode="bypass")
    return json.loads(read.contents[0].text)["index"]["documents"]


async def until(subscription, client, expected: int) -> None:
    """Reads the resource each time it is said to have changed, until it says what is expected."""
    with anyio.fail_after(60):
        async for event in subscription:
            assert event == ResourceUpdated(INDEX)
            if await documents(client) == expected:
                return


async def test_a_listener_hears_of_each_change_whoever_made_it(home):
    async with (
        home.client("auto") as client,
        client.listen(resource_subscriptions=[INDEX]) as heard,
    ):
        await index(client, home)
        await until(heard, client, 3)
        listed = await client.call_tool("list_documents", {"limit": 1})
        first = listed.structured_content["documents"][0]["document_id"]
        await client.call_tool("remove_documents", {"document_ids": [first]})
        await until(heard, client, 2)
        async with home.client("legacy") as other_program:
            await index(other_program, home)
            await until(heard, client, 3)


async def test_a_listener_hears_that_a_model_has_been_loaded(home):
    engine = home.engine()
    begun, opened = threading.Event(), threading.Event()

    def load(_: Any) -> Any:
        begun.set()
        assert opened.wait(60)
        return home.embedder

    home.use_embedder(engine, load)
    async with (
        Client(server.build(engine, home.settings)) as client,
        client.listen(resource_subscriptions=[MODELS]) as heard,
    ):
        assert await anyio.to_thread.run_sync(begun.wait, 60)
        opened.set()
        with anyio.fail_after(60):
            async for event in heard:
                assert event == ResourceUpdated(MODELS)
                if engine.embedder.state == "ready":
                    break


async def test_many_changes_are_told_a_few_times_a_second(home):
    for number in range(60):
        (home.documents / f"many{number}.md").write_text(f"# Many\n\nThis is note {number}.\n")
    engine = home.engine()
    gateway = Gateway(engine, home.settings)
    told: list[Any] = []
    leave = gateway.subscribers.subscribe(told.append)
    async with server.running(gateway), Client(server.build_over(gateway, read_only=False)) as one:
        begin = anyio.current_time()
        await index(one, home)
        with anyio.fail_after(60):
            while ResourceUpdated(INDEX) not in told:
                await one.call_tool("status", {})
        seconds = anyio.current_time() - begin
        leave()
        leave()
    engine.close()
    assert told.count(ResourceUpdated(INDEX)) <= 2 * seconds + 2


async def test_whoever_listens_when_nobody_did_is_told_at_once_even_of_an_unreadable_disk(
    home, caplog
):
    engine = home.engine()
    lost = replace(home.settings, data_dir=home.settings.data_dir / ("long" * 100))
    gateway = Gateway(engine, lost)
    async with server.running(gateway):
        for _ in range(2):
            told: list[Any] = []
            complete = anyio.Event()

            def hear(event: Any, told: list[Any] = told, complete: Any = complete) -> None:
                told.append(event)
                if {ResourceUpdated(INDEX), ResourceUpdated(MODELS)} <= {*told}:
                    complete.set()

            leave = gateway.subscribers.subscribe(hear)
            with anyio.fail_after(60):
                await complete.wait()
            leave()
            leave()
    engine.close()
    assert "Looking for changes" not in caplog.text


async def test_a_client_of_an_older_era_is_told_nothing_it_was_not_promised(home):
    engine, messages = home.engine(), []

    async def take(message: Any) -> None:
        messages.append(message)

    built = server.build(engine, home.settings)
    async with (
        Client(built, mode="legacy", message_handler=take) as client,
        home.client("auto") as modern,
        modern.listen(resource_subscriptions=[INDEX]) as heard,
    ):
        promised = client.server_capabilities
        await index(client, home)
        await until(heard, modern, 3)
        await client.call_tool("status", {})
        assert modern.server_capabilities.resources.subscribe is True
    engine.close()
    assert promised.resources.subscribe is False
    assert not promised.resources.list_changed
    assert not promised.tools.list_changed
    assert not [one for one in messages if "updated" in getattr(one, "method", "")]
