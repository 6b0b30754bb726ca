"""Cursors: where the next page of a list begins, in a form that callers only hand back.

Rule: a cursor of a search is good for the same question and an unchanged index, so that pages
neither repeat a passage nor leave one out.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput

_PLACE = re.compile(r"([0-9a-f]{8})-(\d{1,18})-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search goes on."""

    offset: int
    """Passages on the pages before."""
    generation: int | None = None
    """Of the index that they were found in; None on the first page."""


def next_page(question: Mapping[str, Any], generation: int, offset: int) -> str:
    """The cursor of the page behind so many passages.

    Args:
        question: Everything that decides what is found, and in which order.
        generation: Of the index.
        offset: Passages shown so far.
    """
    return f"{_digest(question)}-{generation}-{offset}"


def place(cursor: str, question: Mapping[str, Any]) -> Place:
    """Where a search begins; at the first passage without a cursor.

    Raises:
        InvalidInput: The cursor is none, or that of another question.
    """
    if not cursor:
        return Place(0)
    read = _PLACE.fullmatch(cursor)
    if read is None or read[1] != _digest(question):
        raise InvalidInput(
            "cursor is not one that semantic_search gave for this query with these filters and "
            "this mode; leave it out to start at the first page."
        )
    return Place(offset=int(read[3]), generation=int(read[2]))


def check_unchanged(place: Place, generation: int) -> None:
    """Raises `InvalidInput` if the index is another than on the page before."""
    if place.generation not in (None, generation):
        raise InvalidInput(
            "The index has changed since that page, so its cursor leads nowhere; leave cursor out "
            "to search anew."
        )


def after_path(path: str) -> str:
    """The cursor of what comes behind a path."""
    return base64.urlsafe_b64encode(path.encode("utf-8", "surrogatepass")).decode()


def path_of(cursor: str) -> str:
    """The path that a page begins behind; empty for the first.

    Raises:
        InvalidInput: The cursor is none.
    """
    try:
        path = base64.b64decode(cursor, altchars=b"-_", validate=True).decode(
            "utf-8", "surrogatepass"
        )
    except (binascii.Error, ValueError):
        path = "?"
    if path and not Path(path).is_absolute():
        raise InvalidInput(
            "cursor is not one that list_documents gave; leave it out to start at the first page."
        )
    return path


def _digest(question: Mapping[str, Any]) -> str:
    text = json.dumps(question, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
