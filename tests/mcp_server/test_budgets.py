"""Whatever is indexed and whatever is sent, a result is one that every host shows its model."""

import json
import sys

import pytest
from eras import in_one_era
from homes import Home
from mcp.shared.exceptions import MCPError

from engine.corpus import Chunk, Collection, Document, SkippedFile, document_id_of
from mcp_server.budgets import FAILURE_CHARACTERS, LARGEST_CHARACTERS, RESULT_TOKENS, briefly
from mcp_server.tokens import estimated_tokens, fitting
from mcp_server.tools import generate

pytestmark = pytest.mark.anyio

WARNED_TOKENS = 10_000
"""From which on Claude Code warns its user of a result."""

COUNT = 25
AWKWARD = 'a "quoted\\ name 月の引力 🌊'
LONG = "/".join([AWKWARD] * 100)
"""As long as a path may be on most systems, and most of its characters tokens of their own."""

HUGE = "x" * 200_000
HUGE_VALUES = {
    "string": [HUGE],
    "array": [[HUGE], [HUGE] * 2],
    "object": [{HUGE: "a"}, {"a": HUGE}, {"type": HUGE}, {HUGE: {HUGE: HUGE}}],
    "integer": [HUGE, 10**300, -(10**300)],
    "number": [HUGE, 1e300],
    "boolean": [HUGE],
}
REQUIRED = {
    "semantic_search": {"query": "x", "mode": "keyword"},
    "embed": {"texts": [" "]},
    "generate": {"prompt": "x", "max_tokens": 0},
    "get_document": {"document_id": "0" * 16},
    "remove_documents": {"document_ids": ["x"]},
}
"""What is asked beside a huge value; no model works for it."""


def put_awkward_things(home: Home) -> list[str]:
    """Collections, documents and skipped files of long names; the ids of the documents."""
    root = home.documents
    engine = home.engine()
    store = engine.library.store()
    for number in range(COUNT):
        place = f"{root}/{number:04d}/{LONG}"
        store.put_collection(Collection(f"{number:04d} {'collection ' * 8}".strip(), place))
        path, text = f"{place}/{number}.md", "月の引力で海面が上下します。" * 60
        chunk = Chunk(0, text, ("月の引力で海面が上下します" * 9,) * 6, 1, 1, 0, len(text), 9)
        document_id = document_id_of(path)
        store.replace(Document(document_id, path, "題" * 200, "0", len(text), 1, 1, 1), [chunk])
    skipped = [SkippedFile(f"{root}/{number:04d}/{LONG}", LONG) for number in range(COUNT)]
    store.set_skipped(str(root), skipped)
    ids = [one.document_id for one in engine.library.documents(limit=COUNT)]
    engine.close()
    return ids


def embed_them(home: Home) -> None:
    """Leaves a server nothing to do: what it says of the index stays as it is."""
    engine = home.engine()
    list(engine.library.embed_lacking())
    assert engine.library.coverage().is_complete
    engine.close()


def channels(result) -> list[str]:
    """What a host may show of a result: its text, and its data if it has some."""
    assert not result.is_error, result.content
    text = "\n".join(part.text for part in result.content)
    data = json.dumps(result.structured_content, ensure_ascii=False)
    return [text] if result.structured_content is None else [text, data]


def assert_in_budget(result) -> None:
    for channel in channels(result):
        assert estimated_tokens(channel) <= WARNED_TOKENS
        assert len(channel) <= LARGEST_CHARACTERS


async def pages(client, **arguments):
    """All pages of a list, each within its budget."""
    cursor = ""
    for _ in range(5 * COUNT):
        page = await client.call_tool("list_documents", {**arguments, "cursor": cursor})
        assert_in_budget(page)
        yield page.structured_content
        cursor = page.structured_content["next_cursor"]
        assert (cursor in page.content[0].text) or not cursor
        if not cursor:
            return
    raise AssertionError("the pages do not end")


@in_one_era
async def test_long_names_make_more_pages_and_no_larger_ones(connect, home):
    ids = put_awkward_things(home)
    async with connect() as client:
        listed = [page async for page in pages(client, limit=200)]
        skipped = [page async for page in pages(client, limit=200, skipped=True)]
    assert [one["document_id"] for page in listed for one in page["documents"]] == ids
    for found in (listed, skipped):
        names = [one["name"] for page in found for one in page["collections"]]
        assert names == sorted(set(names))
        assert len(names) == COUNT
    files = [one["path"] for page in skipped for one in page["skipped_files"]]
    assert files == sorted(set(files))
    assert len(files) == COUNT


@in_one_era
async def test_status_and_the_index_resource_stay_small_and_say_where_the_rest_is(connect, home):
    put_awkward_things(home)
    embed_them(home)
    root = home.documents
    roots = (root, *(root / f"{number}{AWKWARD * 100}" for number in range(50)))
    async with connect(root=roots) as client:
        status = await client.call_tool("status", {})
        index = (await client.read_resource("index://status")).contents[0].text
    assert_in_budget(status)
    found, text = status.structured_content, status.content[0].text
    assert found["index"]["more_collections"] + len(found["index"]["collections"]) == COUNT
    assert f"{found['index']['more_collections']} more: list_documents" in text
    assert found["more_roots"] + len(found["roots"]) == len(roots)
    assert f"and {found['more_roots']} more" in text
    assert json.loads(index) == {name: found[name] for name in json.loads(index)}
    assert estimated_tokens(index) <= WARNED_TOKENS


@in_one_era
async def test_a_search_among_long_names_and_headings_keeps_to_its_tokens(connect, home):
    put_awkward_things(home)
    asked = {"query": "月の引力", "mode": "keyword", "explain": True, "top_k": 50}
    async with connect() as client:
        usual = await client.call_tool("semantic_search", asked)
        most = await client.call_tool("semantic_search", {**asked, "max_tokens": 16_000})
        prompt = await client.get_prompt("answer_from_documents", {"question": "月の引力"})
    for result, tokens in ((usual, 4_000), (most, 16_000)):
        assert result.structured_content["passages"]
        for channel in channels(result):
            assert estimated_tokens(channel) <= tokens
            assert len(channel) <= LARGEST_CHARACTERS
    assert estimated_tokens(prompt.messages[0].content.text) <= WARNED_TOKENS


@in_one_era
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX, where names may be so long")
async def test_a_run_over_many_unreadable_files_of_long_names_is_told_in_brief(connect, home):
    folder = home.documents / "/".join([f"{'月' * 80}"] * 12)
    folder.mkdir(parents=True)
    for number in range(COUNT):
        (folder / f"{number}.txt").write_bytes(b"\x00\x01\x02" * 50)
    async with connect() as client:
        result = await client.call_tool("index_documents", {"path": str(home.documents)})
    assert_in_budget(result)
    found = result.structured_content
    assert found["skipped"] == COUNT > len(found["skipped_files"])
    rest = found["skipped"] - len(found["skipped_files"])
    assert f"{rest} more skipped: list_documents skipped=true" in result.content[0].text


@in_one_era
async def test_a_path_of_nothing_but_control_characters_is_shown_in_part(connect, home):
    paths = [f"{home.documents}/{number}{chr(1) * 4_000}.md" for number in range(3)]
    engine = home.engine()
    store = engine.library.store()
    for path in paths:
        store.put_collection(Collection(f"notes {path[len(str(home.documents)) + 1]}", path))
        store.replace(
            Document(document_id_of(path), path, "t", "0", 5, 1, 1, 1),
            [Chunk(0, "tides", (), 1, 1, 0, 5, 1)],
        )
    store.set_skipped("", [SkippedFile(path, "why") for path in paths])
    engine.close()
    async with connect() as client:
        listed = [page async for page in pages(client)]
        skipped = [page async for page in pages(client, skipped=True)]
        found = await client.call_tool("semantic_search", {"query": "tides", "mode": "keyword"})
        assert_in_budget(await client.call_tool("status", {}))
    assert_in_budget(found)
    assert found.structured_content["passages"][0]["path"].startswith(str(home.documents))
    ids = [one["document_id"] for page in listed for one in page["documents"]]
    assert ids == [document_id_of(path) for path in paths]
    assert sum(len(page["skipped_files"]) for page in skipped) == len(paths)


@in_one_era
async def test_files_read_by_a_guess_and_folders_away_are_told_with_how_many_more(connect, home):
    for number in range(COUNT):
        (home.documents / f"{number}.txt").write_bytes(f"na\xefve {number}".encode("latin-1"))
    engine = home.engine()
    for number in range(COUNT):
        away = Collection(f"away-{number}", str(home.documents / f"away-{number}"))
        engine.library.store().put_collection(away)
    engine.close()
    async with connect() as client:
        run = await client.call_tool("index_documents", {"path": str(home.documents)})
    assert_in_budget(run)
    found, text = run.structured_content, run.content[0].text
    assert len(found["guessed_encodings"]) + found["more_guessed"] == COUNT
    assert f"{found['more_guessed']} more files read by a guess" in text
    assert len(found["unavailable"]) + found["more_unavailable"] == COUNT
    assert f"{found['more_unavailable']} more folders not looked into" in text


@in_one_era
async def test_a_huge_document_is_read_in_parts_by_tool_and_resource(connect, home):
    line = "月の引力で海面が上下します。The tide turns. 0123456789\n"
    (home.documents / "huge.txt").write_text(line * 1_000, encoding="utf-8")
    async with connect() as client:
        await client.call_tool(
            "index_documents", {"path": str(home.documents), "max_seconds": 3_600}
        )
        listed = await client.call_tool("list_documents", {"paths": ["*huge.txt"]})
        document_id = listed.structured_content["documents"][0]["document_id"]
        part = await client.call_tool("get_document", {"document_id": document_id})
        resource = (await client.read_resource(f"doc://{document_id}")).contents[0].text
        small = await client.read_resource(
            f"doc://{document_id_of(str(home.documents / 'tides.md'))}"
        )
    assert_in_budget(part)
    text, note = (one.text for one in part.content)
    shown = text.count("\n")
    assert text == line * shown
    assert estimated_tokens(text) > 9_000, "as much as fits"
    assert note == f"[cut here; of 1000 lines, get_document goes on with line_start={shown + 1}]"
    assert resource == f"{text}\n{note}"
    assert small.contents[0].text == (home.documents / "tides.md").read_text()


@in_one_era
async def test_a_refusal_is_short_whatever_was_sent(connect, home):
    home.engine().library.store()
    said: dict[str, str] = {}
    async with connect(embedder="/no/such/model", decoder="/no/such/model") as client:
        for tool in (await client.list_tools()).tools:
            arguments = {**tool.input_schema["properties"], HUGE: {"type": "string"}}
            for name, schema in arguments.items():
                for value in HUGE_VALUES[schema["type"]]:
                    asked = {**REQUIRED.get(tool.name, {}), name: value}
                    result = await client.call_tool(tool.name, asked)
                    said[f"{tool.name} {name[:9]}"] = result.content[0].text
        said["no tool"] = (await client.call_tool(HUGE, {})).content[0].text
        for ask in (
            lambda: client.read_resource(f"doc://{HUGE}"),
            lambda: client.read_resource(f"models://{HUGE}"),
            lambda: client.read_resource(HUGE),
            lambda: client.get_prompt(HUGE),
            lambda: client.get_prompt("answer_from_documents", {"question": HUGE}),
            lambda: client.get_prompt("answer_from_documents", {"question": "x", HUGE: HUGE}),
        ):
            try:
                said[str(len(said))] = str(await ask())
            except MCPError as error:
                said[str(len(said))] = error.message + json.dumps(error.data)
    for asked, text in said.items():
        assert len(text) <= 2 * FAILURE_CHARACTERS + 100, (asked, text[:200])
        assert HUGE[: FAILURE_CHARACTERS + 1] not in text, asked


@in_one_era
async def test_an_answer_of_more_characters_than_hosts_show_is_ended(connect, monkeypatch):
    monkeypatch.setattr(generate, "LARGEST_CHARACTERS", 20)
    async with connect() as client:
        result = await client.call_tool("generate", {"prompt": "Count to a hundred."})
    assert result.is_error
    assert "lower max_tokens" in result.content[0].text


@pytest.mark.parametrize(
    "text", ["月" * 500, "word " * 900, "", "a" * 5_000, "\n" * 70, "🌊x" * 90]
)
def test_the_beginning_that_fits_is_as_long_as_may_be(text):
    count = fitting(text, 100)
    assert estimated_tokens(text[:count]) <= 100
    assert count == len(text) or estimated_tokens(text[: count + 1]) > 100 or count == 300
    assert fitting(text, RESULT_TOKENS) == len(text)


def test_a_long_text_keeps_its_beginning_and_its_end():
    assert briefly("short", 5) == "short"
    cut = briefly("begin " + "x" * 500 + " the end", 60)
    assert len(cut) == 60
    assert cut.startswith("begin x")
    assert cut.endswith("x the end")
