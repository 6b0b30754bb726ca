"""The tools on documents through the official client, on a real index."""

import os
import re
import sys
from pathlib import Path

import pytest
from eras import in_one_era
from sample_documents import pdf

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
    assert listed.structured_content["documents"] == []
    for result in (search, listed):
        assert "npu-gateway index DIR" in result.structured_content["notice"]
        assert result.structured_content["notice"] in result.content[0].text


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


async def test_the_list_shows_kinds_and_is_narrowed_by_collection_and_path(connect, home):
    other = home.documents / "letters"
    other.mkdir()
    (other / "anna.txt").write_text("Dear Anna, the boat is sold.\n")
    async with connect() as client:
        await index(client, home)
        await index(client, home, path=str(other), name="letters")
        whole = (await client.call_tool("list_documents", {})).structured_content
        letters = await client.call_tool("list_documents", {"collections": ["letters"]})
        markdown = await client.call_tool("list_documents", {"paths": ["*.md"]})
        near = await client.call_tool("list_documents", {"collections": ["leters"]})
    kinds = {Path(one["path"]).name: one["kind"] for one in whole["documents"]}
    assert kinds == {
        "anna.txt": "text",
        "bread.md": "markdown",
        "cycling.txt": "text",
        "tides.md": "markdown",
    }
    assert [(one["name"], one["documents"]) for one in whole["collections"]] == [
        ("documents", 4),
        ("letters", 1),
    ]
    assert all(one["is_there"] for one in whole["collections"])
    assert letters.structured_content["total"] == 1
    assert letters.structured_content["documents"][0]["path"] == str(other / "anna.txt")
    assert markdown.structured_content["total"] == 2
    assert near.is_error
    assert "letters" in near.content[0].text


async def test_what_was_left_out_is_listed_with_its_reason(connect, home):
    for number in range(3):
        (home.documents / f"broken{number}.txt").write_bytes(b"\x00\x01\x02" * 50)
    async with connect() as client:
        await index(client, home)
        first = await client.call_tool("list_documents", {"skipped": True, "limit": 2})
        cursor = first.structured_content["next_cursor"]
        last = await client.call_tool(
            "list_documents", {"skipped": True, "limit": 2, "cursor": cursor}
        )
        status = (await client.call_tool("status", {})).structured_content
    pages = [first.structured_content, last.structured_content]
    files = [file for page in pages for file in page["skipped_files"]]
    assert [Path(file["path"]).name for file in files] == [
        "broken0.txt",
        "broken1.txt",
        "broken2.txt",
    ]
    assert all(file["reason"] in first.content[0].text for file in files)
    assert pages[0]["total"] == status["index"]["skipped"] == 3
    assert pages[0]["documents"] == []
    assert pages[1]["next_cursor"] == ""


@in_one_era
async def test_a_pdf_is_cited_and_read_by_page(connect, home):
    paragraphs = ["The sea rises.", "Oil the chain often.", "Knead the dough long."]
    pages = [[(11, f"{text} {number}") for number in range(30)] for text in paragraphs]
    (home.documents / "manual.pdf").write_bytes(pdf(pages))
    async with connect() as client:
        await index(client, home)
        asked = {"query": "knead dough", "kinds": ["pdf"], "top_k": 1}
        found = await client.call_tool("semantic_search", asked)
        best = found.structured_content["passages"][0]
        page = {"document_id": best["document_id"], "page": 3}
        third = await client.call_tool("get_document", page)
        fourth = await client.call_tool("get_document", {**page, "page": 4})
        listed = await client.call_tool("list_documents", {"paths": ["*.pdf"]})
    assert best["page"] == 3
    assert "| page 3 |" in found.content[0].text
    assert "Knead the dough long. 29" in third.content[0].text
    assert "Oil the chain" not in third.content[0].text
    assert re.fullmatch(r"\[page 3 of 3: lines \d+-\d+\]", third.content[1].text)
    assert fourth.is_error
    assert "pages 1-3, not 4" in fourth.content[0].text
    assert listed.structured_content["documents"][0]["pages"] == 3
    assert "pdf, 3 pages" in listed.content[0].text


async def test_a_page_is_asked_for_only_where_there_are_pages(connect, home):
    async with connect() as client:
        await index(client, home)
        document_id = await id_of(client, "tides.md")
        refused = await client.call_tool("get_document", {"document_id": document_id, "page": 1})
    assert refused.is_error
    assert "tides.md has no pages" in refused.content[0].text


@in_one_era
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
            assert sum(len(part.text) for part in result.content) <= 28_500
            parts.append(result.content[0].text)
            if len(result.content) == 1:
                break
            line = int(result.content[1].text.split("line_start=")[1].rstrip("]"))
    assert "".join(parts) == text


@in_one_era
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
    assert len(parts) == 4


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
