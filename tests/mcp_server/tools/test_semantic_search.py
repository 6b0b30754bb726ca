"""The tool semantic_search through the official client: every argument, its limits, and no failure
that is not a sentence."""

import base64
import itertools
import json
import os
import random
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from mcp import Client

from engine.documents.collecting import Wishes
from engine.engine import Engine
from mcp_server.commands.engine_options import options
from mcp_server.server import build
from mcp_server.settings import Settings
from mcp_server.tokens import estimated_tokens

pytestmark = pytest.mark.anyio

RANDOM = random.Random(7)
TEAS = 30

FILES = {
    "notes/tides.md": "# Tides\n\nThe sea rises and falls twice a day because the moon pulls it.\n",
    "notes/bread.md": "---\nauthor: Ann\ntags: [food, oven]\n---\n\n# Bread\n\nKnead the dough.\n",
    "notes/chain.txt": "Oil the chain every two hundred kilometres and wipe off the rest.\n",
    "code/tides.py": "def tide_height(hour):\n    return moon_pull(hour) * 2\n",
    "code/flags.txt": "Pass --pre to pip to get pre-releases.\nThe port is 38.101.\n",
    "awkward/chinese.txt": "海水每天涨落两次,因为月亮吸引着它。\n" * 25,
    "awkward/korean.txt": "바닷물은 달이 끌어당기기 때문에 하루에 두 번 오르내린다.\n" * 30,
    "awkward/base64.txt": "attachment\n"
    + base64.b64encode(RANDOM.randbytes(1_200)).decode()
    + "\n",
    "awkward/numbers.txt": "measured tide\n"
    + "\n".join(", ".join(f"{RANDOM.random():.6f}" for _ in range(8)) for _ in range(15)),
    "awkward/emoji.txt": "tide " + "🌊🌙👨‍👩‍👧‍👦" * 60 + "\n",
    "awkward/signs.txt": "tide " + "".join(RANDOM.choices('"\\\t{}[]<>&', k=800)) + "\n",
    "copies/one.txt": "The lighthouse keeper counts ships at night.\n",
    "copies/two.txt": "The lighthouse  keeper counts ships\nat night.\n",
    "copies/three.txt": "The lighthouse keeper counts ships at night.\n",
} | {
    f"tea/tea{number:02}.md": f"# Tea {number}\n\nIn line {number} is said how tea is brewed.\n\n"
    + "Warm the pot, count the leaves, wait and pour slowly. " * (number + 1)
    for number in range(TEAS)
}

DAY = 86_400
OLD, NEW = 1_600_000_000, 1_700_000_000
"""13 September 2020 and 14 November 2023, by the clock of Greenwich."""


@dataclass
class Shelf:
    """A folder of documents that are indexed once for all these tests, which only read."""

    settings: Settings
    documents: Path
    engine: Engine

    @asynccontextmanager
    async def client(self, **changes: Any) -> AsyncGenerator[Client]:
        settings = replace(self.settings, **changes)
        async with Client(build(self.engine, settings)) as client:
            yield client


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, models_dir) -> Iterator[Shelf]:
    home = tmp_path_factory.mktemp("shelf")
    documents = home / "documents"
    for name, text in FILES.items():
        path = documents / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (NEW, NEW) if "code" in name else (OLD, OLD))
    settings = Settings(
        data_dir=home / "data",
        models_dir=models_dir,
        root=(documents,),
        threads=1,
        read_only=True,
        idle_seconds=0,
    )
    engine = Engine(options(settings))
    list(engine.library.index(documents))
    for name in ("notes", "code"):
        list(engine.library.index(documents / name, Wishes(name=name)))
    yield Shelf(settings, documents, engine)
    engine.close()


@pytest.fixture
async def client(shelf) -> AsyncGenerator[Client]:
    async with shelf.client() as connected:
        yield connected


@pytest.fixture(scope="module")
def real_tokenizers(minilm_folder, smollm2_folder) -> list[tokenizers.Tokenizer]:
    """The default models' tokenizers, which cut nothing off."""
    folders = (minilm_folder, smollm2_folder)
    loaded = [tokenizers.Tokenizer.from_file(str(one / "tokenizer.json")) for one in folders]
    for one in loaded:
        one.no_truncation()
        one.no_padding()
    return loaded


async def search(client: Client, query: str, **arguments: Any) -> dict[str, Any]:
    """The structured result of a search that succeeds."""
    result = await client.call_tool("semantic_search", {"query": query, **arguments})
    assert not result.is_error, result.content[0].text
    return result.structured_content


async def refusal(client: Client, **arguments: Any) -> str:
    """The sentence by which a search is refused."""
    result = await client.call_tool("semantic_search", {"query": "tide", **arguments})
    assert result.is_error
    assert result.structured_content is None
    return result.content[0].text


def names(found: dict[str, Any]) -> list[str]:
    """File names, best first."""
    return [Path(one["path"]).name for one in found["passages"]]


def channels(result: Any) -> tuple[str, str]:
    """The text and the structured channel as a host may show them."""
    data = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
    return result.content[0].text, data


# What is found.


async def test_words_and_meaning_each_find_what_only_they_can(client):
    by_meaning = await search(client, "Why does the ocean go up?", mode="dense", top_k=1)
    by_words = await search(client, "moon_pull", mode="keyword", top_k=1)
    both = await search(client, "Why does the ocean go up?", paths=["*/notes/*"], top_k=1)
    assert names(by_meaning) == names(both) == ["tides.md"]
    assert names(by_words) == ["tides.py"]
    assert by_words["model"] == ""
    assert by_meaning["model"] == "all-minilm-l6-v2"


@pytest.mark.parametrize(
    ("query", "name"),
    [("--pre", "flags.txt"), ('"38.101"', "flags.txt"), ("月亮", "chinese.txt")],
)
async def test_identifiers_and_words_without_spaces_are_found(client, query, name):
    assert names(await search(client, query, top_k=1)) == [name]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"collections": ["notes"]}, {"notes"}),
        ({"collections": ["notes", "code"]}, {"notes", "code"}),
        ({"collections": ["documents"], "paths": ["code/*", "copies/*"]}, {"code", "copies"}),
        ({"paths": ["*.py"]}, {"code"}),
        ({"kinds": ["source"]}, {"code"}),
        ({"kinds": ["markdown"]}, {"notes", "tea"}),
        ({"modified_after": "2023-01-01"}, {"code"}),
        ({"modified_after": "2023-01-01T00:00:00Z", "modified_before": "2024-01-01"}, {"code"}),
        ({"modified_before": "2020-12-31"}, {"notes", "awkward", "copies", "tea"}),
        ({"modified_before": "2001-01-01"}, set()),
        ({"metadata": {"author": "ann"}}, {"notes"}),
        ({"metadata": {"tags": "oven"}, "kinds": ["text"]}, set()),
        ({"paths": ["nowhere/*"]}, set()),
    ],
)
@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
async def test_filters_hold_for_every_passage_and_starve_nobody(client, arguments, expected, mode):
    query = "tide bread dough flags tea lighthouse 月亮 attachment chain"
    found = await search(client, query, top_k=50, max_tokens=16_000, mode=mode, **arguments)
    assert {Path(one["path"]).parent.name for one in found["passages"]} == expected


async def test_what_is_narrowed_to_nothing_says_so(client):
    result = await client.call_tool("semantic_search", {"query": "tide", "paths": ["nowhere/*"]})
    assert "matches these filters" in result.structured_content["notice"]
    assert result.content[0].text == result.structured_content["notice"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"collections": ["nots"]}, "notes"),
        ({"kinds": ["markdwn"]}, "markdown"),
        ({"kinds": ["???"]}, "pdf"),
        ({"modified_after": "yesterday"}, "modified_after must be a day"),
        ({"modified_before": "2026-13-01"}, "modified_before must be a day"),
        ({"cursor": "garbage"}, "leave it out"),
        ({"cursor": "00000000-00000000-8"}, "leave it out"),
        ({"max_tokens": 199}, "max_tokens: input should be greater"),
        ({"max_tokens": 16_001}, "max_tokens: input should be less"),
        ({"mode": "lexical"}, "mode: input should be 'hybrid', 'dense' or 'keyword'"),
        ({"path": "*.md"}, "there is no argument path; did you mean paths"),
        ({"collection": "x"}, "did you mean collections"),
        ({"metadata": {"a": 1}}, "metadata.a: input should be a valid string"),
        ({"query": " \n"}, "The query is empty"),
    ],
)
async def test_a_bad_argument_is_one_sentence_that_helps(client, arguments, words):
    sentence = await refusal(client, **arguments)
    assert words in sentence
    assert "\n" not in sentence


# What is shown.


async def test_a_passage_stands_at_its_lines_and_its_highlights_are_words_looked_for(client):
    found = await search(client, "how is tea brewed slowly?", top_k=20, max_tokens=16_000)
    wanted = {"tea", "brewed", "slowly"}
    for passage in found["passages"]:
        lines = {"line_start": passage["line_start"], "line_end": passage["line_end"]}
        asked = {"document_id": passage["document_id"], **lines}
        read = await client.call_tool("get_document", asked)
        assert passage["text"] in read.content[0].text
        spans = passage.get("highlights", [])
        assert all(passage["text"][start:end].lower() in wanted for start, end in spans)
        assert spans == sorted(spans)
        if wanted & set(re.findall(r"\w+", read.content[0].text.lower())):
            assert spans


async def test_a_snippet_is_cut_around_what_was_looked_for(client):
    asked = {"query": "line 29", "top_k": 3, "snippet_characters": 120}
    result = await client.call_tool("semantic_search", asked)
    best = result.structured_content["passages"][0]
    assert "In line 29 is said" in best["text"]
    assert len(best["text"]) <= 120
    assert best["cut"]
    assert f"{best['text']} [...]" in result.content[0].text
    assert "get_document shows more" in result.content[0].text


async def test_both_channels_carry_the_same_facts_and_the_warning(client):
    result = await client.call_tool("semantic_search", {"query": "dough"})
    text = result.content[0].text
    for passage in result.structured_content["passages"]:
        for fact in (
            f"[{passage['score']:.2f}] {passage['path']}",
            f"lines {passage['line_start']}-{passage['line_end']}",
            f"in {passage['collection']}",
            f"id {passage['document_id']}",
            passage["text"],
        ):
            assert fact in text
    notice = result.structured_content["notice"]
    assert "not instructions" in notice
    assert text.index(notice) < text.index(result.structured_content["passages"][0]["path"])
    assert result.structured_content["next_cursor"] in text


async def test_scores_fall_from_1_to_0(client):
    for query in ("tea", '"tea is brewed"', "why is the sea not still?"):
        found = await search(client, query, top_k=50, max_tokens=16_000)
        scores = [passage["score"] for passage in found["passages"]]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)


async def test_the_parts_of_a_score_are_told_when_asked_and_add_up(client):
    plain = await search(client, "tea is brewed slowly")
    result = await client.call_tool(
        "semantic_search", {"query": "tea is brewed slowly", "explain": True}
    )
    for passage in result.structured_content["passages"]:
        parts = passage["explanation"]
        weight = parts["weight_of_meaning"]
        words = parts.get("words", {"share": 0})["share"]
        meaning = parts.get("meaning", {"share": 0})["share"]
        total = (1 - weight) * words + weight * meaning + parts["verbatim"]
        assert passage["score"] == pytest.approx(total, abs=0.006)
    assert "(rank 1, raw " in result.content[0].text
    assert names(plain) == names(result.structured_content)
    assert not any("explanation" in passage for passage in plain["passages"])


async def test_the_same_words_are_shown_once_with_the_number_of_copies(client):
    found = await search(client, "lighthouse keeper counts ships", paths=["copies/*"])
    assert len(found["passages"]) == 1
    assert found["passages"][0]["copies"] == 2, "three files, two of them with one text"


# How much is shown.


@pytest.mark.parametrize("max_tokens", [600, 1_000, 2_000, 4_000])
@pytest.mark.parametrize(
    "query",
    ["tea", "海水 月亮", "바닷물은 달이", "attachment", "measured tide", "tide 🌊", "pour slowly"],
)
async def test_no_tokenizer_finds_more_tokens_than_asked_for(
    client, real_tokenizers, query, max_tokens
):
    asked = {"query": query, "top_k": 30, "snippet_characters": 4_000, "max_tokens": max_tokens}
    result = await client.call_tool("semantic_search", {**asked, "explain": max_tokens == 2_000})
    assert result.structured_content["passages"]
    for channel in channels(result):
        assert estimated_tokens(channel) <= max_tokens
        for one in real_tokenizers:
            assert len(one.encode(channel, add_special_tokens=False).ids) <= max_tokens


async def test_by_default_a_result_has_at_most_4000_tokens_and_uses_them(client):
    result = await client.call_tool("semantic_search", {"query": "tea", "top_k": 50})
    sizes = [estimated_tokens(channel) for channel in channels(result)]
    assert 3_000 < max(sizes) <= 4_000
    assert result.structured_content["next_cursor"]


async def test_the_largest_result_stays_within_what_hosts_show(client):
    asked = {"query": "tea", "top_k": 50, "max_tokens": 16_000, "snippet_characters": 4_000}
    result = await client.call_tool("semantic_search", asked)
    assert all(len(channel) <= 50_000 for channel in channels(result))


async def test_tokens_that_hold_no_passage_are_refused_with_the_number_that_does(client):
    asked = {"query": "--pre", "max_tokens": 200, "explain": True}
    sentence = await refusal(client, **asked)
    needed = int(re.search(r"about (\d+) tokens", sentence)[1])
    found = await search(client, **{**asked, "max_tokens": needed})
    assert len(found["passages"]) == 1


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
@pytest.mark.parametrize("query", ["tea", '"pour slowly" or brewed', "tide bread 月亮 chain"])
async def test_pages_give_each_passage_once_in_the_order_of_one_large_page(client, mode, query):
    at_once = await search(client, query, mode=mode, top_k=50, max_tokens=16_000)
    seen: list[tuple[str, int, str]] = []
    cursor, sizes = "", itertools.cycle([7, 1, 13])
    for _ in range(60):
        page = await search(client, query, mode=mode, top_k=next(sizes), cursor=cursor)
        seen += [(one["path"], one["line_start"], one["text"]) for one in page["passages"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert not cursor
    assert len(seen) == len(set(seen))
    whole = [one["path"] for one in at_once["passages"]]
    assert [path for path, _, _ in seen][: len(whole)] == whole
    if mode == "dense":
        found = {Path(path).relative_to(Path(path).parents[1]).as_posix() for path, _, _ in seen}
        assert len(found) == len(FILES) - 2, "all but the copies of one.txt"


async def test_a_cursor_is_good_for_its_question_only(client):
    page = await search(client, "tea", top_k=3)
    cursor = page["next_cursor"]
    assert cursor
    for changed in (
        {"query": "teapot"},
        {"query": "tea", "mode": "dense"},
        {"query": "tea", "kinds": ["markdown"]},
        {"query": "tea", "metadata": {"a": "b"}},
    ):
        sentence = await refusal(client, cursor=cursor, **changed)
        assert "leave it out" in sentence
    beyond = await search(client, "tea", cursor=re.sub(r"\d+$", "9999", cursor))
    assert beyond["passages"] == []
    assert beyond["next_cursor"] == ""


async def test_a_cursor_of_an_index_that_changed_leads_nowhere(connect, home):
    async with connect() as client:
        await client.call_tool("index_documents", {"path": str(home.documents)})
        page = await search(client, "moon dough chain", top_k=1)
        (home.documents / "new.md").write_text("The moon again.\n")
        await client.call_tool("index_documents", {})
        sentence = await refusal(client, query="moon dough chain", cursor=page["next_cursor"])
    assert "The index has changed" in sentence
    assert "leave cursor out" in sentence


# When something is not there.


async def test_keyword_search_needs_no_model_and_is_not_degraded(shelf):
    engine = Engine(options(replace(shelf.settings, embedder="/no/such/model")))
    async with Client(build(engine, shelf.settings)) as client:
        by_words = await search(client, "dough", mode="keyword")
        result = await client.call_tool("semantic_search", {"query": "dough"})
        dense = await search(client, "dough", mode="dense")
    engine.close()
    assert by_words["degraded"] == ""
    assert names(by_words)[0] == "bread.md"
    assert names(result.structured_content) == names(dense) == names(by_words)
    assert "searched by words only" in result.structured_content["degraded"]
    assert "/no/such/model" in result.content[0].text


async def test_a_page_found_by_words_alone_is_not_followed_by_one_found_by_meaning(client, shelf):
    engine = Engine(options(replace(shelf.settings, embedder="/no/such/model")))
    async with Client(build(engine, shelf.settings)) as wordy:
        page = await search(wordy, "tea pot", top_k=2)
        again = await search(wordy, "tea pot", top_k=2, cursor=page["next_cursor"])
    engine.close()
    assert again["passages"]
    sentence = await refusal(client, query="tea pot", cursor=page["next_cursor"])
    assert "embedding model has come or gone" in sentence


# Whatever is asked.

PIECES = [
    *"\"'`()[]{}*^:-+~|&!?.,;/\\<>=@#$%",
    *("AND", "OR", "NOT", "NEAR(", "NEAR/2", '"', '""', "title:", "text : a", "a*", "^a", "-a"),
    *("--", "/*", "';DROP TABLE chunks;--", "\0", "\ufeff", "\u202e", "\uffff", "\U0010ffff"),
    *("海", "月亮", "ก็", "👨‍👩‍👧", "e\u0301", "ﬁ", "İ", "ß", "\u0000a", "\r\n", "\t", "\u2028"),
    *("tea", "tide", "a" * 300, "1" * 50, "x_y.z()", "std::move", "C++", "e-mail", "20.04"),
]


def hostile(source: random.Random) -> dict[str, Any]:
    """Arguments that mean harm, or nothing."""
    asked: dict[str, Any] = {
        "query": source.choice(["", " "]).join(source.choices(PIECES, k=source.randint(1, 12))),
        "mode": source.choice(["keyword"] * 8 + ["hybrid", "dense"]),
        "top_k": source.choice([1, 8, 50]),
    }
    words = source.sample(PIECES, 3)
    more = {
        "cursor": source.choice(["", words[0], "ffffffff-ffffffff-1", "0" * 500]),
        "paths": [source.choice(["*", "[", "[]", "[!", "[z-a]", "**/*", words[1], "a" * 5_000])],
        "kinds": [source.choice(["text", "markdown", words[2]])],
        "collections": [source.choice(["notes", words[0]])],
        "modified_after": source.choice(
            ["2020-01-01", "0001-01-01", "9999-12-31T23:59:59+14:00", ""]
        ),
        "modified_before": source.choice(["-1", "2020-02-30", "1e9", "20200101", "2020-W01"]),
        "metadata": {words[1]: words[2]},
        "max_tokens": source.choice([200, 500, 16_000, -1, 10**30, 0.5, "many", None]),
        "snippet_characters": source.choice([50, 4_000, 49, True]),
        "explain": source.choice([True, "yes", 7]),
    }
    chosen = source.sample(list(more), source.choice([0, 0, 1, 1, 2, 3]))
    return asked | {name: more[name] for name in chosen}


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=[pytest.mark.nightly])])
async def test_whatever_is_asked_is_answered_or_refused_in_a_sentence(client, count):
    source = random.Random(count)
    outcomes = {True: 0, False: 0}
    for _ in range(count):
        asked = hostile(source)
        result = await client.call_tool("semantic_search", asked)
        text = result.content[0].text
        assert "Error executing" not in text, asked
        assert "Traceback" not in text, asked
        assert "fts5" not in text.lower() or "fts5" in str(asked), asked
        outcomes[result.is_error] += 1
    assert outcomes[False] > 0.3 * count
    assert outcomes[True] > 0.1 * count


async def test_whatever_is_listed_or_read_is_answered_or_refused_in_a_sentence(client):
    source = random.Random(3)
    listed = await client.call_tool("list_documents", {})
    ids = [one["document_id"] for one in listed.structured_content["documents"]]
    numbers = [0, 1, 2, 10**9, 10**30, -1, True, 0.5, "1"]
    for _ in range(150):
        piece = source.choice(PIECES)
        path = base64.urlsafe_b64encode(f"/{piece}".encode()).decode()
        listing = {
            "cursor": source.choice(["", piece, path]),
            "limit": source.choice(numbers),
            "paths": [piece],
            "skipped": source.choice([True, False]),
        }
        reading = {
            "document_id": source.choice([*ids, piece]),
            "line_start": source.choice(numbers),
            "line_end": source.choice(numbers),
            "character_start": source.choice(numbers),
            "page": source.choice(numbers),
        }
        for tool, asked in (("list_documents", listing), ("get_document", reading)):
            chosen = source.sample(list(asked), source.randint(1, len(asked)))
            required = {"document_id": asked["document_id"]} if tool == "get_document" else {}
            arguments = required | {name: asked[name] for name in chosen}
            result = await client.call_tool(tool, arguments)
            assert "Error executing" not in result.content[0].text, (tool, arguments)
