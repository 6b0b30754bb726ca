"""What may stand at one place of a JSON text: values, a number, a string, a list or an object.

Merges schemas that all hold at a place, applicators already followed, into one alternative a kind.
Rule: exact, neither wider nor narrower than the schemas; a kind that nothing satisfies is left out.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from math import lcm
from typing import Any

from engine.decode.grammars.keywords import TYPES, Schema
from engine.decode.grammars.numbers import Range

Place = tuple[int, ...]
"""Numbers of the schemas that hold together at a place; none: anything may stand there."""

VALUES = "\0values"
"""A keyword of our own: one of these values, none of them a list or an object."""

# From here on doubles are whole numbers, and whole numbers are compared with them exactly.
_EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class Values:
    """One of these texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class String:
    """A string; lengths in characters."""

    least: int
    most: int | None
    patterns: tuple[str, ...]
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """A list."""

    prefix: tuple[Place, ...]
    rest: Place
    least: int
    most: int | None
    unique: bool


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object."""

    named: tuple[tuple[str, Place], ...]
    """What the names hold that the schemas know, in their order."""
    required: frozenset[str]
    by_pattern: tuple[tuple[str, Place], ...]
    """What other names hold that match one of these patterns and no other."""
    others: Place
    """What names hold that are neither known nor match a pattern."""
    is_closed: bool
    """Whether the schemas list names and say nothing about others: others may be, but need not."""
    least: int
    most: int | None


Alternative = Values | Range | String | ArrayOf | ObjectOf


@dataclass(frozen=True, slots=True)
class Merging:
    """What merging needs to know of the schema as a whole."""

    place: Callable[..., Place]
    """Gives the place where all the schemas given hold."""
    matches: Callable[[str, str], bool]
    """Whether a pattern is found in a text."""
    is_of_format: Callable[[str, str], bool]
    """Whether a text is of a format."""

    def alternatives(self, schemas: Sequence[dict[str, Any]]) -> list[Alternative]:
        """One alternative for each kind of value that satisfies all schemas."""
        kinds = _kinds(schemas)
        numbers, strings = _range(schemas, "integer" not in kinds), _string(schemas)
        if any(VALUES in schema for schema in schemas):
            values = self._values(schemas, kinds, numbers, strings)
            return [Values(values)] if values else []
        found: list[Alternative] = []
        found += [Values(("null",))] if "null" in kinds else []
        found += [Values(("true", "false"))] if "boolean" in kinds else []
        found += [numbers] if "number" in kinds and not numbers.is_empty else []
        found += [strings] if "string" in kinds and _in_order(strings) else []
        if "array" in kinds and _in_order(array := self._array(schemas)):
            found.append(array)
        if "object" in kinds and _in_order(members := self._object(schemas)):
            found.append(members)
        return found

    def _values(
        self, schemas: Sequence[dict[str, Any]], kinds: set[str], numbers: Range, strings: String
    ) -> tuple[str, ...]:
        """The scalars that all schemas list, as far as they satisfy the rest."""

        def fits(value: object) -> bool:
            match value:
                case None:
                    return "null" in kinds
                case bool():
                    return "boolean" in kinds
                case int() | float():
                    return "number" in kinds and numbers.holds(decimal(value))
                case _:
                    return "string" in kinds and self._fits(str(value), strings)

        lists = [schema[VALUES] for schema in schemas if VALUES in schema]
        common = set[object].intersection(*(set(map(identity, values)) for values in lists))
        kept = {identity(v): v for v in lists[0] if identity(v) in common and fits(v)}
        return tuple(json.dumps(value, ensure_ascii=False) for value in kept.values())

    def _fits(self, text: str, strings: String) -> bool:
        return (
            strings.least <= len(text)
            and (strings.most is None or len(text) <= strings.most)
            and all(self.matches(pattern, text) for pattern in strings.patterns)
            and all(self.is_of_format(name, text) for name in strings.formats)
        )

    def _array(self, schemas: Sequence[dict[str, Any]]) -> ArrayOf:
        length = max(len(schema.get("prefixItems", ())) for schema in schemas)
        return ArrayOf(
            tuple(self.place(*_at(schemas, index)) for index in range(length)),
            self.place(*_at(schemas, length)),
            _greatest(schemas, "minItems"),
            _least(schemas, "maxItems"),
            any(schema.get("uniqueItems", False) for schema in schemas),
        )

    def _object(self, schemas: Sequence[dict[str, Any]]) -> ObjectOf:
        required = list(chain.from_iterable(schema.get("required", ()) for schema in schemas))
        known = chain.from_iterable(schema.get("properties", {}) for schema in schemas)
        patterns = chain.from_iterable(schema.get("patternProperties", {}) for schema in schemas)
        return ObjectOf(
            tuple(
                (name, self.place(*chain.from_iterable(self._named(s, name) for s in schemas)))
                for name in dict.fromkeys([*known, *required])
            ),
            frozenset(required),
            tuple(
                (pattern, self.place(*(_by_pattern(schema, pattern) for schema in schemas)))
                for pattern in dict.fromkeys(patterns)
            ),
            self.place(*(schema.get("additionalProperties", True) for schema in schemas)),
            all("additionalProperties" not in schema for schema in schemas)
            and any({"properties", "patternProperties"} & schema.keys() for schema in schemas),
            max(_greatest(schemas, "minProperties"), len(set(required))),
            _least(schemas, "maxProperties"),
        )

    def _named(self, schema: dict[str, Any], name: str) -> list[Schema]:
        """What one schema says of a member of this name."""
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        found = [properties[name]] if name in properties else []
        found += [patterns[pattern] for pattern in patterns if self.matches(pattern, name)]
        return found or [schema.get("additionalProperties", True)]


def decimal(number: int | float) -> Decimal:
    """A number as a decimal: a double by its shortest digits, as far as it may have fractions."""
    if isinstance(number, float) and abs(number) < _EXACT:
        return Decimal(repr(number))
    return Decimal(number)


def identity(value: object) -> object:
    """Equal for values that are equal in JSON, where 1 is 1.0 but not true."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return decimal(value)
    return type(value), value


def _kinds(schemas: Iterable[dict[str, Any]]) -> set[str]:
    """The types that all schemas allow; "integer" stands beside "number" where any number does."""
    kinds = set[str](TYPES)
    for schema in schemas:
        wanted = schema.get("type", TYPES)
        allowed = {wanted} if isinstance(wanted, str) else set(wanted)
        if "number" in allowed:
            allowed.add("integer")
        if "integer" in allowed and "number" not in allowed:
            kinds.discard("integer")
            allowed.add("number")
        kinds &= allowed
    return kinds


def _range(schemas: Iterable[dict[str, Any]], whole: bool) -> Range:
    bounds = {
        name: [decimal(schema[keyword]) for schema in schemas if keyword in schema]
        for name, keyword in (
            ("low", "minimum"),
            ("high", "maximum"),
            ("above", "exclusiveMinimum"),
            ("below", "exclusiveMaximum"),
        )
    }
    return Range(
        low=max(bounds["low"], default=None),
        high=min(bounds["high"], default=None),
        above=max(bounds["above"], default=None),
        below=min(bounds["below"], default=None),
        whole=whole or any("multipleOf" in schema for schema in schemas),
        multiple=lcm(*(int(schema["multipleOf"]) for schema in schemas if "multipleOf" in schema)),
    )


def _string(schemas: Iterable[dict[str, Any]]) -> String:
    return String(
        _greatest(schemas, "minLength"),
        _least(schemas, "maxLength"),
        tuple(dict.fromkeys(schema["pattern"] for schema in schemas if "pattern" in schema)),
        tuple(dict.fromkeys(schema["format"] for schema in schemas if "format" in schema)),
    )


def _at(schemas: Iterable[dict[str, Any]], index: int) -> list[Schema]:
    """What the schemas say of a list's item at this index."""
    return [
        prefix[index] if index < len(prefix) else schema.get("items", True)
        for schema in schemas
        for prefix in [schema.get("prefixItems", ())]
    ]


def _by_pattern(schema: dict[str, Any], pattern: str) -> Schema:
    by_pattern = schema.get("patternProperties", {})
    return by_pattern.get(pattern, schema.get("additionalProperties", True))


def _in_order(counted: String | ArrayOf | ObjectOf) -> bool:
    return counted.most is None or counted.least <= counted.most


def _greatest(schemas: Iterable[dict[str, Any]], keyword: str) -> int:
    return max((int(schema[keyword]) for schema in schemas if keyword in schema), default=0)


def _least(schemas: Iterable[dict[str, Any]], keyword: str) -> int | None:
    return min((int(schema[keyword]) for schema in schemas if keyword in schema), default=None)
