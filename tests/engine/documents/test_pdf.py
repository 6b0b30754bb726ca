"""PDF."""

import pytest
from sample_documents import pdf

from engine.documents.readers.interface import Unreadable
from engine.documents.readers.pdf import read_pdf

WORDS = [(12, "These are words of the body,"), (12, "two lines of them.")]


def _headings(reading) -> list[tuple[int, str]]:
    return [(b.heading.level, b.heading.text) for b in reading.blocks if b.heading]


def test_each_page_begins_at_a_line():
    reading = read_pdf(pdf([[(12, f"Page {n} one"), (12, f"Page {n} two")] for n in range(1, 4)]))
    assert [reading.lines[line] for line in reading.pages] == [f"Page {n} one\n" for n in (1, 2, 3)]
    assert reading.encoding == ""


def test_an_empty_page_is_a_page():
    reading = read_pdf(pdf([WORDS, [], WORDS]))
    assert len(reading.pages) == 3
    assert reading.pages[1] == reading.pages[2]


def test_the_outline_gives_headings_where_lines_say_the_same():
    pages = [[(12, "1. Harbour"), *WORDS], [(12, "2 Lanterns"), *WORDS, (12, "Oil"), *WORDS]]
    outline = [(0, "Harbour"), (1, "Lanterns"), (1, "Oil"), (1, "Nowhere")]
    reading = read_pdf(pdf(pages, outline=outline))
    assert _headings(reading) == [(1, "1. Harbour"), (1, "2 Lanterns"), (1, "Oil")]


def test_without_an_outline_larger_letters_are_headings():
    page = [(24, "Harbour"), *WORDS, (16, "Lanterns"), *WORDS]
    reading = read_pdf(pdf([page]))
    assert _headings(reading) == [(1, "Harbour"), (2, "Lanterns")]
    assert reading.title == "Harbour"


def test_lines_further_apart_begin_a_paragraph():
    text = read_pdf(pdf([[*WORDS, *WORDS, (12, ""), *WORDS]])).text
    body = "These are words of the body,\ntwo lines of them.\n"
    assert text == f"{body}{body}\n{body}\n"


def test_metadata_is_what_the_file_says():
    metadata = {"Title": "Tides", "Author": "Ada", "CreationDate": "D:20250304050607Z"}
    reading = read_pdf(pdf([WORDS], metadata=metadata))
    assert dict(reading.metadata) == {"title": "Tides", "author": "Ada", "date": "2025-03-04"}


def test_an_encrypted_pdf_is_refused():
    encrypted = "/Encrypt<</Filter/Standard/V 1/R 2/P -4/O(" + "x" * 32 + ")/U(" + "y" * 32 + ")>>"
    trailer = encrypted + "/ID[(0123456789abcdef)(0123456789abcdef)]"
    with pytest.raises(Unreadable, match="it is encrypted"):
        read_pdf(pdf([WORDS], trailer=trailer))


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4\n", b"words", b"\0" * 1000])
def test_what_is_no_pdf_is_refused(content):
    with pytest.raises(Unreadable, match="it is no PDF that can be read"):
        read_pdf(content)


def test_pages_without_text_are_refused():
    with pytest.raises(Unreadable, match="hold no text"):
        read_pdf(pdf([[], []]))
