"""Filters of OpenAI's vector stores as what an index can be narrowed by.

Rule: what an index cannot look for is refused with what it can, so that no answer is broader than
what was asked for.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from engine.corpus import KINDS, Filter
from engine.library import Library
from engine.search.narrowing import Narrowing
from mcp_server.http.failures import Refused
from mcp_server.http.openai.bodies import RequestBody

Value = Annotated[str, Field(max_length=4_000)] | float | bool

_TAKEN = (
    "Taken are: kind with eq, ne, in, nin; path with eq, in (* and ? stand for any characters); "
    "modified with eq, gt, gte, lt, lte (seconds since 1970, or ISO 8601); any other key with eq, "
    "as a document says it of itself; and of these; or of one key with eq and in."
)
_MOST_VALUES = 100
_NS = 1_000_000_000
# The largest number that an index holds: in 2262.
_LATEST = 2**63 - 1


class Comparison(RequestBody):
    """An attribute compared with a value."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str = Field(min_length=1, max_length=64)
    value: Value | Annotated[list[Value], Field(min_length=1, max_length=_MOST_VALUES)]


class Compound(RequestBody):
    """Several filters, all of which or one of which must hold."""

    type: Literal["and", "or"]
    filters: list["Filters"] = Field(min_length=1, max_length=_MOST_VALUES)


Filters = Annotated[Comparison | Compound, Field(discriminator="type")]


def narrowed(
    library: Library, collections: Sequence[str], filters: Comparison | Compound | None
) -> Filter:
    """The documents of some collections that a filter lets through.

    Args:
        library: Whose documents.
        collections: Names; at least one.
        filters: None lets all of them through.

    Raises:
        Refused: A filter asks for what cannot be looked for.
        CollectionNotFound, InvalidInput: There is no such collection or kind.
    """
    asked = dict[str, list[Comparison]]()
    tests = list(_all(filters)) if filters else []
    if len(tests) > _MOST_VALUES:
        raise _refusal(f"it has {len(tests):,} comparisons; {_MOST_VALUES} are taken.")
    for one in tests:
        asked.setdefault(one.key, []).append(one)
    times = [_times(one) for one in asked.pop("modified", [])]
    kinds = _once(asked.pop("kind", []), _kinds)
    paths = _once(asked.pop("path", []), _paths)
    metadata = {key: _once(same, _said)[0] for key, same in asked.items()}
    wanted = Narrowing(collections=collections, kinds=kinds, paths=paths, metadata=metadata)
    return replace(
        library.narrowed(wanted),
        modified_after_ns=max((after for after, _ in times), default=0),
        modified_before_ns=min((before for _, before in times if before), default=0),
    )


def _all(filters: Comparison | Compound) -> Iterator[Comparison]:
    """Comparisons all of which must hold."""
    if isinstance(filters, Comparison):
        yield filters
    elif filters.type == "and":
        for one in filters.filters:
            yield from _all(one)
    else:
        yield _either(filters)


def _either(filters: Compound) -> Comparison:
    """One comparison that holds where one of several of the same attribute does."""
    tests = [one for part in filters.filters for one in _all(part)]
    is_one_key = len({one.key for one in tests}) == 1
    if len(tests) != len(filters.filters) or not is_one_key:
        raise _refusal("or takes comparisons of one key only.")
    if any(one.type not in ("eq", "in") for one in tests):
        raise _refusal("or takes eq and in only.")
    values = [value for one in tests for value in _values(one)]
    if len(values) > _MOST_VALUES:
        raise _refusal(f"or takes {_MOST_VALUES} values in all.")
    return Comparison(type="in", key=tests[0].key, value=values)


def _once(tests: Sequence[Comparison], read: Callable[[Comparison], list[str]]) -> list[str]:
    if len(tests) > 1:
        raise _refusal(f"{_shown(tests[0])} stands there twice.")
    return read(tests[0]) if tests else []


def _kinds(test: Comparison) -> list[str]:
    values = _texts(test, "eq", "in", "ne", "nin")
    if test.type in ("eq", "in"):
        return values
    left = [kind for kind in KINDS if kind not in values]
    if not left:
        raise _refusal("it leaves no kind.")
    return left


def _paths(test: Comparison) -> list[str]:
    return [value.replace("[", "[[]") for value in _texts(test, "eq", "in")]


def _said(test: Comparison) -> list[str]:
    values = _texts(test, "eq", "in")
    if len(values) > 1:
        raise _refusal(f"{_shown(test)} can be compared with one value only.")
    return values


def _times(test: Comparison) -> tuple[int, int]:
    """From when on and until when a document changed, in nanoseconds since 1970; 0 is no limit.

    The attribute has whole seconds, so it is those that are compared.
    """
    seconds = _seconds(test)
    least, over = math.ceil(seconds), math.floor(seconds) + 1
    if test.type == "eq":
        return _nanoseconds(least), _nanoseconds(over)
    return {
        "gt": (_nanoseconds(over), 0),
        "gte": (_nanoseconds(least), 0),
        "lt": (0, _nanoseconds(least)),
        "lte": (0, _nanoseconds(over)),
    }[test.type]


def _seconds(test: Comparison) -> float:
    value = test.value
    if test.type not in ("eq", "gt", "gte", "lt", "lte"):
        raise _refusal(f"{test.type} is not taken of modified.")
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip()).timestamp()
        except (ValueError, OverflowError, OSError) as error:
            raise _refusal("modified is compared with no time.") from error
    if isinstance(value, bool | list):
        raise _refusal("modified is compared with no time.")
    return value


def _nanoseconds(seconds: int) -> int:
    return min(max(1, seconds * _NS), _LATEST)


def _texts(test: Comparison, *taken: str) -> list[str]:
    """The values of a comparison as a document's texts have them."""
    if test.type not in taken:
        raise _refusal(f"{test.type} is not taken of {_shown(test)}.")
    return [_text(value) for value in _values(test)]


def _values(test: Comparison) -> list[str | float | bool]:
    if isinstance(test.value, list) != (test.type in ("in", "nin")):
        raise _refusal("in and nin take a list of values, the others take one.")
    return test.value if isinstance(test.value, list) else [test.value]


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _shown(test: Comparison) -> str:
    return test.key if test.key.isascii() and test.key.isprintable() else "a key"


def _refusal(problem: str) -> Refused:
    return Refused(f"The filter cannot be kept: {problem} {_TAKEN}", param="filters")
