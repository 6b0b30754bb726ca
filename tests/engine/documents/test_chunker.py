"""How a document is cut: nothing lost, nothing too long, nothing divided without need, and an edit
changes few chunks."""

from itertools import pairwise
from random import Random

import pytest
from sample_corpus import count_tokens

from engine.documents.chunker import cut
from engine.documents.readers.interface import Block, Heading, Reading, blocks_from, split_lines
from engine.documents.readers.markdown import read_markdown
from engine.documents.readers.plain import read_text
from engine.documents.readers.source import read_source as read_any_source


def read_source(content: bytes) -> Reading:
    return read_any_source(content, ".zig")


def _cut(text: str, max_tokens: int = 50, reader=read_markdown, count=count_tokens):
    content = text.encode()
    reading = reader(content)
    chunks = cut(reading, count, max_tokens)
    _check(content, reading, chunks)
    assert [chunk.token_count for chunk in chunks] == count([c.embedded_text for c in chunks])
    return chunks


def _check(content: bytes, reading, chunks) -> None:
    """Chunks tile the document, in bytes and in lines, and each has words."""
    if not chunks:
        return
    assert "".join(chunk.text for chunk in chunks) == reading.text
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert chunks[0].byte_start == reading.byte_start
    assert chunks[-1].byte_end == len(content)
    for before, after in pairwise(chunks):
        assert before.byte_end == after.byte_start
    byte_lines = content[reading.byte_start :].split(b"\n")
    for chunk in chunks:
        assert chunk.text.strip()
        cited = content[chunk.byte_start : chunk.byte_end]
        assert cited.decode(reading.encoding) == chunk.text
        before = content[reading.byte_start : chunk.byte_start].count(b"\n")
        assert chunk.line_start == before + 1
        assert chunk.line_end == before + cited.count(b"\n") + (not cited.endswith(b"\n"))
        assert chunk.line_end <= len(byte_lines)


def test_a_short_document_is_one_chunk():
    (chunk,) = _cut("# Title\n\nSome words.\n\n\n")
    assert (chunk.line_start, chunk.line_end, chunk.heading_path) == (1, 5, ())


def test_a_section_below_a_heading_is_a_chunk_that_knows_the_headings_above():
    chunks = _cut("# A\n\nintro\n\n## B\n\ntext\n\n### C\n\nmore\n\n## D\n\nend\n")
    assert [(chunk.text.split()[1], chunk.heading_path) for chunk in chunks] == [
        ("A", ()),
        ("B", ("A",)),
        ("C", ("A", "B")),
        ("D", ("A",)),
    ]


def test_headings_with_nothing_between_them_stay_with_the_text_below():
    (first, second) = _cut("# A\n\n## B\n\ntext\n\n## C\n\nmore\n")
    assert first.text == "# A\n\n## B\n\ntext\n\n"
    assert second.heading_path == ("A",)


def test_what_follows_in_a_long_section_has_its_heading_above():
    chunks = _cut("# A\n\n" + "one two three four five six seven eight nine ten\n\n" * 12)
    assert [chunk.heading_path for chunk in chunks] == [(), *[("A",)] * (len(chunks) - 1)]
    assert sum(chunk.token_count for chunk in chunks) / len(chunks) > 30


@pytest.mark.parametrize(
    "whole",
    ["```\n" + "a b c\n\n" * 12 + "```\n", "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 5],
    ids=["fence", "table"],
)
def test_a_fence_or_table_is_whole_where_it_fits(whole):
    text = "words " * 30
    chunks = _cut(f"{text}\n\n{whole}\n{text}\n", 50)
    assert any(whole in chunk.text for chunk in chunks)


def test_a_fence_too_long_for_a_chunk_is_cut_between_lines():
    chunks = _cut("```\n" + "one two three four\n" * 60 + "```\n", 50)
    assert len(chunks) > 4
    assert all(chunk.text.endswith("\n") for chunk in chunks)


def test_code_is_cut_where_functions_begin():
    function = "def f():\n    a = b\n\n    c = d\n    return a\n\n\n"
    chunks = _cut(function * 10, 50, read_source)
    assert len(chunks) > 2
    assert all(chunk.text.startswith("def f") for chunk in chunks)


def test_a_long_line_is_cut_behind_sentences():
    sentence = "The river bends around the old stone bridge there. "
    chunks = _cut(sentence * 60, 50, read_text)
    assert len(chunks) > 5
    assert all(chunk.text.endswith("there. ") for chunk in chunks)
    assert {(chunk.line_start, chunk.line_end) for chunk in chunks} == {(1, 1)}


def test_a_line_without_spaces_is_cut_and_no_character_split():
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
    chunks = _cut(family * 500, 50, read_text)
    assert len(chunks) > 5
    assert all(chunk.text == family * (len(chunk.text) // len(family)) for chunk in chunks)


@pytest.mark.parametrize("end", ["！\ufe0f", "! \u0301", "\u3002\u200d"])
def test_a_cut_behind_a_sentence_splits_no_character(end):
    chunks = _cut(("x" * 100 + end) * 60, 50, read_text, _four_characters)
    assert len(chunks) > 5
    assert not {chunk.text[0] for chunk in chunks} & {"\ufe0f", "\u0301", "\u200d"}


def test_lines_are_counted_some_at_a_time():
    counted = []

    def count(texts):
        counted.append(len(texts))
        return count_tokens(texts)

    _cut("".join(f"{number}\n" for number in range(5000)), 50, read_text, count)
    assert max(counted) == 1000


@pytest.mark.parametrize(
    "line",
    ["word and more. " * 70_000, "QUJD" * 262_144, "日本語の文章。" * 50_000, "e\u0301" * 340_000],
    ids=["prose", "one word", "Japanese", "marks"],
)
def test_a_line_of_a_megabyte_is_cut(line):
    chunks = _cut(line, 250, read_text)
    assert len(chunks) > 100
    assert max(chunk.token_count for chunk in chunks) <= 250
    assert max(len(chunk.text) for chunk in chunks) < 5000


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n\n  ", "\u3000\n" * 500, "\x0c\n"])
def test_a_document_without_words_has_no_chunks(text):
    for reader in (read_text, read_source, read_markdown):
        assert _cut(text, reader=reader) == []


def test_no_chunk_is_blank_however_much_space_there_is():
    chunks = _cut("\n" * 500 + "one\n" + " " * 9000 + "\n" * 500 + "# two\n" + "\n" * 500)
    assert [chunk.text.strip() for chunk in chunks] == ["one", "# two"]


def test_long_headings_leave_room_for_the_text():
    deep = "".join(f"{'#' * level} {'heading ' * 30}\n\n" for level in range(1, 7))
    chunks = _cut(deep + "some words of text. " * 40, 50)
    assert max(chunk.token_count for chunk in chunks) <= 50
    assert chunks[-1].text.endswith("some words of text. ")


def test_many_characters_are_counted_some_at_a_time():
    counted = []

    def count(texts):
        counted.append(sum(map(len, texts)))
        return count_tokens(texts)

    text = "".join(f"{number} {'word ' * 200}\n\n" for number in range(1000))
    cut(read_text(text.encode()), count, 400)
    assert 50_000 < max(counted) <= 100_000


_WORDS = [
    "river",
    "stone",
    "lantern",
    "harbour",
    "violin",
    "glacier",
    "the",
    "of",
    "and",
    "a",
    "to",
]


def _sentence(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(4, 20))).capitalize() + "."


def _prose(random: Random) -> str:
    return "\n".join(_sentence(random) for _ in range(random.randint(1, 6))) + "\n\n"


def _line(random: Random) -> str:
    return " ".join(_sentence(random) for _ in range(random.randint(1, 6))) + "\n"


def _function(random: Random) -> str:
    body = [
        f"    {_sentence(random)[:-1].replace(' ', '_')}()\n" for _ in range(random.randint(2, 20))
    ]
    return f"def {random.choice(_WORDS)}(a):\n{''.join(body)}\n\n"


def _edited(parts: list[str], made: str, random: Random) -> str:
    """The text with one part written anew, reworded, put in or taken out."""
    at = random.randrange(len(parts))
    before, (part, *after) = parts[:at], parts[at:]
    middle = part[: len(part) // 2] + " more words" + part[len(part) // 2 :]
    inserted = random.choice([[made], [middle], [made, part], []])
    return "".join([*before, *inserted, *after])


@pytest.mark.parametrize(
    ("make", "reader"),
    [(_prose, read_text), (_line, read_text), (_function, read_source)],
    ids=["paragraphs", "lines", "functions"],
)
def test_an_edit_in_a_hundred_chunks_without_headings_changes_at_most_three(make, reader):
    changed = []
    for seed in range(5):
        random = Random(seed)
        parts = [make(random) for _ in range(900 if make is _line else 400)]
        known = {chunk.text for chunk in _cut("".join(parts), 254, reader)}
        assert len(known) >= 90
        for _ in range(4):
            chunks = _cut(_edited(parts, make(random), random), 254, reader)
            changed.append(sum(chunk.text not in known for chunk in chunks))
    assert max(changed) <= 3
    assert sum(changed) / len(changed) < 2


def test_chunks_of_a_long_text_are_two_thirds_full_at_least():
    random = Random(1)
    chunks = _cut("".join(_prose(random) for _ in range(400)), 254, read_text)
    assert sum(chunk.token_count for chunk in chunks) / len(chunks) > 2 / 3 * 254


def test_the_same_paragraphs_are_cut_alike_whatever_is_before_them():
    random = Random(2)
    text = "".join(_prose(random) for _ in range(100))
    alone = {chunk.text for chunk in _cut(text, 254, read_text)}
    behind = {chunk.text for chunk in _cut("Something else.\n\n" * 7 + text, 254, read_text)}
    assert len(alone - behind) <= 3


def _paged(text: str, pages: tuple[int, ...]) -> Reading:
    lines = split_lines(text)
    starts = [n for n in range(1, len(lines)) if not lines[n - 1].strip() and lines[n].strip()]
    return Reading(text, "", 0, lines, blocks_from(starts, lines), pages=pages)


def test_chunks_say_which_pages_they_are_on():
    text = "".join(f"{'word ' * 20}é\n\n" for _ in range(10))
    chunks = cut(_paged(text, (0, 3, 8, 8, 14)), count_tokens, 50)
    content = text.encode()
    pages = [1, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5]
    for chunk in chunks:
        assert content[chunk.byte_start : chunk.byte_end].decode() == chunk.text
        assert chunk.page_start == pages[chunk.line_start - 1]
        assert chunk.page_end == pages[chunk.line_end - 1]
    assert {chunk.page_start for chunk in chunks} >= {1, 2, 4}


def test_a_page_break_is_a_good_place_to_cut():
    text = "".join(f"{'word ' * 10}{number}\n\n" for number in range(6))
    first, second = cut(_paged(text, (0, 6)), count_tokens, 40)
    assert (first.page_start, first.page_end) == (1, 1)
    assert (second.page_start, second.page_end) == (2, 2)


def test_a_document_without_pages_has_none():
    (chunk,) = _cut("text\n")
    assert (chunk.page_start, chunk.page_end) == (0, 0)


def _named(*parts: tuple[int, str, str]) -> Reading:
    """A document of blocks that begin with names which do not divide, by level, name and text."""
    lines = split_lines("".join(text for _, _, text in parts))
    blocks: list[Block] = []
    for level, name, text in parts:
        start = blocks[-1].end if blocks else 0
        heading = Heading(level, name, divides=False) if level else None
        blocks.append(Block(start, start + text.count("\n"), heading))
    return Reading("".join(lines), "utf-8", 0, lines, tuple(blocks))


def test_short_blocks_below_names_share_a_chunk_with_the_names_above_all_of_them():
    reading = _named((1, "A", "a\n"), (2, "b", "bbb\n"), (2, "c", "ccc\n"), (2, "", "d\n"))
    (chunk,) = cut(reading, count_tokens, 50)
    assert chunk.heading_path == ("A",)
    assert reading.title == ""


def test_a_block_below_a_name_alone_in_its_chunk_bears_it():
    long = "word " * 30 + "\n"
    reading = _named((1, "A", long), (2, "b", long), (2, "c", long * 2), (1, "", long))
    chunks = cut(reading, count_tokens, 50)
    assert [chunk.heading_path for chunk in chunks] == [
        ("A",),
        ("A", "b"),
        ("A", "c"),
        ("A", "c"),
        (),
    ]


def _four_characters(texts):
    """A tokenizer that counts spaces too, and whose counts do not add up."""
    return [-(-len(text) // 4) for text in texts]


def _greedy(texts):
    """One that finds more in a text than in its parts."""
    return [len(text) ** 2 // 400 + 1 for text in texts]


@pytest.mark.parametrize("count", [count_tokens, _four_characters, _greedy])
@pytest.mark.parametrize("max_tokens", [7, 30, 126])
def test_any_document_fits_any_embedder(count, max_tokens):
    random = Random(max_tokens)
    scraps = [
        "# a\n",
        "## b b\n",
        "word ",
        "two words. ",
        "\n",
        "\n\n",
        "\r\n",
        "```\n",
        "日本語。",
        "  x",
    ]
    scraps += [
        "e\u0301" * 9,
        "| a |\n",
        "    code()\n",
        "-\n",
        "x" * 70,
        "\U0001f1ef\U0001f1f5",
        "\t",
    ]
    for _ in range(60):
        text = "".join(random.choices(scraps, k=random.randint(1, 150)))
        for reader in (read_markdown, read_text, read_source):
            chunks = _cut(text, max_tokens, reader, count)
            assert all(
                chunk.token_count <= max_tokens or len(chunk.text.strip()) < 10 for chunk in chunks
            )
