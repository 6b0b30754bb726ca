"""Lines as hosts send them, whole and broken, and what is made of each."""

import io
import json

import pytest
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from mcp_server.http import parsing
from mcp_server.launcher import lines
from mcp_server.launcher.lines import Refused, TooLong, understood

PARSE, REQUEST, PARAMS = -32700, -32600, -32602

REFUSED = [
    (b"{", PARSE, None),
    (b"hello", PARSE, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"caf\xe9"}', PARSE, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', PARSE, None),
    (b"\x00\xff", PARSE, None),
    (b"[" * 100_000, PARSE, None),
    (b'{"a":' * 300 + b"1" + b"}" * 300, PARSE, None),
    (b"9" * 100_000, PARSE, None),
    (b"[]", REQUEST, None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', REQUEST, None),
    (b"null", REQUEST, None),
    (b'"text"', REQUEST, None),
    (b"{}", REQUEST, None),
    (b'{"jsonrpc":"2.0"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":7}', REQUEST, 7),
    (b'{"id":7,"method":"ping"}', REQUEST, 7),
    (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":"a","method":7}', REQUEST, "a"),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}', PARAMS, 7),
    (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":"x"}', PARAMS, 7),
]


@pytest.mark.parametrize(("line", "code", "request_id"), REFUSED, ids=range(len(REFUSED)))
def test_a_line_that_is_no_request_is_refused_under_its_id(line, code, request_id):
    refused = understood(line + b"\n")
    assert isinstance(refused, Refused)
    assert (refused.answer.error.code, refused.answer.id) == (code, request_id)
    assert len(refused.answer.error.message) < 200
    assert json.loads(refused.answer.model_dump_json())["id"] == request_id


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"  \r\n",
        b'{"jsonrpc":"2.0","method":7}\n',
        b'{"method":"notifications/initialized"}\n',
        b'{"jsonrpc":"2.0","id":1,"error":"broken"}\n',
        b'{"id":1,"result":{}}\n',
    ],
)
def test_nothing_answers_an_empty_line_a_notification_or_an_answer(line):
    assert understood(line) is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}\r\n', JSONRPCRequest),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":"a","method":"ping"}\n', JSONRPCRequest),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}', JSONRPCRequest),
        (b'{"jsonrpc":"2.0","method":"anything/at/all"}\n', JSONRPCNotification),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}\n', JSONRPCResponse),
    ],
)
def test_a_message_is_taken_with_any_line_end_and_with_a_byte_order_mark(line, kind):
    assert isinstance(understood(line), kind)


@pytest.mark.parametrize(
    ("start", "end", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"a":"', b'"}}\n', 3),
        (b'{"id":"x-1","jsonrpc":"2.0","method":"tools/call","params":{"a":"', b'"}}\n', "x-1"),
        (b'{"method":"tools/call","params":{"a":"', b'"},"jsonrpc":"2.0","id":4}\n', 4),
        (b'{"method":"tools/call","params":{"id":5,"a":"', b'"},"id":6,"jsonrpc":"2.0"}\n', None),
        (b"", b"", None),
    ],
)
def test_a_line_too_long_is_skipped_and_refused_under_the_id_at_its_edge(start, end, request_id):
    """As the official clients write it; where it could be another's, none is told."""
    after = b'{"jsonrpc":"2.0","id":9,"method":"ping"}\n'
    stream = io.BytesIO(start + b"x" * 3_000_000 + (end or b"\n") + after)
    line = lines.read_line(stream, 1_000_000)
    assert isinstance(line, TooLong)
    assert len(line.start) + len(line.end) < 2_000
    refused = understood(line)
    assert isinstance(refused, Refused)
    assert (refused.answer.error.code, refused.answer.id) == (REQUEST, request_id)
    assert isinstance(understood(lines.read_line(stream)), JSONRPCRequest)
    assert lines.read_line(stream) == b""


def test_a_line_may_be_as_long_as_a_body_over_http_and_need_no_end():
    assert lines.MOST_BYTES == parsing.MOST_BYTES
    assert lines.read_line(io.BytesIO(b"x" * lines.MOST_BYTES)) == b"x" * lines.MOST_BYTES
    assert isinstance(lines.read_line(io.BytesIO(b"x" * (lines.MOST_BYTES + 1))), TooLong)
