"""The tools on documents and semantic_search through the official client, on a real index."""

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from mcp import Client

from engine.engine import Engine
from mcp_server.commands.opening import options
from mcp_server.server import build
from mcp_server.roots import allowed

pytestmark = pytest.mark.anyio


async def index(client, home, **arguments):
    """Indexes all, in one call however slow the machine; `max_seconds` may make it more."""
    asked = {"path": str(home.documents), "max_seconds": 3_600, **arguments}
    return await client.call_tool("index_documents", asked)


async def id_of(client, name: str) -> str:
    """The id of the indexed document of that file name."""
    listed = await client.call_tool("list_documents", {})
    documents = listed.structured_content["documents"]
    return next(one["document_id"] for one in documents if Path(one["path"]).name == name)


async def test_an_empty_index_is_no_error_and_says_how_to_fill_it(connect):
    async with connect() as client:
        search = await client.call_tool("semantic_search", {"query": "anything"})
        listed = await client.call_tool("list_documents", {})
    assert not search.is_error
    assert search.structured_content["passages"] == []
    assert "npu-gateway index DIR" in search.content[0].text
    assert listed.structured_content["documents"] == []
    assert "npu-gateway index DIR" in listed.content[0].text


async def test_what_is_indexed_is_found_by_meaning_with_its_place(connect, home):
    async with connect() as client:
        report = await index(client, home)
        result = await client.call_tool(
            "semantic_search", {"query": "Why does the ocean go up and down?", "top_k": 3}
        )
        best = result.structured_content["passages"][0]
        document = await client.read_resource(f"doc://{best['document_id']}")
    assert report.structured_content["indexed"] == 3
    assert report.structured_content["complete"] is True
    scores = [passage["score"] for passage in result.structured_content["passages"]]
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= score <= 1 for score in scores)
    assert best["path"] == str(home.documents / "tides.md")
    lines = (home.documents / "tides.md").read_text().splitlines()
    assert best["text"] in "\n".join(lines[best["line_start"] - 1 : best["line_end"]])
    assert document.contents[0].text == (home.documents / "tides.md").read_text()


async def test_both_channels_say_the_same(connect, home):
    async with connect() as client:
        await index(client, home)
        search = await client.call_tool("semantic_search", {"query": "dough"})
        listed = await client.call_tool("list_documents", {})
        status = await client.call_tool("status", {})
    for passage in search.structured_content["passages"]:
        for fact in (
            passage["document_id"],
            passage["path"],
            f"{passage['score']:.2f}",
            passage["text"],
            f"lines {passage['line_start']}-{passage['line_end']}",
        ):
            assert fact in search.content[0].text
    for document in listed.structured_content["documents"]:
        assert document["document_id"] in listed.content[0].text
        assert document["path"] in listed.content[0].text
    for model in status.structured_content["models"]:
        for fact in (model["model"], model["state"], model["license"], model["provider"]):
            assert fact in status.content[0].text
    assert "3 documents" in status.content[0].text


async def test_a_second_run_indexes_nothing_and_changes_are_reported(connect, home):
    async with connect() as client:
        await index(client, home)
        again = await index(client, home)
        (home.documents / "bread.md").write_text("# Bread\n\nBake it with steam.\n")
        (home.documents / "tides.md").unlink()
        changed = await index(client, home)
        gone = await client.call_tool("semantic_search", {"query": "moon and sea", "top_k": 9})
    assert again.structured_content["indexed"] == 0
    assert again.structured_content["unchanged"] == 3
    assert changed.structured_content["indexed"] == 1
    assert changed.structured_content["removed"] == 1
    assert not any("tides.md" in hit["path"] for hit in gone.structured_content["passages"])


async def test_the_index_outlives_the_server(home, era):
    async with home.client(era) as client:
        await index(client, home)
        bread = await id_of(client, "bread.md")
        removed = await client.call_tool("remove_documents", {"document_ids": [bread]})
    assert removed.structured_content == {"removed": 1, "documents": 2}
    async with home.client(era) as client:
        result = await client.call_tool("semantic_search", {"query": "kneading dough"})
    paths = [passage["path"] for passage in result.structured_content["passages"]]
    assert paths
    assert str(home.documents / "bread.md") not in paths


async def test_cursors_give_each_document_once(connect, home):
    for number in range(7):
        (home.documents / f"note{number}.md").write_text(f"Note number {number}.\n")
    seen, cursor = [], ""
    async with connect() as client:
        await index(client, home)
        for _ in range(10):
            page = await client.call_tool("list_documents", {"cursor": cursor, "limit": 3})
            seen += [one["document_id"] for one in page.structured_content["documents"]]
            cursor = page.structured_content["next_cursor"]
            if not cursor:
                break
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.parametrize("cursor", ["garbage", "AAAA", "ünicode", "cmVsYXRpdmU="])
async def test_a_bad_cursor_is_refused(connect, cursor):
    async with connect() as client:
        result = await client.call_tool("list_documents", {"cursor": cursor})
    assert result.is_error
    assert "leave it out" in result.content[0].text


async def test_a_document_is_read_exactly_and_by_lines(connect, home):
    text = "".join(f"line {number}\r\n" for number in range(1, 31))
    (home.documents / "lines.txt").write_bytes(text.encode())
    async with connect() as client:
        await index(client, home)
        document_id = await id_of(client, "lines.txt")
        whole = await client.call_tool("get_document", {"document_id": document_id})
        part = await client.call_tool(
            "get_document", {"document_id": document_id, "line_start": 3, "line_end": 4}
        )
        beyond = await client.call_tool(
            "get_document", {"document_id": document_id, "line_start": 31}
        )
    assert [one.text for one in whole.content] == [text]
    assert whole.structured_content is None
    assert part.content[0].text == "line 3\r\nline 4\r\n"
    assert beyond.is_error
    assert "1-30" in beyond.content[0].text


async def test_a_document_too_large_for_one_result_is_read_in_parts(connect, home):
    text = "".join(f"{number:05d} {'international ' * 36}\n" for number in range(230))
    (home.documents / "large.txt").write_text(text)
    parts: list[str] = []
    async with connect() as client:
        await index(client, home)
        document_id = await id_of(client, "large.txt")
        line = 1
        for _ in range(10):
            result = await client.call_tool(
                "get_document", {"document_id": document_id, "line_start": line}
            )
            assert sum(len(part.text) for part in result.content) <= 50_000
            parts.append(result.content[0].text)
            if len(result.content) == 1:
                break
            line = int(result.content[1].text.split("line_start=")[1].rstrip("]"))
    assert "".join(parts) == text


async def test_a_line_too_long_for_one_result_is_read_in_parts(connect, home):
    text = "".join(f"{number:04d} {'international ' * 7}" for number in range(1_020))
    (home.documents / "long.txt").write_text(text + "\nlast line\n")
    parts: list[str] = []
    async with connect() as client:
        await index(client, home)
        document_id = await id_of(client, "long.txt")
        arguments = {"line_start": 1}
        for _ in range(10):
            result = await client.call_tool(
                "get_document", {"document_id": document_id, **arguments}
            )
            parts.append(result.content[0].text)
            if len(result.content) == 1:
                break
            advice = re.findall(r"(line_start|character_start)=(\d+)", result.content[1].text)
            arguments = {name: int(value) for name, value in advice}
    assert "".join(parts) == text + "\nlast line\n"
    assert len(parts) == 3


async def test_search_results_stay_within_a_result_and_name_what_continues(connect, home):
    for number in range(30):
        paragraphs = "\n\n".join(f"Paragraph {n} of tea {number}. " * 20 for n in range(3))
        (home.documents / f"tea{number}.md").write_text(f"# Tea {number}\n\n{paragraphs}\n")
    async with connect() as client:
        await index(client, home)
        result = await client.call_tool(
            "semantic_search", {"query": "tea", "top_k": 50, "snippet_characters": 4000}
        )
    assert len(result.structured_content["passages"]) == 50
    assert len(result.content[0].text) <= 50_000
    assert len(str(result.structured_content)) <= 50_000
    cut = [passage for passage in result.structured_content["passages"] if passage["cut"]]
    assert cut
    assert f"get_document document_id={cut[0]['document_id']}" in result.content[0].text


async def test_an_unknown_document_is_refused_with_near_ids(connect, home):
    async with connect() as client:
        await index(client, home)
        listed = await client.call_tool("list_documents", {})
        real = listed.structured_content["documents"][0]["document_id"]
        near = real[:-1] + ("0" if real[-1] != "0" else "1")
        read = await client.call_tool("get_document", {"document_id": near})
        removed = await client.call_tool("remove_documents", {"document_ids": [real, near]})
        left = await client.call_tool("list_documents", {})
    assert read.is_error
    assert real in read.content[0].text
    assert len(re.findall(r"\b[0-9a-f]{16}\b", read.content[0].text.replace(near, ""))) <= 3
    assert removed.is_error
    assert left.structured_content["total"] == 3, "nothing is removed where one id is wrong"


async def test_indexing_reports_progress_that_rises_to_the_total(connect, home):
    seen: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        if total is not None:
            seen.append((done, total))

    async with connect() as client:
        await client.call_tool(
            "index_documents", {"path": str(home.documents)}, progress_callback=progress
        )
    values = [done for done, _ in seen]
    assert values == sorted(set(values))
    assert values[-1] == seen[-1][1] == 3


async def test_time_that_runs_out_leaves_the_rest_to_the_next_call(connect, home):
    for number in range(400):
        (home.documents / f"many{number:03d}.md").write_text(f"# Many\n\nThis is note {number}.\n")
    calls = 0
    async with connect() as client:
        while calls < 20:
            calls += 1
            result = await index(client, home, max_seconds=1)
            if result.structured_content["complete"]:
                break
            assert "call index_documents" in result.content[0].text
        total = (await client.call_tool("list_documents", {})).structured_content["total"]
    assert total == 403


async def test_without_a_root_indexing_says_how_to_allow_one(connect, home):
    async with connect(root=()) as client:
        result = await index(client, home)
    assert result.is_error
    assert "--root DIR" in result.content[0].text


@pytest.fixture
def places(tmp_path):
    inside = tmp_path / "root" / "inside"
    inside.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "rooted").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("root", True),
        ("root/inside", True),
        ("root/inside/../inside", True),
        ("root/./inside", True),
        ("root/absent.md", True),
        ("outside", False),
        ("root/../outside", False),
        ("rooted", False),
        ("", False),
        ("root/inside/../../outside/x.md", False),
    ],
)
def test_only_what_lies_under_a_root_is_allowed(places, path, is_allowed):
    wanted = f"{places}/{path}"
    if is_allowed:
        assert allowed(wanted, (places / "root",)) == Path(wanted).resolve()
    else:
        with pytest.raises(Exception, match="outside the allowed folders"):
            allowed(wanted, (places / "root",))


@pytest.mark.parametrize(
    "path", ["root", "./root", "../root", "C:root", "~/root", "\\\\server\\share", "file:///root"]
)
def test_a_path_that_is_not_absolute_here_is_refused(places, path, monkeypatch):
    if sys.platform == "win32" and path.startswith("\\\\"):
        pytest.skip("needs POSIX paths: a share is absolute elsewhere")
    monkeypatch.chdir(places)
    with pytest.raises(Exception, match="must be absolute"):
        allowed(path, (places / "root",))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links")
def test_a_link_that_leads_out_of_the_root_is_refused(places):
    os.symlink(places / "outside", places / "root" / "link")
    with pytest.raises(Exception, match="outside the allowed folders"):
        allowed(str(places / "root" / "link"), (places / "root",))
    os.symlink(places / "root", places / "way_in")
    assert (
        allowed(str(places / "way_in" / "inside"), (places / "root",))
        == (places / "root" / "inside").resolve()
    )


@pytest.mark.parametrize(
    "path", ["C:\\Windows", "\\\\server\\share\\x", "c:/windows", "\\\\?\\C:\\x"]
)
async def test_windows_paths_are_refused_where_they_mean_nothing(connect, path):
    if sys.platform == "win32":
        pytest.skip("needs POSIX")
    async with connect() as client:
        result = await client.call_tool("index_documents", {"path": path})
    assert result.is_error
    assert "must be absolute" in result.content[0].text


@pytest.mark.parametrize("path", ["/nul\0here", "/loop"])
async def test_a_path_that_no_file_can_have_is_one_sentence(connect, home, path):
    if path == "/loop":
        os.symlink(home.documents / "loop", home.documents / "loop")
        path = str(home.documents / "loop")
    async with connect() as client:
        result = await client.call_tool("index_documents", {"path": path})
    assert result.is_error
    assert "Error executing" not in result.content[0].text


async def test_an_index_of_another_model_is_refused_with_both_names(home, era, tmp_path):
    async with home.client(era) as client:
        await index(client, home)
    other = tmp_path / "other-model"
    shutil.copytree(
        home.settings.models_folder / "all-minilm-l6-v2",
        other,
        ignore=shutil.ignore_patterns("npu-gateway.json"),
    )
    pooling = {"word_embedding_dimension": 384, "pooling_mode_cls_token": True}
    (other / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    engine = Engine(options(replace(home.settings, embedder=str(other))))
    async with Client(build(engine, home.settings), mode=era) as client:
        refused = [
            await client.call_tool("semantic_search", {"query": "x"}),
            await index(client, home),
        ]
        status = await client.call_tool("status", {})
        listed = await client.call_tool("list_documents", {})
    engine.close()
    for result in refused:
        assert result.is_error
        assert "all-minilm-l6-v2" in result.content[0].text
        assert "other-model" in result.content[0].text
    assert "other-model" in status.structured_content["index"]["problem"]
    assert listed.structured_content["total"] == 3


async def test_two_runs_at_once_embed_each_file_once(connect, home):
    for number in range(40):
        (home.documents / f"{number}.md").write_text(f"# {number}\n\nNote number {number}.\n")
    results = []
    async with connect() as client, anyio.create_task_group() as tasks:

        async def run() -> None:
            results.append((await index(client, home)).structured_content)

        tasks.start_soon(run)
        tasks.start_soon(run)
    assert sorted(result["indexed"] for result in results) == [0, 43]


async def test_a_missing_folder_is_said_and_removes_nothing(connect, home):
    async with connect() as client:
        await index(client, home)
        result = await client.call_tool("index_documents", {"path": str(home.documents / "absent")})
        total = (await client.call_tool("list_documents", {})).structured_content["total"]
    assert result.is_error
    assert total == 3
