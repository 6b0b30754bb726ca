"""The tool index_documents through the official client: one run at a time, told and stoppable."""

import json
import shutil
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import anyio
import apsw
import pytest
from eras import in_one_era
from mcp import Client

from engine.documents.one_indexer import one_indexer
from engine.engine import Engine
from engine.store import connection, opening
from mcp_server.commands.engine_options import options
from mcp_server.server import build

pytestmark = pytest.mark.anyio


@pytest.fixture
def era() -> str:
    """One is enough: that both answer alike is shown with the other tools."""
    return "auto"


async def index(client, home, **arguments):
    """Indexes all, in one call however slow the machine; `max_seconds` may make it more."""
    asked = {"path": str(home.documents), "max_seconds": 3_600, **arguments}
    return await client.call_tool("index_documents", asked)


async def names(client) -> set[str]:
    """The file names of what is indexed."""
    listed = (await client.call_tool("list_documents", {})).structured_content
    return {Path(one["path"]).name for one in listed["documents"]}


async def test_progress_rises_to_the_total_and_says_how_far_it_is(connect, home):
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        if total is not None:
            seen.append((done, total, message))

    async with connect() as client:
        await client.call_tool(
            "index_documents", {"path": str(home.documents)}, progress_callback=progress
        )
    values = [done for done, _, _ in seen]
    assert values == sorted(set(values))
    assert values[-1] == seen[-1][1] == 6, "three files and their three texts"
    assert seen[0][2].startswith(("reading", "embedding"))
    assert "/3 " in seen[0][2]


async def test_progress_is_told_at_most_twice_a_second(connect, home):
    for number in range(300):
        (home.documents / f"many{number:03d}.md").write_text(f"# Many\n\nThis is note {number}.\n")
    told = 0

    async def progress(done: float, total: float | None, message: str | None) -> None:
        nonlocal told
        told += total is not None

    async with connect() as client:
        start = anyio.current_time()
        await client.call_tool(
            "index_documents",
            {"path": str(home.documents), "max_seconds": 3_600},
            progress_callback=progress,
        )
        seconds = anyio.current_time() - start
    assert 1 <= told <= 2 * seconds + 2


@in_one_era
async def test_time_that_runs_out_leaves_the_rest_to_the_next_call(connect, home):
    for number in range(400):
        (home.documents / f"many{number:03d}.md").write_text(f"# Many\n\nThis is note {number}.\n")
    calls = 0
    async with connect() as client:
        while calls < 404:
            calls += 1
            result = await index(client, home, max_seconds=1)
            if result.structured_content["complete"]:
                break
            assert "call index_documents" in result.structured_content["notice"]
            assert result.structured_content["notice"] in result.content[0].text
        total = (await client.call_tool("list_documents", {})).structured_content["total"]
    assert total == 403
    assert result.structured_content["lacking"] == 0


async def test_without_a_root_indexing_says_how_to_allow_one(connect, home):
    async with connect(root=()) as client:
        result = await index(client, home)
    assert result.is_error
    assert "--root DIR" in result.content[0].text


async def test_a_collection_has_the_name_and_the_files_it_was_given(connect, home):
    async with connect() as client:
        await index(client, home, name="notes", include=["*.md"], exclude=["bread.*"])
        first = await names(client)
        again = await client.call_tool("index_documents", {"exclude": ["x"]})
        status = (await client.call_tool("status", {})).structured_content
        await index(client, home, include=["*"], exclude=["tides.md"])
        changed = await names(client)
    assert first == {"tides.md"}
    assert again.is_error
    assert "give its path" in again.content[0].text
    assert [one["name"] for one in status["index"]["collections"]] == ["notes"]
    assert changed == {"bread.md", "cycling.txt"}


async def test_without_a_path_everything_under_a_root_is_brought_up_to_date(home, era):
    outside = home.documents.parent / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("The key is under the mat.\n")
    async with home.client(era, root=(home.documents, outside)) as client:
        nothing = await client.call_tool("index_documents", {})
        await index(client, home)
        await index(client, home, path=str(outside))
    (outside / "new.md").write_text("Not seen.\n")
    (home.documents / "new.md").write_text("Seen.\n")
    async with home.client(era) as client:
        result = await client.call_tool("index_documents", {})
        found = await names(client)
    assert nothing.is_error
    assert "give the path" in nothing.content[0].text
    assert result.structured_content["indexed"] == 1
    assert found == {"tides.md", "bread.md", "cycling.txt", "secret.md", "new.md"}
    assert result.structured_content["documents"] == 5


async def test_a_folder_that_is_away_is_reported_and_what_is_indexed_of_it_stays(connect, home):
    away = home.documents / "drive"
    away.mkdir()
    (away / "note.md").write_text("On the drive.\n")
    async with connect() as client:
        await index(client, home, path=str(away))
        away.rename(home.documents.parent / "elsewhere")
        result = await client.call_tool("index_documents", {})
        status = (await client.call_tool("status", {})).structured_content
    assert len(result.structured_content["unavailable"]) == 1
    assert str(away) in result.content[0].text
    assert result.structured_content["documents"] == 1
    assert [one["is_there"] for one in status["index"]["collections"]] == [False]


async def test_a_cancelled_run_keeps_what_it_did_and_the_next_one_goes_on(connect, home):
    for number in range(400):
        (home.documents / f"many{number:03d}.md").write_text(f"# Many\n\nThis is note {number}.\n")
    async with connect() as client:
        async with anyio.create_task_group() as tasks:

            async def stop(done: float, total: float | None, message: str | None) -> None:
                if total is not None and done:
                    tasks.cancel_scope.cancel()

            asked = {"path": str(home.documents), "max_seconds": 3_600}
            await client.call_tool("index_documents", asked, progress_callback=stop)
        with anyio.fail_after(60):
            resumed = (await index(client, home)).structured_content
            status = (await client.call_tool("status", {})).structured_content
    assert resumed["indexed"] < 403
    assert resumed["indexed"] + resumed["unchanged"] == 403
    assert resumed["lacking"] == 0
    assert status["index"]["indexing"] == ""


@in_one_era
async def test_two_runs_at_once_index_each_file_once(connect, home):
    for number in range(40):
        (home.documents / f"{number}.md").write_text(f"# {number}\n\nNote number {number}.\n")
    results = []
    async with connect() as client, anyio.create_task_group() as tasks:

        async def run() -> None:
            results.append((await index(client, home)).structured_content)

        tasks.start_soon(run)
        tasks.start_soon(run)
    assert sorted(result["indexed"] for result in results) == [0, 43]


async def test_while_another_program_indexes_one_sentence_names_it(connect, home):
    async with connect() as client:
        await index(client, home)
        with one_indexer(home.settings.index_file):
            busy = await index(client, home)
            found = await client.call_tool("semantic_search", {"query": "moon"})
        after = await index(client, home)
    assert busy.is_error
    assert "already running" in busy.content[0].text
    assert "\n" not in busy.content[0].text
    assert found.structured_content["passages"]
    assert not after.is_error


async def test_a_missing_folder_is_said_and_removes_nothing(connect, home):
    async with connect() as client:
        await index(client, home)
        result = await client.call_tool("index_documents", {"path": str(home.documents / "absent")})
        total = (await client.call_tool("list_documents", {})).structured_content["total"]
    assert result.is_error
    assert "absent" in result.content[0].text
    assert total == 3


@pytest.fixture
def other_model(home, tmp_path) -> Path:
    """The default embedder with another pooling: another model with vectors of its own."""
    other = tmp_path / "other-model"
    installed = home.settings.models_folder / "all-minilm-l6-v2"
    shutil.copytree(installed, other, ignore=shutil.ignore_patterns("npu-gateway.json"))
    pooling = {"word_embedding_dimension": 384, "pooling_mode_cls_token": True}
    (other / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return other


@asynccontextmanager
async def client_of(settings, era):
    """A client of a server whose models are its own."""
    engine = Engine(options(settings))
    async with Client(build(engine, settings), mode=era) as client:
        yield client
    engine.close()


@in_one_era
async def test_after_a_change_of_model_words_answer_until_the_server_has_embedded_all(
    home, era, other_model
):
    async with home.client(era) as client:
        await index(client, home)
    read_only = replace(home.settings, embedder=str(other_model), read_only=True)
    async with client_of(read_only, era) as client:
        degraded = await client.call_tool("semantic_search", {"query": "moon and sea"})
        status = await client.call_tool("status", {})
    assert degraded.structured_content["degraded"].startswith("reembedding 0/3")
    assert "reembedding 0/3" in degraded.content[0].text
    assert degraded.structured_content["passages"][0]["path"].endswith("tides.md")
    assert "reembedding 0/3" in status.structured_content["index"]["problem"]
    async with client_of(replace(read_only, read_only=False), era) as client:
        with anyio.fail_after(120):
            while True:
                whole = await client.call_tool("semantic_search", {"query": "moon and sea"})
                if not whole.structured_content["degraded"]:
                    break
        status = await client.call_tool("status", {})
    assert status.structured_content["index"]["embedded"] == 3
    assert status.structured_content["index"]["model"] == "other-model"
    assert status.structured_content["index"]["problem"] == ""


async def test_without_a_model_files_are_indexed_and_found_by_words(home, era, tmp_path):
    settings = replace(home.settings, models_dir=tmp_path / "no-models")
    async with client_of(settings, era) as client:
        indexed = await index(client, home)
        found = await client.call_tool("semantic_search", {"query": "knead the dough"})
    assert indexed.structured_content["indexed"] == 3
    assert indexed.structured_content["lacking"] == 3
    assert "npu-gateway pull" in indexed.structured_content["problem"]
    assert "npu-gateway pull" in indexed.content[0].text
    assert found.structured_content["passages"][0]["path"].endswith("bread.md")
    assert "searched by words only" in found.structured_content["degraded"]
    assert "npu-gateway pull" in found.content[0].text


@in_one_era
async def test_a_server_that_watches_indexes_what_appears(home, era):
    async with home.client(era) as client:
        await index(client, home)
    async with home.client(era, watch=True) as client:
        (home.documents / "new.md").write_text("# Wine\n\nCorks are cut from oak bark.\n")
        with anyio.fail_after(120):
            while True:
                if "new.md" in await names(client):
                    break
            again = await index(client, home)
            found = await client.call_tool("semantic_search", {"query": "cork oak"})
    assert not again.is_error
    assert found.structured_content["passages"][0]["path"].endswith("new.md")


async def test_status_soon_says_that_another_program_keeps_the_index_to_itself(
    connect, home, monkeypatch
):
    index_file = home.settings.index_file
    opening.open_store(index_file).close()
    monkeypatch.setattr(connection, "READER_SECONDS", 0.0)
    monkeypatch.setattr(connection, "WRITER_SECONDS", 10_000.0)
    with closing(apsw.Connection(str(index_file))) as other:
        other.execute("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE").fetchall()
        async with connect() as client:
            told = await client.call_tool("status", {})
    assert not told.is_error
    assert "in use by another program" in told.structured_content["index"]["problem"]
    assert told.structured_content["index"]["problem"] in told.content[0].text
