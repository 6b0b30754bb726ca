# pyright: reportUnknownMemberType=false
"""Which JSON schemas an answer can be held to, and as what llguidance is to read them.

The only door of jsonschema. llguidance refuses what it does not implement; refused here is what it
reads more laxly than jsonschema (1.9.1 and 4.26, found by the specification's test suite and by
mixtures of its schemas).
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import jsonschema
from jsonschema.exceptions import SchemaError

from engine.decode.output_forms import Schema
from engine.errors import InvalidInput

Node = dict[str, Any]

_DRAFTS = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema.Draft7Validator,
}
_NEWEST = next(iter(_DRAFTS))

# Keywords whose values are schemas by names, and schemas or lists of them; no others are read.
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_SCHEMAS = frozenset(
    {"items", "additionalItems", "prefixItems", "additionalProperties", "allOf", "anyOf", "oneOf"}
)
_KNOWN_PATH = re.compile(
    rf"(?:/(?:{'|'.join(map(re.escape, _BY_NAME))})/[^/]+|/(?:{'|'.join(_SCHEMAS)})(?:/[0-9]+)?)*"
)

# What generators write although it asks for nothing.
_IDLE: tuple[tuple[str, object], ...] = (
    ("uniqueItems", False),
    ("propertyNames", True),
    ("propertyNames", {"type": "string"}),
)

_GROUP = re.compile(r"[(\[\\]")

# Control characters without an escape of one letter; the others can be written.
_UNWRITABLE = re.compile(r"\\u00(?:0[0-7be-f]|1)")

# Whole numbers up to here are the same as floats.
_EXACT = 2**53

# The standard's formats, served or refused by llguidance; others say nothing.
_FORMATS = re.compile(
    "date|time|date-time|duration|(idn-)?(email|hostname)|ipv[46]|uuid|[iu]ri(-reference)?"
    "|uri-template|(relative-)?json-pointer|regex"
)

# Characters that a name, a value's quotes and a comma take besides the name; and a format's text.
_PUNCTUATION, _LONGEST_FORMAT = 6, 48

# llguidance writes a whole number that is excluded where the other bound is less than 1 away.
_LEAST = 1e-6
_BOUNDS: tuple[tuple[str, str, Callable[[float, float], float], int], ...] = (
    ("exclusiveMinimum", "minimum", max, 1),
    ("exclusiveMaximum", "maximum", min, -1),
)

# Of days and times llguidance lets through some that do not exist.
_DAY = r"(?:[1-9][0-9]{3}-(?:(?:0[13-9]|1[0-2])-[0-9]{2}|02-(?:[01][0-9]|2[0-8])))"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-5]"
_STRICTER_FORMATS = {
    "date": f"^{_DAY}",
    "time": f"^{_TIME}",
    "date-time": f"^{_DAY}T{_TIME}",
}

# What a pattern is made of that means the same in Python's re and in llguidance, which also leaves
# out of a text what it has no escape for.
_ESCAPE = r"\\(?:[dwsSnrtf]|[^\w\s]|x[2-9a-fA-F][0-9a-fA-F]|u(?!00[01])[0-9a-fA-F]{4})"
_STRANGE = r"\(\?(?!:)|[*+?}]\+|[*+?}][*{]|&&|--|~~|\|\||\[\^?\]|\[\[|\[:|\{,|\[\^[^\]]*\\[dw]"
_PLAIN = re.compile(rf"(?:{_ESCAPE}|(?!{_STRANGE})[^\\\x00-\x1f])*")


def readable(schema: Schema) -> Schema:
    """The schema as llguidance is to read it: never laxer than it says.

    Raises:
        InvalidInput: The schema is not valid, or asks for what cannot be kept.
    """
    if isinstance(schema, bool):
        return schema
    _check(schema)
    return _readable(schema)


def require(text: str, schema: Schema) -> None:
    """Sees that an answer is what was asked for: the last word is jsonschema's own.

    Raises:
        InvalidInput: The text is not JSON that everybody reads alike, or not of the schema.
    """
    validator = jsonschema.Draft202012Validator if isinstance(schema, bool) else _draft(schema)
    try:
        value = json.loads(text, parse_float=_finite, object_pairs_hook=_without_twins)
        is_kept = validator(schema).is_valid(value)
    except (ValueError, RecursionError):
        is_kept = False
    if not is_kept:
        raise InvalidInput(
            "The model's answer is not of the schema, which could not be prevented in this case; "
            "ask again in other words, or bound its numbers and its depth and list its names."
        )


def patterns(schema: Any) -> Iterator[str]:
    """The regular expressions in a schema that is readable, each plain alternative by itself."""
    if isinstance(schema, dict):
        node = cast(Node, schema)
        for text in [node.get("pattern"), *node.get("patternProperties", ())]:
            if isinstance(text, str):
                yield from [text] if _GROUP.search(text) else text.split("|")
    for part in _parts(schema):
        yield from patterns(part)


def largest(schema: Any) -> int:
    """Characters that a readable schema asks for in one go at most, about."""
    parts = sum(map(largest, _parts(schema)))
    if not isinstance(schema, dict):
        return parts
    node = cast(Node, schema)
    choices = [*_parts(node.get("enum")), node.get("const", "")]
    own = sum(len(str(name)) + _PUNCTUATION for name in _parts(node.get("required")))
    own += max(len(json.dumps(choice)) for choice in choices)
    own += _count(node.get("minLength")) + len(str(node.get("pattern", "")))
    own += sum(_PUNCTUATION + len(name) for name in node.get("patternProperties", ()))
    own += _LONGEST_FORMAT if "format" in node else 0
    return own + parts * max(1, _count(node.get("minItems")))


def _parts(schema: Any) -> list[Any]:
    if isinstance(schema, dict):
        return list(cast(Node, schema).values())
    return cast(list[Any], schema) if isinstance(schema, list) else []


def _count(given: Any) -> int:
    return given if isinstance(given, int) else 0


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError("too large for a number")
    return number


def _without_twins(pairs: list[tuple[str, Any]]) -> Node:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _draft(schema: Node) -> Any:
    draft = str(schema.get("$schema", _NEWEST)).removesuffix("#")
    if draft not in _DRAFTS:
        raise InvalidInput(f"The schema's $schema must be one of {', '.join(_DRAFTS)}.")
    return _DRAFTS[draft]


def _check(schema: Node) -> None:
    try:
        _draft(schema).check_schema(schema, format_checker=None)  # type: ignore[arg-type]
    except SchemaError as error:
        raise InvalidInput(
            f"The schema is not valid at {error.json_path[:200]} ({error.message[:200]}); "
            "correct it."
        ) from error


def _readable(node: Any) -> Any:
    if isinstance(node, list):
        return [_readable(part) for part in cast(list[Any], node)]
    if not isinstance(node, dict):
        return node
    node = cast(Node, node)
    for what, is_asked, advice in _REFUSED:
        if is_asked(node):
            raise InvalidInput(f"The schema's {what} cannot be kept; {advice}.")
    read = {key: _value(key, value) for key, value in node.items() if (key, value) not in _IDLE}
    for exclusive, bound, farther, side in _BOUNDS:
        if read.get(exclusive, 0.5) % 1 == 0:
            limit = read.pop(exclusive)
            nearest = farther(limit + side * _LEAST, math.nextafter(limit, side * math.inf))
            read[bound] = farther(read.get(bound, nearest), nearest)
    if not _FORMATS.fullmatch(read.get("format", "date")):
        del read["format"]
    if read.get("format") in _STRICTER_FORMATS:
        read["allOf"] = [*read.get("allOf", ()), {"pattern": _STRICTER_FORMATS[read["format"]]}]
    return read


def _value(key: str, value: Any) -> Any:
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _readable(part) for name, part in cast(Node, value).items()}
    if key in ("maximum", "exclusiveMaximum"):
        return min(value, _EXACT)
    if key in ("minimum", "exclusiveMinimum"):
        return max(value, -_EXACT)
    return _readable(value) if key in _SCHEMAS else value


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        parts = cast(Node, value).values() if isinstance(value, dict) else cast(list[Any], value)
        for part in parts:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield value


def _is_inexact(node: Node) -> bool:
    given = [node.get("const"), node.get("enum"), node.get("multipleOf")]
    lows = [node.get("minimum"), node.get("exclusiveMinimum")]
    highs = [node.get("maximum"), node.get("exclusiveMaximum")]
    return (
        any(abs(number) > _EXACT for number in _numbers(given))
        or any(number > _EXACT for number in _numbers(lows))
        or any(number < -_EXACT for number in _numbers(highs))
    )


def _has_strange_pattern(node: Node) -> bool:
    for pattern in (node.get("pattern"), *node.get("patternProperties", ())):
        if pattern is not None and not is_plain(pattern):
            return True
    return False


def is_plain(pattern: str) -> bool:
    """Whether a regular expression is one, and means the same in Python and in llguidance."""
    if not _PLAIN.fullmatch(pattern):
        return False
    try:
        re.compile(pattern)
    except (re.error, OverflowError):
        return False
    return True


_REFUSED: tuple[tuple[str, Callable[[Node], bool], str], ...] = (
    (
        "numbers beyond 2^53",
        _is_inexact,
        "llguidance rounds them; use smaller ones",
    ),
    (
        "control characters",
        lambda node: bool(
            _UNWRITABLE.search(
                json.dumps(
                    [node.get(key) for key in ("const", "enum", "required")]
                    + list(node.get("properties", ()))
                )
            )
        ),
        "leave them out of names and values",
    ),
    (
        "multipleOf with a fraction",
        lambda node: any(number % 1 for number in _numbers(node.get("multipleOf"))),
        "floats are no exact multiples of it; ask for whole numbers of a smaller unit",
    ),
    (
        "minProperties",
        lambda node: node.get("minProperties", 0) > len(node.get("required", ())) + 1,
        "names that it does not list may come twice; list them as required",
    ),
    (
        "additionalItems",
        lambda node: "additionalItems" in node and not isinstance(node.get("items"), list),
        "use items beside prefixItems",
    ),
    (
        "$ref to a place that holds no schema",
        lambda node: (
            "/" in (path := node.get("$ref", "").partition("#")[2])
            and not _KNOWN_PATH.fullmatch(path)
        ),
        "refer to a schema in $defs",
    ),
    (
        "pattern",
        _has_strange_pattern,
        "write it without groups (?…), \\b, \\B, \\D, \\W, back references and set operations",
    ),
)
