"""Reads a JSON Schema (draft 2020-12): at each place, the alternatives that may stand there.

Follows references, allOf, anyOf, oneOf, enum and const until each alternative is of one kind.
Rule: exact. oneOf is read as anyOf once its options are known to exclude each other; a schema for
which that is not known is refused.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, cast
from urllib.parse import unquote

from engine.decode.grammars.alternatives import (
    VALUES,
    Alternative,
    ArrayOf,
    Merging,
    ObjectOf,
    Place,
)
from engine.decode.grammars.formats import schemas_of
from engine.decode.grammars.keywords import CONSTRAINING, Schema, check
from engine.decode.grammars.patterns import Pattern
from engine.errors import InvalidInput

_MOST_CHOICES = 1_000
_MOST_COMPARISONS = 1_000
_MOST_OPTIONS = 100
_CIRCLE = "The schema's $ref leads back to itself; break the circle."


class SchemaReader:
    """One schema document."""

    def __init__(self, document: Schema, also: Schema, is_possible: Callable[[str], bool]) -> None:
        """Checks a document as a whole.

        Args:
            document: Parsed JSON.
            also: What the whole must satisfy besides.
            is_possible: Whether a grammar, given as text, has any text at all.

        Raises:
            InvalidInput: It is no schema, or not of the kind that can be guaranteed.
        """
        check(document)
        self._document = document
        self._is_possible = is_possible
        self._schemas: list[dict[str, Any]] = [{VALUES: ()}]  # The first is the schema false.
        self._numbers: dict[int, int] = {}
        self._options: dict[int, list[tuple[Place, ...]]] = {}
        self._found: dict[Place, tuple[Alternative, ...]] = {}
        self._satisfiable: dict[Place, bool] = {}
        self._comparisons: dict[str, bool] = {}
        self._straight: set[int] = set()
        """Schemas that do not lead back to themselves."""
        self._merging = Merging(self._place, self._is_found_in, self._is_of_format)
        self.root = self._place(document, also)

    def alternatives(self, place: Place) -> tuple[Alternative, ...]:
        """What may stand at a place; nothing if its schemas exclude each other.

        Raises:
            InvalidInput: There are too many combinations, or a keyword cannot be guaranteed.
        """
        if place not in self._found:
            self._refuse_circles(place)
            found: dict[Alternative, None] = {}
            for count, choice in enumerate(self._choices(place)):
                if count == _MOST_CHOICES:
                    raise InvalidInput(
                        f"The schema's anyOf, oneOf and allOf combine in more than {_MOST_CHOICES} "
                        "ways at one place; simplify it."
                    )
                schemas = [self._schemas[number] for number in choice] or [{}]
                found |= dict.fromkeys(self._merging.alternatives(schemas))
            self._found[place] = tuple(found)
        return self._found[place]

    def is_satisfiable(self, place: Place) -> bool:
        """False only if no value at all can stand at a place."""
        if place not in self._satisfiable:
            self._satisfiable[place] = True  # While that is found out: a value may hold its like.
            self._satisfiable[place] = any(map(self._may_exist, self.alternatives(place)))
        return self._satisfiable[place]

    def _may_exist(self, alternative: Alternative) -> bool:
        match alternative:
            case ArrayOf():
                needed = (*alternative.prefix, alternative.rest)[: alternative.least]
            case ObjectOf():
                needed = [
                    place for name, place in alternative.named if name in alternative.required
                ]
            case _:
                needed = []
        return all(map(self.is_satisfiable, needed))

    def _place(self, *schemas: Schema) -> Place:
        """The place where all of these hold; those that hold for any value are left out."""
        numbers = (self._number(self._followed(schema)) for schema in schemas)
        return tuple(dict.fromkeys(number for number in numbers if number is not None))

    def _followed(self, schema: Schema) -> Schema:
        """The schema itself or, if it is but a reference, what that leads to."""
        seen: set[int] = set()
        while isinstance(schema, dict) and schema.keys() & CONSTRAINING == {"$ref"}:
            if id(schema) in seen:
                raise InvalidInput(_CIRCLE)
            seen.add(id(schema))
            schema = self._target(schema["$ref"])
        return schema

    def _number(self, schema: Schema) -> int | None:
        if isinstance(schema, bool) or not schema.keys() & CONSTRAINING:
            return 0 if schema is False else None
        if id(schema) not in self._numbers:
            self._numbers[id(schema)] = len(self._schemas)
            self._schemas.append(schema)
        return self._numbers[id(schema)]

    def _choices(
        self, pending: Place, taken: Place = (), undecided: tuple[tuple[Place, ...], ...] = ()
    ) -> Iterator[Place]:
        """Each set of schemas that may hold together at a place, applicators followed."""
        waiting = list(pending)
        while waiting:
            number = waiting.pop(0)
            if number not in taken:
                taken += (number,)
                undecided += tuple(self._options_of(number))
                waiting[:0] = self._also(number)
        if not undecided:
            yield taken
            return
        for option in undecided[0]:
            yield from self._choices(option, taken, undecided[1:])

    def _also(self, number: int) -> Place:
        """Schemas that hold wherever this one does."""
        schema = self._schemas[number]
        target = [self._target(schema["$ref"])] if "$ref" in schema else []
        return self._place(*target, *schema.get("allOf", ()))

    def _options_of(self, number: int) -> list[tuple[Place, ...]]:
        """Sets of places of which one each holds wherever this schema does."""
        if number not in self._options:
            schema = self._schemas[number]
            options = [[(part,) for part in schema["anyOf"]]] if "anyOf" in schema else []
            if "oneOf" in schema:
                self._refuse_overlap(schema["oneOf"])
                options.append([(part,) for part in schema["oneOf"]])
            options += [[(part,) for part in _enumerated(values)] for values in _listed(schema)]
            options += [
                [({"properties": {name: False}},), ({"required": [name]}, then)]
                for name, then in _dependencies(schema)
            ]
            self._options[number] = [
                tuple(self._place(*cast(tuple[Schema], option)) for option in either)
                for either in options
            ]
        return self._options[number]

    def _refuse_overlap(self, options: Sequence[Schema]) -> None:
        if len(options) > _MOST_OPTIONS:
            raise InvalidInput(
                f"The schema's oneOf has {len(options)} options; more than {_MOST_OPTIONS} are not "
                "supported, use anyOf or enum."
            )
        for (first, a), (second, b) in combinations(enumerate(options), 2):
            if self.is_satisfiable(self._place(a, b)):
                raise InvalidInput(
                    f"The schema's oneOf cannot be guaranteed, as its options {first + 1} and "
                    f"{second + 1} may hold for the same value; use anyOf, or give each option a "
                    "required property with a const of its own."
                )

    def _refuse_circles(self, place: Place) -> None:
        """Refuses schemas that refer to themselves without going into a list or object."""
        path: list[tuple[int, Iterator[int]]] = [(-1, iter(place))]
        while path:
            number = next(path[-1][1], None)
            if number is None:
                self._straight.add(path.pop()[0])
                continue
            if number in self._straight:
                continue
            if any(number == above for above, _ in path):
                raise InvalidInput(_CIRCLE)
            schema = self._schemas[number]
            parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
            parts += schema.get("dependentSchemas", {}).values()
            nexts = (*self._also(number), *(n for part in parts for n in self._place(part)))
            path.append((number, iter(nexts)))

    def _target(self, reference: str) -> Schema:
        """The schema that a $ref points to."""
        if reference != "#" and not reference.startswith("#/"):
            raise InvalidInput(
                f"The schema's $ref {reference[:80]!r} is not supported; point inside the schema, "
                "as in #/$defs/name."
            )
        target: Any = self._document
        for part in unquote(reference).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                target = _member(target, part)
            except (LookupError, TypeError, ValueError) as error:
                raise InvalidInput(
                    f"The schema's $ref {reference[:80]!r} points to nothing; correct it."
                ) from error
        if id(target) not in self._numbers:
            check(target, root=target is self._document)
        return cast(Schema, target)

    def _is_found_in(self, pattern: str, text: str) -> bool:
        """Whether a pattern is found in a text; by a machine that no pattern can stall."""
        searched = f"/{Pattern.read(pattern).somewhere}/ & {json.dumps(text)}"
        return self._compared(f"start: T\nT: {searched}")

    def _is_of_format(self, name: str, text: str) -> bool:
        schema = {"type": "string", "allOf": schemas_of(name), "const": text}
        return self._compared(f"start: %json {json.dumps(schema)}")

    def _compared(self, grammar: str) -> bool:
        if grammar not in self._comparisons:
            if len(self._comparisons) >= _MOST_COMPARISONS:
                raise InvalidInput(
                    "The schema compares too many names or values with patterns; simplify it."
                )
            self._comparisons[grammar] = self._is_possible(grammar)
        return self._comparisons[grammar]


def _member(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return cast(list[Any], value)[int(name)]
    return value[name]


def _listed(schema: dict[str, Any]) -> list[list[Any]]:
    const = [[schema["const"]]] if "const" in schema else []
    return [*const, schema["enum"]] if "enum" in schema else const


def _enumerated(values: list[Any]) -> list[Schema]:
    """Schemas of which one holds for each of the values and for no other."""
    scalars = tuple(value for value in values if not isinstance(value, list | dict))
    parts: list[Schema] = [{VALUES: scalars}] if scalars or not values else []
    for value in values:
        if isinstance(value, list):
            items = cast(list[Any], value)
            parts.append(
                {
                    "type": "array",
                    **({"prefixItems": [{"const": item} for item in items]} if items else {}),
                    "minItems": len(items),
                    "maxItems": len(items),
                }
            )
        elif isinstance(value, dict):
            members = cast(dict[str, Any], value)
            parts.append(
                {
                    "type": "object",
                    "properties": {name: {"const": member} for name, member in members.items()},
                    "required": list(members),
                    "additionalProperties": False,
                }
            )
    return parts


def _dependencies(schema: dict[str, Any]) -> list[tuple[str, Schema]]:
    """What must hold as well where a member of a name is there."""
    required = schema.get("dependentRequired", {})
    return [
        *((name, {"required": names}) for name, names in required.items()),
        *schema.get("dependentSchemas", {}).items(),
    ]
