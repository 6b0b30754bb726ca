"""Logs: one line a request, as fields; and no line that somebody else has written.

Knows no request, only what is told of it. Rule: a line holds no prompt, answer, query, path or key,
and nothing in it can pass for another line or steer a terminal, whoever made it up.
"""

import json
import logging
import re
import secrets
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mcp_server.plain import in_a_line, plain

logger = logging.getLogger(__name__)

_CLIENT_ID = re.compile(r"[\x20-\x7e]{1,128}")
"""What OpenAI takes of X-Client-Request-Id: printable ASCII, within 128 characters."""

_BARE = re.compile(r"[\w.:/+-]+", re.ASCII)
"""What needs no quotes as the value of a field."""

_FIELDS = "request"
"""The attribute of a log record that holds a `RequestLine`."""


def request_id() -> str:
    """A name for a request that no other one has."""
    return f"req_{secrets.token_hex(16)}"


def client_request_id(header: str | None) -> str:
    """A caller's own name for a request; empty if it is none that can stand in a line."""
    return header if header and _CLIENT_ID.fullmatch(header) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """What is told of one request."""

    request_id: str
    method: str
    route: str
    """Its name in the table of routes; empty: there is no such route."""
    status: int
    milliseconds: float
    key: str = ""
    """The id of the caller's key, never the key; empty where none is asked for."""
    client_request_id: str = ""
    """As `client_request_id` let it pass."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def fields(self) -> dict[str, Any]:
        """By name; without those that are empty."""
        found = {name: value for name, value in asdict(self).items() if value != ""}
        return found | {"milliseconds": round(self.milliseconds, 1)}

    def __str__(self) -> str:
        return " ".join(f"{name}={_value(value)}" for name, value in self.fields().items())


def log(line: RequestLine) -> None:
    """Writes the line of a request that is over."""
    logger.info("%s", line, extra={_FIELDS: line})


def formatter(is_json: bool) -> logging.Formatter:
    """How the lines of the whole process are written: as JSON objects, or for people to read."""
    return _JsonLines() if is_json else _PlainLines("%(levelname)s %(name)s: %(message)s")


class _PlainLines(logging.Formatter):
    """A line a record; tracebacks below it are indented, so that no part of one begins a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback as it is written here: a record keeps another formatter's."""
        own = copy(record)
        own.exc_text = None
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line itself."""
        return in_a_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """A traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """Where a record was written."""
        return _indented(super().formatStack(stack_info))


class _JsonLines(logging.Formatter):
    """An ASCII line a record; what is no printable ASCII is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: RequestLine | None = getattr(record, _FIELDS, None)
        shown: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": "request" if line else record.getMessage(),
        }
        if record.exc_info:
            shown["error"] = self.formatException(record.exc_info)
        fields: Mapping[str, Any] = line.fields() if line else {}
        return json.dumps(shown | dict(fields), ensure_ascii=True)


def _value(value: str | float) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _indented(text: str) -> str:
    return "\n".join(f"    {in_a_line(line)}" for line in plain(text).split("\n"))
