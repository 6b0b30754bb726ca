"""Tables and records."""

from engine.documents.readers.interface import Heading
from engine.documents.readers.table import read_json_lines, read_table


def _starts(reading) -> list[int]:
    return [block.start for block in reading.blocks]


def _heading(content: bytes) -> Heading | None:
    return read_table(content).blocks[0].heading


def test_every_record_is_a_block_also_where_it_has_several_lines():
    content = b'name,note\nAda,"one\ntwo, ""three""\n"\nBo,plain\n"C\nc",x\n'
    assert _starts(read_table(content)) == [0, 1, 4, 5]


def test_the_names_of_the_columns_are_the_heading_of_all_rows():
    assert _heading(b"name,town\nAda,London\n") == Heading(1, "name, town")
    assert _heading(b"name;town\nAda;London\n") == Heading(1, "name, town")
    assert _heading(b"name\ttown\nAda\tLondon\n") == Heading(1, "name, town")
    assert _heading(b'"full name","home\ntown"\nAda,London\n') == Heading(1, "full name, home town")


def test_a_first_row_that_is_no_row_of_names_is_no_heading():
    for content in (b"Ada,1\nBo,2\n", b"Ada,,\nBo,2,3\n", b"a,a\nb,b\n", b"name\nAda\n", b"a,b\n"):
        assert _heading(content) is None


def test_a_quote_that_is_never_closed_does_not_swallow_the_file():
    content = b'a,b\n"x,1\n' + b"y,2\n" * 5000
    assert len(read_table(content).blocks) > 3000


def test_every_line_of_json_is_a_block():
    assert _starts(read_json_lines(b'{"a": 1}\n{"b": 2}\n\n{"c": 3}')) == [0, 1, 2, 3]
