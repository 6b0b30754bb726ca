"""Logs: the line of a request, and what others may not write into it."""

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_server.http import logs
from mcp_server.http.logs import RequestLine

LINE = RequestLine(
    request_id="req_0123",
    method="POST",
    route="chat_completions",
    status=200,
    milliseconds=1234.5678,
    key="key_laptop",
    client_request_id="my-7",
    prompt_tokens=12,
    completion_tokens=30,
)

EVIL = "\n".join(
    ["a\r", "INFO mcp_server: forged", "\x1b[2J\x9b1m", "\u2028\u2029\x85\u202e \x00 {", '"} ü']
)


class Written:
    """What a logger has written, in one of the two forms."""

    def __init__(self, is_json: bool) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(logs.formatter(is_json))
        for name in ("test", "mcp_server.http.logs"):
            logging.getLogger(name).addHandler(self._handler)
            logging.getLogger(name).setLevel(logging.INFO)

    def text(self) -> str:
        return self._stream.getvalue()

    def close(self) -> None:
        for name in ("test", "mcp_server.http.logs"):
            logging.getLogger(name).removeHandler(self._handler)
            logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def as_json() -> Iterator[Written]:
    written = Written(is_json=True)
    yield written
    written.close()


@pytest.fixture
def as_text() -> Iterator[Written]:
    written = Written(is_json=False)
    yield written
    written.close()


def test_every_request_has_a_name_of_its_own():
    names = {logs.request_id() for _ in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", name) for name in names)


def test_a_callers_own_name_is_taken_if_it_can_stand_in_a_line():
    for good in ("a", "x" * 128, "123e4567-e89b", "a b=c", "~!"):
        assert logs.client_request_id(good) == good
    for bad in (
        None,
        "",
        "x" * 129,
        "a\n",
        "a\rb",
        "\x1b[1m",
        "a\x7f",
        "ü",
        "\u2028",
        "a\x00",
        "\t",
    ):
        assert logs.client_request_id(bad) == ""


def test_the_line_of_a_request_for_people(as_text):
    logs.log(LINE)
    assert as_text.text() == (
        "INFO mcp_server.http.logs: request_id=req_0123 method=POST route=chat_completions "
        "status=200 milliseconds=1234.6 key=key_laptop client_request_id=my-7 prompt_tokens=12 "
        "completion_tokens=30\n"
    )


def test_the_line_of_a_request_for_programs(as_json):
    logs.log(LINE)
    found = json.loads(as_json.text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found.pop("time"))
    assert found == {
        "level": "info",
        "logger": "mcp_server.http.logs",
        "message": "request",
        "request_id": "req_0123",
        "method": "POST",
        "route": "chat_completions",
        "status": 200,
        "milliseconds": 1234.6,
        "key": "key_laptop",
        "client_request_id": "my-7",
        "prompt_tokens": 12,
        "completion_tokens": 30,
    }


def test_what_is_empty_is_left_out():
    bare = replace(LINE, key="", client_request_id="", route="", completion_tokens=0)
    assert str(bare) == (
        "request_id=req_0123 method=POST status=200 milliseconds=1234.6 prompt_tokens=12 "
        "completion_tokens=0"
    )


def test_no_value_can_pass_for_another_field(as_text):
    logs.log(replace(LINE, client_request_id='x status=500 "', method="GE T=1"))
    assert r'client_request_id="x status=500 \""' in as_text.text()
    assert 'method="GE T=1"' in as_text.text()


def test_nobody_else_writes_a_line(as_text, as_json):
    logging.getLogger("test").info("Cannot read %s", EVIL)
    logs.log(replace(LINE, method=EVIL, route=EVIL, client_request_id=EVIL))
    lines = as_text.text().split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "\u202e" not in as_text.text()
    assert as_json.text().isascii()
    assert json.loads(as_json.text().split("\n")[0])["message"] == f"Cannot read {EVIL}"
    assert len(as_json.text().splitlines()) == 2


def test_a_traceback_stays_below_its_line(as_text, as_json):
    try:
        raise ValueError(EVIL)
    except ValueError:
        logging.getLogger("test").exception("It failed")
    first, *below = as_text.text().rstrip("\n").split("\n")
    assert first == "ERROR test: It failed"
    assert len(below) > 3
    assert all(line.startswith("    ") and line.isprintable() for line in below)
    found = json.loads(as_json.text())
    assert found["message"] == "It failed"
    assert found["error"].startswith("Traceback")
    assert "ValueError: a" in found["error"]


def test_a_record_that_others_have_shown_is_here_what_it_is(as_text, as_json):
    def shown_elsewhere(record: logging.LogRecord) -> bool:
        assert "\nValueError: one\ntwo" in logging.Formatter().format(record)
        return True

    logger = logging.getLogger("test")
    logger.addFilter(shown_elsewhere)
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        logger.exception("It failed")
    logger.removeFilter(shown_elsewhere)
    logger.info("stack", stack_info=True)
    assert json.loads(as_json.text().splitlines()[0])["error"].endswith("ValueError: one\ntwo")
    assert "\n    ValueError: one\n    two\n" in as_text.text()
    assert "\n    Stack (most recent call last):" in as_text.text()
