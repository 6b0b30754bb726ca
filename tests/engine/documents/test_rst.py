"""What is a title in reStructuredText, and what is below it by its name."""

import pytest

from engine.documents.chunker import cut
from engine.documents.readers.rst import read_rst


def _headings(text: str, *, divides: bool = True) -> list[tuple[int, str]]:
    blocks = read_rst(text.encode()).blocks
    found = [block.heading for block in blocks if block.heading]
    return [(heading.level, heading.text) for heading in found if heading.divides == divides]


def _blocks(text: str) -> list[str]:
    reading = read_rst(text.encode())
    assert "".join(reading.lines) == reading.text == text
    return ["".join(reading.lines[block.start : block.end]) for block in reading.blocks]


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("Title\n=====\n\ntext\n", [(1, "Title")]),
        ("Title\n=====\ntext\n\nSub\n---\n\nSub\n===\n", [(1, "Title"), (2, "Sub"), (1, "Sub")]),
        ("=====\nTitle\n=====\n\nSub\n=====\n", [(1, "Title"), (2, "Sub")]),
        ("=======\n Title\n=======\n", [(1, "Title")]),
        ("A\n=\n\nB\n~\n\nC\n^\n\nD\n=\n", [(1, "A"), (2, "B"), (3, "C"), (1, "D")]),
        ("A long title\n=====\n", [(1, "A long title")]),
        ("A long title\n===\n", []),
        ("two\nlines\n=====\n", []),
        ("text\n\n----\n\ntext\n", []),
        ("    Title\n    =====\n", []),
        ("Example::\n\n    Title\n    =====\n", []),
        ("=====  =====\na      b\n=====  =====\n", []),
        ("+---+\n| a |\n+---+\n", []),
        ("Title\r\n=====\r\n\r\ntext\r\n", [(1, "Title")]),
        (":mod:`!asyncio` --- ``await`` `it <x>`_\n====\n", [(1, "asyncio --- await it")]),
        ("日本\n====\n", [(1, "日本")]),
    ],
)
def test_titles_are_what_docutils_calls_titles(text, headings):
    assert _headings(text) == headings


_TASKS = """\
.. currentmodule:: asyncio

.. _tasks:

=====
Tasks
=====

Sleeping
========

.. coroutinefunction:: sleep(delay, result=None)

   Block for *delay* seconds.

   Example::

      .. function:: not_this()

.. class:: Task(coro, *, name=None)

   A task.

   .. method:: cancel(msg=None)

      Cancel.

   .. attribute:: name

   More about tasks.

Running
=======

.. data:: asyncio.ALL
"""


def test_what_directives_describe_is_below_its_section_by_its_qualified_name():
    assert _headings(_TASKS, divides=False) == [
        (3, "asyncio.sleep"),
        (3, "asyncio.Task"),
        (4, "cancel"),
        (4, "name"),
        (4, ""),
        (3, "asyncio.ALL"),
    ]
    assert _headings(_TASKS) == [(1, "Tasks"), (2, "Sleeping"), (2, "Running")]
    assert read_rst(_TASKS.encode()).title == "Tasks"


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("c:function:: PyObject* PyList_New(Py_ssize_t len)", "PyList_New"),
        ("c:var:: PyTypeObject PyList_Type", "PyList_Type"),
        ("method:: list.sort(*, key=None)", "list.sort"),
        ("option:: -m <module-name>", "-m"),
        ("cmdoption:: --foo=<bar>, -f", "--foo"),
        ("envvar:: PYTHONHOME", "PYTHONHOME"),
        ("describe:: key in d", "key in d"),
        ("py:function:: a\\_b(x)", "a_b"),
        ("function:: ", ""),
    ],
)
def test_the_name_of_a_signature_is_the_word_before_its_brackets(signature, name):
    assert _headings(f"T\n=\n\n.. {signature}\n\n   x\n", divides=False) == [(2, name)]


def test_text_behind_a_directive_is_below_its_section_again():
    text = "T\n=\n\n.. function:: f()\n\n   About f.\n\nAfter.\n\n.. note::\n\n   About all.\n"
    assert _headings(text, divides=False) == [(2, "f"), (2, "")]
    assert _blocks(text)[1:] == [
        ".. function:: f()\n\n   About f.\n\n",
        "After.\n\n",
        ".. note::\n\n   About all.\n",
    ]


def test_directives_literal_blocks_and_paragraphs_stay_whole():
    note = ".. note::\n\n   one\n\n   .. function:: no()\n\n"
    literal = "Like this::\n\n   a\n\n   b\n\n"
    text = "one\ntwo\n\n"
    assert _blocks(note + literal + text) == [note, literal, text]


def test_labels_and_index_entries_belong_to_the_title_below():
    text = "Text.\n\n.. index::\n   single: a\n\n.. _label:\n\nTitle\n=====\n\nMore.\n"
    assert _blocks(text)[:2] == ["Text.\n\n", text[7:-6]]


def test_a_chunk_is_cited_by_the_function_that_it_describes():
    about = "   " + "word " * 12 + "\n\n"
    text = "T\n=\n\nS\n-\n\n.. module:: m\n\n"
    text += "".join(f".. function:: {name}(x)\n\n{about * 4}" for name in "fg")
    chunks = cut(read_rst(text.encode()), lambda texts: [len(t.split()) for t in texts], 64)
    assert chunks[-1].heading == "T > S > m.g"
    assert chunks[-1].text.startswith(".. function:: g(x)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "==\n==\n==\n",
        "====\n" * 500,
        ".. _a:\n" * 500 + "T\n=\n",
        ".. function:: f(\n" * 500,
        "".join(" " * depth + ".. class:: C\n\n" for depth in range(400)),
        "`" * 900 + "\n====\n",
        ".. function:: " + "a " * 450 + "\n",
        "a\n=\n" * 3000,
        "\t.. class:: A\n\tb\n",
    ],
)
def test_any_text_is_read_whole(text):
    blocks = _blocks(text)
    assert "".join(blocks) == text
    assert all(blocks)
