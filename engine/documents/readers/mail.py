"""Reads e-mail: one message, or a mailbox with a heading for each.

Attachments are named, not read. What a message names on the net is not fetched.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime

from engine.documents.readers.extraction import Extraction
from engine.documents.readers.html import add_html
from engine.documents.readers.interface import Reading, Unreadable, decode

_HEADERS = ("From", "To", "Cc", "Date")
_ANY_HEADER = re.compile(rb"(?:>?From .*\r?\n)?[!-9;-~]+[ \t]*:")
_MAILBOX = re.compile(rb"^From .*\r?\n(?=[!-9;-~]+:)", re.MULTILINE)


def read_message(content: bytes) -> Reading:
    """Reads one message.

    Raises:
        Unreadable: It does not begin with a header.
    """
    message = _parsed(content)
    extraction = Extraction()
    _add(message, extraction)
    return extraction.reading(dict(_metadata(message)))


def read_mailbox(content: bytes) -> Reading:
    """Reads a mailbox as Unix keeps them: messages one after the other.

    Raises:
        Unreadable: It holds no message.
    """
    starts = [match.end() for match in _MAILBOX.finditer(content)]
    ends = [match.start() for match in _MAILBOX.finditer(content)][1:]
    if not starts:
        raise Unreadable("it is no mailbox (it holds no message)")
    extraction = Extraction()
    for start, end in zip(starts, [*ends, len(content)], strict=True):
        _add(_parsed(content[start:end]), extraction)
    return extraction.reading()


def _parsed(content: bytes) -> Message:
    if not _ANY_HEADER.match(content):
        raise Unreadable("it is no e-mail message (it begins with no header)")
    return message_from_bytes(content)


def _add(message: Message, extraction: Extraction) -> None:
    extraction.add_heading(1, _header(message, "Subject") or "(no subject)")
    heads = [f"{name}: {value}" for name in _HEADERS if (value := _header(message, name))]
    names = [name for part in message.walk() if (name := _file_name(part))]
    if names:
        heads.append(f"Attachments: {', '.join(names)}")
    extraction.add_text("\n".join(heads))
    _add_body(message, extraction)


def _add_body(message: Message, extraction: Extraction) -> None:
    """The plain text of a message, or else what its HTML says."""
    parts = [part for part in message.walk() if not part.is_multipart() and not _file_name(part)]
    plain = [part for part in parts if part.get_content_type() == "text/plain"]
    for part in plain:
        extraction.add_text(_text(part))
    if not any(_text(part).strip() for part in plain):
        for part in parts:
            if part.get_content_type() == "text/html":
                add_html(_text(part), extraction)


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeError):
        return decode(content)[0]


def _file_name(part: Message) -> str:
    try:
        return _unfolded(part.get_filename() or "")
    except (HeaderParseError, UnicodeError, LookupError, ValueError, TypeError):
        return "(a file)"


def _header(message: Message, name: str) -> str:
    value = message.get(name)
    return "" if value is None else _unfolded(str(value))


def _unfolded(value: str) -> str:
    """A header's value with its encoded words decoded, on one line."""
    with suppress(MessageError, UnicodeError, LookupError, ValueError):
        value = str(make_header(decode_header(value)))
    return " ".join(value.split())


def _metadata(message: Message) -> Iterator[tuple[str, str]]:
    for name in ("Subject", "From", "To"):
        if value := _header(message, name):
            yield name.lower(), value
    if title := _header(message, "Subject"):
        yield "title", title
    try:
        yield "date", parsedate_to_datetime(_header(message, "Date")).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return
