"""One line from a host: a message, one that is refused, or nothing.

Knows JSON-RPC and no method of MCP. Rule: whatever a line holds, it costs that line alone; who can
be told why is told, under the id that was asked with. The SDK drops such lines without a word, and
takes a request whose id is no id for a notification: its caller would wait for ever.
"""

import re
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import from_json

MOST_BYTES = 4 * 2**20
"""Of a line, as of a body over HTTP: a line that never ends must not fill the memory."""

_EDGE_BYTES = 512
"""Kept of a line that is too long: clients write the id first or last."""

_BLOCK = 2**16

_MARK = b"\xef\xbb\xbf"
"""Of UTF-8, which shells of Windows put before what they pipe."""

_NUMBER_OR_WORD = rb'(\d{1,18}|"[\w.:-]{1,200}")'
_FIRST = re.compile(
    rb'\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*' + _NUMBER_OR_WORD + rb"\s*,"
)
_LAST = re.compile(rb',\s*"id"\s*:\s*' + _NUMBER_OR_WORD + rb"\s*\}\s*$")

RequestId = int | str | None


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that was not kept."""

    start: bytes
    end: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """What is not done, and what is answered instead."""

    answer: JSONRPCError


def read_line(stream: BinaryIO, most_bytes: int = MOST_BYTES) -> bytes | TooLong:
    """The next line, whole; empty once there are no more.

    Blocks. Never holds more than `most_bytes` and a block.
    """
    line = stream.readline(most_bytes + 1)
    if len(line) <= most_bytes:
        return line
    start, end = line[:_EDGE_BYTES], line[-_EDGE_BYTES:]
    while not end.endswith(b"\n") and (block := stream.readline(_BLOCK)):
        end = (end + block)[-_EDGE_BYTES:]
    return TooLong(start, end)


def understood(line: bytes | TooLong) -> JSONRPCMessage | Refused | None:
    """What a line is; None if nothing is to be done about it."""
    if isinstance(line, TooLong):
        sentence = f"The message has more than {MOST_BYTES:,} bytes; send less in one call."
        return _refused(INVALID_REQUEST, sentence, _id_at_the_edge(line))
    text = line.removeprefix(_MARK).strip()
    if not text:
        return None
    try:
        value: Any = from_json(text)
    except ValueError as error:
        return _refused(PARSE_ERROR, f"The line is no JSON: {error}", None)
    if not isinstance(value, dict):
        kind = "a batch" if isinstance(value, list) else "no object"
        return _refused(INVALID_REQUEST, f"The line is {kind}; send one message a line.", None)
    return _message(cast("dict[str, Any]", value))


def _message(value: dict[str, Any]) -> JSONRPCMessage | Refused | None:
    if "method" not in value:
        return _answer(value)
    request_id = value.get("id")
    if "id" in value and not _is_id(request_id):
        return _refused(INVALID_REQUEST, "The id must be a whole number or a string.", None)
    try:
        return jsonrpc_message_adapter.validate_python(value, by_name=False)
    except ValidationError:
        if "id" not in value:
            return None  # A notification, which is answered by nothing.
    params = value.get("params")
    if value.get("jsonrpc") == "2.0" and isinstance(value["method"], str):
        kind = type(params).__name__
        return _refused(INVALID_PARAMS, f"params must be an object, not {kind}.", request_id)
    return _refused(INVALID_REQUEST, 'A request has "jsonrpc": "2.0" and a method.', request_id)


def _answer(value: dict[str, Any]) -> JSONRPCMessage | Refused | None:
    """What says nothing to do: the answer to a request of ours, for none is ever answered."""
    if "result" not in value and "error" not in value:
        request_id = value.get("id") if _is_id(value.get("id")) else None
        return _refused(INVALID_REQUEST, "The message has no method.", request_id)
    try:
        return jsonrpc_message_adapter.validate_python(value, by_name=False)
    except ValidationError:
        return None


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _id_at_the_edge(line: TooLong) -> RequestId:
    """Of a message too long to be read: where it is the first or the last member, that is sure."""
    found = _LAST.search(line.end) or _FIRST.match(line.start)
    return from_json(found[1]) if found else None


def _refused(code: int, sentence: str, request_id: RequestId) -> Refused:
    error = ErrorData(code=code, message=sentence)
    return Refused(JSONRPCError(jsonrpc="2.0", id=request_id, error=error))
