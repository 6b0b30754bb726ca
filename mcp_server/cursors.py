"""Cursors: where the next page of a list begins, in a form that callers only hand back.

Rule: a cursor of a search is good for the same question, an unchanged index and the same way of
searching it, so that pages neither repeat a passage nor leave one out.
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

_COLLECTION = ":"
"""Begins the name of a collection, and no absolute path."""

_PLACE = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search goes on."""

    offset: int
    """Passages on the pages before."""
    state: str = ""
    """What they were found in, by `state`; empty on the first page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Where a list goes on, whose collections come before what is in them."""

    collection: str = ""
    """The last one that was listed; empty before the first."""
    path: str = ""
    """The last one that was listed, behind all collections."""


def state(generation: int, model_id: str) -> str:
    """What a page was found in.

    Args:
        generation: Of the index.
        model_id: Of the embedder that searched it; empty where words had to do.
    """
    return _digest({"generation": generation, "model": model_id})


def next_page(question: Mapping[str, Any], found_in: str, offset: int) -> str:
    """The cursor of the page behind so many passages.

    Args:
        question: Everything that decides what is found, and in which order.
        found_in: The `state` of this one.
        offset: Passages shown so far.
    """
    return f"{_digest(question)}-{found_in}-{offset}"


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
    return Place(offset=int(read[3]), state=read[2])


def check_unchanged(place: Place, found_in: str) -> None:
    """Raises `InvalidInput` if the page before was found in another state."""
    if place.state not in ("", found_in):
        raise InvalidInput(
            "The index has changed since that page, or the embedding model has come or gone, so "
            "its cursor leads nowhere; leave cursor out to search anew."
        )


def after_path(path: str) -> str:
    """The cursor of what comes behind a path."""
    return base64.urlsafe_b64encode(path.encode("utf-8", "surrogatepass")).decode()


def after_collection(name: str) -> str:
    """The cursor of the collections behind one, and of what is in all of them."""
    return after_path(_COLLECTION + name)


def listed(cursor: str) -> Listed:
    """Where a page of a list begins.

    Raises:
        InvalidInput: The cursor is none.
    """
    try:
        last = base64.b64decode(cursor, altchars=b"-_", validate=True).decode(
            "utf-8", "surrogatepass"
        )
    except (binascii.Error, ValueError):
        last = "?"
    if last.startswith(_COLLECTION):
        return Listed(collection=last.removeprefix(_COLLECTION))
    if last and not Path(last).is_absolute():
        raise InvalidInput(
            "cursor is not one that list_documents gave; leave it out to start at the first page."
        )
    return Listed(path=last)


def _digest(question: Mapping[str, Any]) -> str:
    text = json.dumps(question, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
