"""The keywords of JSON Schema (draft 2020-12): which are served, and what each must hold.

Source: json-schema.org, draft 2020-12, vocabularies core, applicator, validation and their
meta-schemas.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from engine.errors import InvalidInput

Schema = dict[str, Any] | bool

TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")

# Where a keyword holds one schema, a list of them, or a mapping of names to them.
_ONE = ("items", "additionalProperties")
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPPING = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")

_UNSERVED = (
    "not",
    "if",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "dependencies",
    "$dynamicRef",
    "$recursiveRef",
)
CONSTRAINING = frozenset(
    {"type", "enum", "const", "\0values", "$ref", "allOf", "anyOf", "oneOf", "minimum", "maximum"}
    | {"exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"}
    | {"format", "prefixItems", "items", "minItems", "maxItems", "uniqueItems", "properties"}
    | {"patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"}
    | {"dependentRequired", "dependentSchemas"}
)
"""Keywords that a value may fail."""

_DRAFTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)
_DEEPEST = 200
_MOST_SCHEMAS = 20_000


def check(document: object, root: bool = True) -> None:
    """Refuses what is no schema, or uses a keyword that cannot be guaranteed.

    Raises:
        InvalidInput: Naming the place and the keyword.
    """
    pending: list[tuple[object, str, int]] = [(document, "#", 0)]
    for _ in range(_MOST_SCHEMAS):
        if not pending:
            return
        schema, place, depth = pending.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            raise InvalidInput(f"The schema at {place} must be an object, true or false.")
        if depth > _DEEPEST:
            raise InvalidInput(f"The schema is nested more than {_DEEPEST} deep; flatten it.")
        members = cast(dict[str, Any], schema)
        _check_keywords(members, place, root and place == "#")
        pending += [(part, f"{place}/{name}", depth + 1) for name, part in subschemas(members)]
    raise InvalidInput(f"The schema holds more than {_MOST_SCHEMAS} schemas; make it smaller.")


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly inside one, with their places."""
    for keyword in _ONE:
        if keyword in schema:
            yield keyword, schema[keyword]
    for keyword in _LIST:
        for index, part in enumerate(schema.get(keyword, ())):
            yield f"{keyword}/{index}", part
    for keyword in _MAPPING:
        for name, part in schema.get(keyword, {}).items():
            yield f"{keyword}/{name}", part


def _check_keywords(schema: dict[str, Any], place: str, is_root: bool) -> None:
    for keyword, value in schema.items():
        if keyword in _UNSERVED:
            raise InvalidInput(
                f"The schema's {keyword} at {place} is not supported, as an answer could not be "
                "guaranteed to keep to it; leave it out."
            )
        wanted = _SHAPES.get(keyword)
        if wanted is not None and not wanted[1](value):
            raise InvalidInput(f"The schema's {keyword} at {place} must be {wanted[0]}.")
    draft = schema.get("$schema")
    if draft is not None and (draft.rstrip("#") not in _DRAFTS or not is_root):
        raise InvalidInput(
            f"The schema's $schema at {place} is not supported; use draft 2020-12, and name it "
            "only at the root."
        )
    if draft is not None and draft.rstrip("#") != _DRAFTS[0] and "prefixItems" in str(schema):
        raise InvalidInput("prefixItems means nothing in the draft that $schema names: drop that.")
    if "$id" in schema and not is_root:
        raise InvalidInput(f"A nested $id (at {place}) is not supported; leave it out.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return _is_number(value) and cast(float, value) >= 0 and cast(float, value) % 1 == 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_names(value: object) -> bool:
    if not isinstance(value, list):
        return False
    names = cast(list[object], value)
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _is_type(value: object) -> bool:
    names = cast(list[object], value if isinstance(value, list) else [value])
    return bool(names) and _is_names(names) and set(names) <= set(TYPES)


def _is_names_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_names, cast(dict[str, Any], value).values()))


def _is_schemas(value: object) -> bool:
    return isinstance(value, list) and bool(cast(list[object], value))


def _is_multiple(value: object) -> bool:
    return _is_number(value) and cast(float, value) > 0 and cast(float, value) % 1 == 0


_NUMBER = ("a number", _is_number)
_COUNT = ("a whole number, 0 or more", _is_count)
_TEXT = ("a string", _is_text)
_FLAG = ("true or false", _is_flag)
_OF_SCHEMAS = ("an object of schemas", _is_mapping)
_SCHEMAS = ("a list of one or more schemas", _is_schemas)

_SHAPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "type": (f"one or more of {', '.join(TYPES)}", _is_type),
    "enum": ("a list", _is_list),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    # With 0.1 and the like, whether a double is a multiple depends on who rounds: 0.3 / 0.1 < 3.
    "multipleOf": ("a whole number above 0, the only ones that can be guaranteed", _is_multiple),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _COUNT),
    **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), _COUNT),
    **dict.fromkeys(("pattern", "format", "$ref", "$schema", "$id", "$anchor"), _TEXT),
    **dict.fromkeys(("$comment", "title", "description", "$dynamicAnchor"), _TEXT),
    **dict.fromkeys(("contentEncoding", "contentMediaType"), _TEXT),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _FLAG),
    "required": ("a list of different strings", _is_names),
    "dependentRequired": ("an object of lists of different strings", _is_names_by_name),
    "examples": ("a list", _is_list),
    "$vocabulary": ("an object", _is_mapping),
    **dict.fromkeys(_MAPPING, _OF_SCHEMAS),
    **dict.fromkeys(_LIST, _SCHEMAS),
}
