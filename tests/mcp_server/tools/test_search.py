"""The tool semantic_search while others work: it waits for no step of indexing."""

import threading
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.server.mcpserver.context import Context

from engine.search.search import Matches, SearchRequest
from mcp_server.lifespan import Gateway
from mcp_server.server import build

pytestmark = pytest.mark.anyio


class Held:
    """An embedder whose documents wait until they are let through; queries do not."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.begun, self.let_through = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def close(self) -> None:
        """Left open for the next test."""

    def embed(self, texts: list[str], kind: str) -> Any:
        if kind == "document":
            self.begun.set()
            assert self.let_through.wait(60)
        return self._model.embed(texts, kind)


async def test_a_search_answers_while_a_step_of_indexing_embeds(home, era):
    async with home.client(era) as client:
        await client.call_tool("index_documents", {"path": str(home.documents)})
    (home.documents / "new.md").write_text("# New\n\nThis is not embedded yet.\n")
    held = Held(home.embedder)
    engine = home.engine()
    home.use_embedder(engine, lambda _: held)
    indexed: list[Any] = []
    client = Client(build(engine, home.settings), mode=era)
    async with client, anyio.create_task_group() as tasks:

        async def index() -> None:
            asked = {"path": str(home.documents)}
            indexed.append(await client.call_tool("index_documents", asked))

        tasks.start_soon(index)
        assert await anyio.to_thread.run_sync(held.begun.wait, 60)
        with anyio.fail_after(60):
            found = await client.call_tool("semantic_search", {"query": "moon and sea"})
            listed = await client.call_tool("list_documents", {"paths": ["*/new.md"]})
            document_id = listed.structured_content["documents"][0]["document_id"]
            read = await client.call_tool("get_document", {"document_id": document_id})
            status = await client.call_tool("status", {})
            prompt = await client.get_prompt("answer_from_documents", {"question": "the sea?"})
        assert not indexed
        held.let_through.set()
    engine.close()
    assert found.structured_content["documents"] == 4
    assert found.structured_content["degraded"].startswith("reembedding 3/4")
    assert found.structured_content["passages"][0]["path"].endswith("tides.md")
    assert "not embedded yet" in read.content[0].text
    assert status.structured_content["index"]["indexing"].startswith("reading 4/4 files")
    assert "tides.md" in prompt.messages[0].content.text
    assert indexed[0].structured_content["indexed"] == 1


class Stuck:
    """An embedder whose queries never get their turn; closing their steps ends them."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.begun, self.closed = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed_steps(self, texts: list[str], kind: str, *, truncate: bool) -> "Stuck":
        return self

    def __iter__(self) -> "Stuck":
        return self

    def __next__(self) -> Any:
        self.begun.set()
        assert self.closed.wait(60), "nobody closed it"
        raise StopIteration

    def close(self) -> None:
        self.closed.set()


async def test_a_cancelled_search_leaves_at_once_what_it_waits_for(home):
    stuck = Stuck(home.embedder)
    engine = home.engine()
    home.use_embedder(engine, lambda _: stuck)
    async with Client(build(engine, home.settings)) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "semantic_search", {"query": "x"})
            assert await anyio.to_thread.run_sync(stuck.begun.wait, 60)
            tasks.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(stuck.closed.wait, 60)
        with anyio.fail_after(60):
            assert not (await client.call_tool("status", {})).is_error
    engine.close()


async def test_a_cancelled_search_leaves_a_look_up_that_waits_for_the_index(home):
    engine = home.engine()
    engine.embedder.lease().release()
    gateway = Gateway(engine, home.settings)
    begun, let_through, ended = threading.Event(), threading.Event(), threading.Event()

    def look_up(_: Matches) -> None:
        begun.set()
        let_through.wait(120)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.searched, SearchRequest(query="moon"), Context(), look_up)
        assert await anyio.to_thread.run_sync(begun.wait, 60)
        tasks.cancel_scope.cancel()
    assert not ended.is_set()
    let_through.set()
    assert await anyio.to_thread.run_sync(ended.wait, 60)
    engine.close()
