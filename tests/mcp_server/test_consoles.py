"""What a console or pipe of any encoding is given and read as: UTF-8, whatever it was opened as."""

import io

import pytest

from mcp_server.__main__ import _use_utf8

TEXT = "Käse → 日本, 5 €"


@pytest.fixture(params=["cp1252", "cp437", "cp932", "ascii", "utf-16"])
def encoding(request) -> str:
    return request.param


def test_what_is_printed_is_utf_8_and_names_that_are_no_text_end_nothing(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="\n")
    _use_utf8(stream)
    stream.write(TEXT + " caf\udce9\n")
    stream.flush()
    assert raw.getvalue().decode() == TEXT + " caf\\udce9\n"


def test_what_is_piped_in_is_read_as_utf_8(encoding):
    stream = io.TextIOWrapper(io.BytesIO(TEXT.encode() + b"\xff"), encoding=encoding)
    _use_utf8(stream)
    assert stream.read() == TEXT + "\\xff"


def test_a_program_without_a_console_has_no_streams_to_mend():
    """pythonw.exe and services have None there."""
    _use_utf8(None, io.StringIO())
