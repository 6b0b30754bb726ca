"""A question to passages over a real index, without a model: what pages show, and hostile words."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.engine import Engine, EngineOptions
from engine.library import Library
from engine.search.search import Matches, SearchRequest

Files = dict[str, str]


@pytest.fixture
def indexed(tmp_path) -> Iterator[Callable[[Files], Library]]:
    """Indexes files where no model is installed."""
    options = EngineOptions(models_dir=tmp_path / "none", index_file=tmp_path / "index.sqlite")
    engine = Engine(options)

    def index(files: Files) -> Library:
        folder = tmp_path / "documents"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        assert list(engine.library.index(folder))[-1].is_last
        return engine.library

    yield index
    engine.close()


def pages(library: Library, query: str, limit: int) -> Iterator[Matches]:
    offset, has_more = 0, True
    while has_more:
        request = SearchRequest(query=query, limit=limit, offset=offset, mode="keyword")
        found = library.search(request)
        yield found
        offset, has_more = offset + limit, found.has_more


def names(found: Matches) -> list[str]:
    return [Path(one.hit.document.path).name for one in found.ranked]


def test_every_other_place_that_says_the_same_is_counted(indexed):
    same = {f"same{n}.txt": "The ferry leaves at nine.\n" for n in range(3)}
    spaced = {f"spaced{n}.txt": "The ferry leaves  at nine.\n" for n in range(2)}
    (page,) = pages(indexed(same | spaced), "ferry", 5)
    (only,) = page.ranked
    assert only.copies == 4


@pytest.mark.parametrize("copies", [60, 300])
def test_what_many_files_say_alike_does_not_hide_what_others_say(indexed, copies):
    files = {f"copy{n}.txt": "Permission is hereby granted.\n" + "\n" * n for n in range(copies)}
    others = {f"other{n}.txt": f"{n} people were granted one. " + "more " * 90 for n in range(5)}
    found = list(pages(indexed(files | others), "permission granted", 2))
    assert [len(one.ranked) for one in found] == [2, 2, 2]
    shown = [name for one in found for name in names(one)]
    assert sorted(shown[1:]) == sorted(others)


def test_pages_show_every_passage_once_also_where_one_is_quoted(indexed):
    called = {f"called{n}.txt": f"foo_bar() of {n} " + "other words " * 40 for n in range(120)}
    named = {f"named{n}.txt": f"foo bar {n}" for n in range(450)}
    library = indexed(called | named)
    shown = [name for one in pages(library, "foo_bar()", 50) for name in names(one)]
    assert sorted(shown) == sorted(called | named)


PIECES = (
    *"\"'`()[]{}*^:-+.,;!?/\\|&<>=~@#$%_\0\t\n\r\x1b\x7f\u200b\u202e\ufeff\ud800\u0301",
    *(
        "AND",
        "OR",
        "NOT",
        "NEAR(",
        "title:",
        "NULL",
        "--",
        "/*",
        "x'",
        '""',
        "''",
        "\u201c",
        "\u201d",
    ),
    *("tides", "foo.bar()", "38.101", "--pre", "C++", "camelCase", "snake_case", "x-ray", "don't"),
    *(
        "東京都",
        "พยางค์",
        "한국어",
        "e\u0301",
        "ﬁ",
        "😀",
        "👩‍👩‍👧",
        "İ",
        "ß",
        "\U0010ffff",
        "9" * 30,
    ),
)


def hostile(seed: int) -> str:
    """Mostly short; some have 4,000 characters."""
    chance = random.Random(seed)
    pieces = chance.choices(PIECES, k=chance.randint(1, 12))
    text = "".join(piece + chance.choice(("", " ")) for piece in pieces)
    return (text * 4_000)[:4_000] if seed % 500 == 0 else text


def test_ten_thousand_hostile_questions_are_answered_with_what_stands_in_the_passages(indexed):
    texts = {
        f"{n}.txt": f"The tides {PIECES[-n]} {n}\nfoo.bar() 東京都 --pre\n" for n in range(1, 6)
    }
    library = indexed(texts)
    answered = 0
    for seed in range(10_000):
        query = hostile(seed)
        if not query.strip():
            continue
        found = library.search(SearchRequest(query=query, limit=2, mode="keyword"))
        cut = library.evidence(found.query)
        for one in found.ranked:
            snippet = cut(one, 60)
            assert one.hit.chunk.text[snippet.start :].startswith(snippet.text)
            assert all(0 <= a < b <= len(snippet.text) for a, b in snippet.highlights)
        answered += bool(found.ranked)
    assert answered > 3_000
