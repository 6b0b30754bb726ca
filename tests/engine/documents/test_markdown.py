"""What is a heading in Markdown, and what stays whole."""

import pytest

from engine.documents.readers.markdown import read_markdown


def _headings(text: str) -> list[tuple[int, str]]:
    blocks = read_markdown(text.encode()).blocks
    return [(block.heading.level, block.heading.text) for block in blocks if block.heading]


def _blocks(text: str) -> list[str]:
    reading = read_markdown(text.encode())
    return ["".join(reading.lines[block.start : block.end]) for block in reading.blocks]


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("# One\n\n### Three\n", [(1, "One"), (3, "Three")]),
        ("  ## Two ##  \n", [(2, "Two")]),
        ("# C# \n## F#\n", [(1, "C#"), (2, "F#")]),
        ("#\n", [(1, "")]),
        ("####### seven\n#hashtag\n    # code\n", []),
        ("Title\n=====\ntext\n\nSub\n---\n", [(1, "Title"), (2, "Sub")]),
        ("Two\nlines\n===\n", [(1, "Two lines")]),
        ("- item\n---\n", []),
        ("> quote\n---\n", []),
        ("text\n\n---\n\ntext\n", []),
        ("| a |\n|---|\n", []),
        ("# One\r\ntext\r\n\r\nTwo\r\n---\r\n", [(1, "One"), (2, "Two")]),
        ("text\n# One\ntext", [(1, "One")]),
        ("---\ntitle: x\n---\n# One\n", [(1, "One")]),
        ("<!--\n# no\n-->\n# yes\n", [(1, "yes")]),
    ],
)
def test_headings_are_what_commonmark_calls_headings(text, headings):
    assert _headings(text) == headings


@pytest.mark.parametrize(
    "fence",
    [
        "```\n# no\n\n# no\n```\n",
        "~~~ python\n# no\n```\n~~~\n",
        "````\n```\n# no\n```\n````\n",
        "- item\n\n    ```\n    # no\n# no\n    ```\n",
        "text\n```\n# no\n```\n",
    ],
)
def test_a_fence_hides_headings(fence):
    assert _headings(fence + "# Yes\n") == [(1, "Yes")]


def test_an_unclosed_fence_reaches_to_the_end():
    assert _headings("# Yes\n```\n# no\n\n# no\n") == [(1, "Yes")]


def test_backticks_within_a_line_open_no_fence():
    assert _headings("``` code ``` in line\n# Yes\n") == [(1, "Yes")]


def test_fences_tables_and_paragraphs_stay_whole_with_the_blank_lines_behind_them():
    fence, table, text = "```\na\n\nb\n```\n\n", "| a |\n|---|\n| 1 |\n\n", "one\ntwo\n\n\n"
    assert _blocks("\n# H\n\n" + text + fence + table + text) == [
        "\n",
        "# H\n\n",
        text,
        fence,
        table,
        text,
    ]


def test_the_title_is_the_first_heading_with_a_text():
    assert read_markdown(b"text\n\n#\n\n## Title\n\n# Later\n").title == "Title"
    assert read_markdown(b"no heading\n").title == ""


def _metadata(front: str) -> dict[str, str]:
    text = f"---\n{front}\n---\n\n# Heading\n"
    reading = read_markdown(text.encode())
    assert reading.text == text
    assert _headings(text) == [(1, "Heading")]
    return dict(reading.metadata)


@pytest.mark.parametrize(
    ("front", "metadata"),
    [
        ("title: A day\nAuthor: Ann", {"title": "A day", "author": "Ann"}),
        ("tags: [a, 'b, c', \"d\"]", {"tags": "a, b, c, d"}),
        ("tags:\n  - a\n  - b # not c\ndate: 2026-11-23", {"tags": "a, b", "date": "2026-11-23"}),
        ('tags:\n- a\n- "b: c"', {"tags": "a, b: c"}),
        ("title: 'Who: me' # a note", {"title": "Who: me"}),
        ("url: https://a.example/#b", {"url": "https://a.example/#b"}),
        ("title: C# for all", {"title": "C# for all"}),
        ("a:\n  b: c\ntext: |\n  long\n  d: e\nempty:\nf: g", {"f": "g"}),
        ("a: &x [1]\nb: *x\nc: !!python/object:os.system d", {}),
        ("# title: none\nno pair\n- item\n: x\n[", {}),
        ("title: " + "x" * 900, {"title": "x" * 500}),
    ],
)
def test_front_matter_is_what_the_file_says_of_itself(front, metadata):
    assert _metadata(front) == metadata


def test_the_title_of_the_front_matter_goes_before_the_first_heading():
    assert read_markdown(b"---\ntitle: Named\n---\n# Heading\n").title == "Named"
    assert read_markdown(b"---\nauthor: Ann\n---\n# Heading\n").title == "Heading"


def test_front_matter_that_is_not_closed_or_not_at_the_top_is_text():
    assert read_markdown(b"---\ntitle: x\n").metadata == {}
    assert read_markdown(b"text\n---\ntitle: x\n---\n").metadata == {}


def test_lists_within_lists_are_read_to_a_depth():
    assert _metadata("tags: [[a link], b]") == {"tags": "a link, b"}
    assert _metadata(f"tags: {'[' * 495}{']' * 495}")["tags"].startswith("[[[")


def test_front_matter_names_only_so_much():
    assert len(_metadata("\n".join(f"name{number}: x" for number in range(150)))) == 50
