"""What every reader promises, and how bytes become text."""

from random import Random

import pytest

from engine.documents.readers.interface import Reading, Unreadable, decode, split_lines
from engine.documents.readers.markdown import read_markdown
from engine.documents.readers.plain import read_text
from engine.documents.readers.rst import read_rst
from engine.documents.readers.source import read_source as read_any_source
from engine.documents.readers.table import read_json_lines, read_table


def read_source(content: bytes) -> Reading:
    return read_any_source(content, ".py")


READERS = [read_text, read_source, read_markdown, read_rst, read_table, read_json_lines]


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def reader(request):
    return request.param


def _check(content: bytes, reading) -> None:
    assert "".join(reading.lines) == reading.text
    assert reading.text.encode(reading.encoding) == content[reading.byte_start :]
    assert len(reading.lines) == len(split_lines(reading.text))
    ends = [block.end for block in reading.blocks]
    assert [block.start for block in reading.blocks] == [0, *ends][: len(ends)]
    assert ends[-1:] == ([len(reading.lines)] if reading.lines else [])
    assert all(block.start < block.end for block in reading.blocks)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "utf-8"),
        (b"plain", "utf-8"),
        (b"\xef\xbb\xbfmarked", "utf-8"),
        (b"\xef\xbb\xbf", "utf-8"),
        ("日本語\r\nテキスト\r\n".encode(), "utf-8"),
        (b"\xff\xfe" + "läuft\n日本".encode("utf-16-le"), "utf-16-le"),
        (b"\xfe\xff" + "läuft\n\U0001f600".encode("utf-16-be"), "utf-16-be"),
        ("Käse – 5 €".encode("cp1252"), "cp1252"),
        (b"K\xe4se \x81", "latin-1"),
        (b"\xef\xbb\xbfmarked, yet K\xe4se", "cp1252"),
    ],
)
def test_text_is_exactly_the_bytes_decoded(reader, content, encoding):
    reading = reader(content)
    assert reading.encoding == encoding
    _check(content, reading)


def test_only_a_line_feed_ends_a_line():
    text = "a\nb\r\nc\rd\x0be\x0cf\x85g\u2028h\n\n"
    assert split_lines(text) == ("a\n", "b\r\n", "c\rd\x0be\x0cf\x85g\u2028h\n", "\n")
    assert split_lines("") == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text\0more", "NUL"),
        (b"\x01\x02\x03text", "control"),
        (b"\xff\xfea", "marked as utf-16-le"),
        (b"\xff\xfe\x00\xd8a\x00", "marked as utf-16-le"),
        (b"\xff\xfe\x00\x00a\x00\x00\x00", "NUL"),
    ],
)
def test_what_is_no_text_is_refused_with_a_reason(reader, content, reason):
    with pytest.raises(Unreadable, match=reason):
        reader(content)


def test_terminal_colours_and_form_feeds_are_text():
    assert decode(b"\x1b[31mred\x1b[0m\x0c\x08\t\r\n")[1] == "utf-8"


def test_any_bytes_are_read_exactly_or_refused(reader):
    random = Random(5)
    marks = [b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]
    scraps = [
        b'a,"b',
        b'"',
        "\u6771\u4eac".encode("cp932"),
        b"# a\n",
        b"```\n",
        b"---\n",
        b"\r",
        b"\n\n",
        b"<!--",
        b"| a |",
        b"\xc3",
        b"\xe6\x97",
    ]
    read = 0
    for _ in range(1500):
        parts = [
            random.choice([*scraps, random.randbytes(random.randint(0, 3))]) for _ in range(12)
        ]
        content = random.choice(marks) + b"".join(parts[: random.randint(0, 12)])
        try:
            _check(content, reader(content))
            read += 1
        except Unreadable as refused:
            assert str(refused).startswith("it is ")  # noqa: PT017
    assert read > 300


def test_a_paragraph_of_prose_is_a_block():
    reading = read_text(b"\n\none\ntwo\n\n  three\n\n\nfour")
    assert [(block.start, block.end) for block in reading.blocks] == [
        (0, 2),
        (2, 5),
        (5, 8),
        (8, 9),
    ]


def test_what_starts_at_the_margin_is_a_block_of_code():
    source = b"import a\n\n\ndef f():\n    x\n\n    y\n\n)\n\nclass B:\n    z\n"
    assert [(block.start, block.end) for block in read_any_source(source, ".zig").blocks] == [
        (0, 3),
        (3, 10),
        (10, 12),
    ]
