"""Notebooks."""

import json

import pytest
from sample_documents import notebook

from engine.documents.readers.interface import Heading, Unreadable
from engine.documents.readers.notebook import read_notebook


def test_cells_become_markdown_in_their_order():
    reading = read_notebook(
        notebook(
            {"cell_type": "markdown", "source": ["# Harbour\n", "words"]},
            {
                "cell_type": "code",
                "source": "print('`" + "``')",
                "outputs": [
                    {"output_type": "stream", "text": ["three ", "ticks"]},
                    {"output_type": "error", "ename": "ValueError", "evalue": "no boat"},
                    {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo"}},
                ],
            },
            {"cell_type": "raw", "source": "as it is"},
        )
    )
    assert reading.text == (
        "# Harbour\nwords\n\n````python\nprint('```')\n````\n\n```text\nthree ticks\n```\n\n"
        "```text\nValueError: no boat\n```\n\nas it is\n\n"
    )
    assert reading.blocks[0].heading == Heading(1, "Harbour")


def test_a_fence_left_open_ends_with_its_cell():
    cells = [{"cell_type": "markdown", "source": source} for source in ("```\nopen", "# Next")]
    assert Heading(1, "Next") in [b.heading for b in read_notebook(notebook(*cells)).blocks]


def test_long_outputs_are_cut():
    cell = {"cell_type": "code", "source": "1", "outputs": [{"text": "x" * 100_000}]}
    assert len(read_notebook(notebook(cell)).text) < 3000


def test_the_old_format_is_read():
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Old"},
        {"cell_type": "code", "input": "x = 1", "outputs": []},
    ]
    old = {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}
    reading = read_notebook(json.dumps(old).encode())
    assert reading.blocks[0].heading == Heading(2, "Old")
    assert "x = 1" in reading.text


def test_metadata_gives_title_authors_and_language():
    reading = read_notebook(notebook(title="Tides", authors=[{"name": "Ada"}, {"name": "Bo"}]))
    assert dict(reading.metadata) == {"title": "Tides", "author": "Ada, Bo", "language": "python"}


def test_metadata_holds_no_half_of_a_character():
    reading = read_notebook(notebook(title="Tides \ud83d", authors=[{"name": "A\0da\udc00"}]))
    assert (reading.metadata["title"], reading.metadata["author"]) == ("Tides \ufffd", "Ada\ufffd")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"{", b'{"cells": []}', b"[" * 100_000])
def test_what_is_no_notebook_is_refused(content):
    with pytest.raises(Unreadable, match="it is no notebook"):
        read_notebook(content)


def test_cells_of_any_shape_do_no_harm():
    odd = [{}, {"cell_type": "code", "source": 5, "outputs": {}}, {"cell_type": ["x"]}, 7, None]
    read = {"nbformat": 4, "metadata": [], "cells": odd}
    assert read_notebook(json.dumps(read).encode()).text == ""
