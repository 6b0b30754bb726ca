"""JSON texts that a schema allows, as rules of a grammar in llguidance's Lark dialect.

Rule: every text of the grammar parses and satisfies the schema; not every text that does is in the
grammar. Narrower than the schema, so that answers end and no two programs read them differently:
at most one space after a comma or colon, numbers without exponents, nothing nested too deep, and an
object with known names has no others unless the schema mentions others.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from engine.decode.grammars.alternatives import (
    Alternative,
    ArrayOf,
    ObjectOf,
    Place,
    String,
    Values,
    identity,
)
from engine.decode.grammars.formats import SAMPLES, schemas_of
from engine.decode.grammars.keywords import Schema
from engine.decode.grammars.numbers import GREATEST, Range
from engine.decode.grammars.patterns import Pattern
from engine.decode.grammars.schema import SchemaReader
from engine.decode.grammars.sequences import Counts, Item, Sequences, Written
from engine.errors import InvalidInput

# How deep lists and objects may be nested: if the schema says how they look, the first for which
# the grammar does not become too large; and if it does not.
_DEPTHS = (32, 12, 5)
_FREE_DEPTH = 8

# Each remainder is a state of the lexer: with 10,000 the first tokens of a number take 7 ms.
_GREATEST_MULTIPLE = 10_000
_MOST_RULES, _MOST_PLACES = 8_000, 2_000

# Counts above this are beyond any answer: a greater maximum is read as this one.
_MOST_COUNT = 4_096

_CHARACTER = r'(?:[^"\\\x00-\x1F\x7F]|\\["\\bfnrt])'
_PLAIN = r'/"[^"\\\x00-\x1F\x7F]*"/'
_STRING = f'/"{_CHARACTER}*"/'

_LEAF = {"whitespace_flexible": False, "json_allowed_escapes": 'nrbtf\\"'}
_LEAF_SIZE = 40
"""Characters that a string with a pattern or format is reckoned to need."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the grammar by its name."""

    name: str
    size: int
    """Characters of about its shortest text."""


class _TooLarge(Exception):
    """The rules exceed their limit at this depth."""


class JsonText:
    """Writes rules for JSON texts; several schemas may share one grammar."""

    def __init__(self, is_possible: Callable[[str], bool]) -> None:
        """Starts a grammar.

        Args:
            is_possible: Whether a grammar, given as text, has any text at all.
        """
        self.is_possible = cache(is_possible)
        self._rules: dict[tuple[str, str], str] = {}
        """Names by what they stand for: what is written twice is one rule."""
        self.has_free_names = False
        """Whether an object may have names that the grammar alone does not keep different."""
        self.hints: dict[str, None] = {}
        """Short texts that satisfy the patterns and formats, as they stand in JSON."""
        self.largest = 0
        """Characters of the largest of all shortest texts."""

    @property
    def rules(self) -> str:
        """All rules, for a grammar that has a start."""
        return "\n".join(f"{name}{kind[1:]}: {body}" for (body, kind), name in self._rules.items())

    def add(self, document: Schema, also: Schema = True) -> Rule:
        """Adds rules for a schema and returns the topmost.

        Args:
            document: The schema.
            also: Another that the whole must satisfy.

        Raises:
            InvalidInput: It is no schema, cannot be guaranteed, or no text satisfies it.
        """
        reader = SchemaReader(document, also, self.is_possible)
        for depth in _DEPTHS:
            kept = len(self._rules)
            try:
                rule = _Places(self, reader, kept + _MOST_RULES).rule(reader.root, depth)
            except _TooLarge:
                self._rules = dict(list(self._rules.items())[:kept])
                continue
            if rule is None:
                raise InvalidInput(
                    "No answer can satisfy the schema: its parts contradict each other, or every "
                    f"value would be nested more than {depth} deep; correct it."
                )
            return rule
        raise InvalidInput("The schema makes too large a grammar; simplify it.")

    def define(
        self, body: str, is_terminal: bool = False, options: str = "", limit: int | None = None
    ) -> str:
        """The name of a rule, or of a terminal, that stands for this."""
        prefix = "T" if is_terminal else "r"
        if (body, prefix + options) not in self._rules:
            if limit is not None and len(self._rules) >= limit:
                raise _TooLarge
            self._rules[body, prefix + options] = f"{prefix}{len(self._rules)}"
        return self._rules[body, prefix + options]


class _Places:
    """Writes the rules of one schema's places."""

    def __init__(self, grammar: JsonText, reader: SchemaReader, limit: int) -> None:
        self._grammar = grammar
        self._reader = reader
        self._limit = limit
        self._written: dict[tuple[Place, int], Rule | None] = {}
        self._sequences = Sequences(self._rule, self._terminal("/, ?/"))

    def rule(self, place: Place, depth: int) -> Rule | None:
        """The rule for a place whose lists and objects may be nested so deep; None: nothing fits.

        Raises:
            InvalidInput: What stands there cannot be guaranteed.
        """
        depth = depth if place else min(depth, _FREE_DEPTH)
        if (place, depth) not in self._written:
            if len(self._written) >= _MOST_PLACES:
                raise _TooLarge
            texts = dict(
                text
                for alternative in self._reader.alternatives(place)
                for text in self._texts(alternative, depth)
            )
            rule = Rule(self._rule(" | ".join(texts)), min(texts.values())) if texts else None
            self._written[place, depth] = rule
            self._grammar.largest = max(self._grammar.largest, *texts.values(), 0)
        return self._written[place, depth]

    def _texts(self, alternative: Alternative, depth: int) -> list[Written]:
        """The ways to write an alternative; none if there is no text for it."""
        match alternative:
            case Values():
                literals = " | ".join(map(json.dumps, alternative.texts))
                return [(self._terminal(literals), min(map(len, alternative.texts)))]
            case Range():
                return self._numbers(alternative)
            case String():
                return self._strings(alternative)
            case ArrayOf():
                written = self._items(alternative, depth - 1) if depth else []
                return [(f'"[" {text} "]"', size + 2) for text, size in written]
            case ObjectOf():
                written = self._members(alternative, depth - 1) if depth else []
                return [(f'"{{" {text} "}}"', size + 2) for text, size in written]

    def _numbers(self, numbers: Range) -> list[Written]:
        written = numbers.written()
        if written is None:
            return []
        if written.multiple == 1:
            terminal = self._terminal(" & ".join(f"/{p}/" for p in written.pattern()))
            return [(terminal, 1)]
        bounds = int(written.low or 0), int(written.high or 0)
        if written.multiple > _GREATEST_MULTIPLE or max(map(abs, bounds)) > GREATEST:
            raise InvalidInput(
                f"The schema's multipleOf is supported up to {_GREATEST_MULTIPLE}, and for numbers "
                "of up to 15 digits; leave it out."
            )
        keywords = {"multipleOf": written.multiple, "minimum": bounds[0], "maximum": bounds[1]}
        return [(self._rule(_leaf({"type": "integer", **keywords})), 1)]

    def _strings(self, strings: String) -> list[Written]:
        counts = _counts(strings.least, strings.most, "characters")
        limits = f"{{{counts.least},{'' if counts.most is None else counts.most}}}"
        bounded = counts != Counts()
        formats = [part for name in strings.formats for part in schemas_of(name)]
        if not formats and not strings.patterns:
            text = f'/"{_CHARACTER}{limits}"/' if bounded else _STRING
            return [(self._terminal(text), 2 + counts.least)]
        patterns = [{"pattern": _anchored(pattern)} for pattern in strings.patterns]
        lengths = [{"pattern": f"^(?s:.{limits})$"}] if bounded else []
        leaf = _leaf({"type": "string", "allOf": [*patterns, *formats, *lengths]})
        exists = self._grammar.is_possible(f"start: {leaf}")
        self._hint(SAMPLES[name] for name in strings.formats if name in SAMPLES)
        self._hint(text for p in strings.patterns for text in Pattern.read(p).samples)
        return [(self._rule(leaf), _LEAF_SIZE + counts.least)] if exists else []

    def _items(self, array: ArrayOf, depth: int) -> list[Written]:
        counts = _counts(array.least, array.most, "items")
        if array.unique and counts.most not in (0, 1):
            return self._set(array, counts)
        prefix: list[Item] = []
        for place in array.prefix[: counts.most]:
            rule = self.rule(place, depth)
            if rule is None:
                counts = Counts(counts.least, len(prefix))
                break
            prefix.append(Item(rule.name, rule.size, len(prefix) < counts.least))
        rest = None if counts.most == len(prefix) else self.rule(array.rest, depth)
        if rest is None and counts.least > len(prefix):
            return []
        tail = rest and Item(rest.name, rest.size)
        return [self._sequences.from_the_left(prefix, tail, counts.without(len(prefix)))]

    def _set(self, array: ArrayOf, counts: Counts) -> list[Written]:
        """A list without equal items: some of the values listed, in their order."""
        found = self._reader.alternatives(array.rest)
        listed = [alternative for alternative in found if isinstance(alternative, Values)]
        if array.prefix or len(listed) != len(found):
            raise InvalidInput(
                "The schema's uniqueItems cannot be guaranteed unless items has an enum; leave "
                "it out or list the values."
            )
        texts = {identity(json.loads(t)): t for values in listed for t in values.texts}
        items = [Item(self._terminal(json.dumps(text)), len(text)) for text in texts.values()]
        written = self._sequences.some_of(items, counts)
        return [written] if written else []

    def _members(self, members: ObjectOf, depth: int) -> list[Written]:
        items: list[Item] = []
        for name, place in members.named:
            rule, needed = self.rule(place, depth), name in members.required
            if rule is not None:
                items.append(self._member(_literal(name), rule, needed, len(json.dumps(name)) + 1))
            elif needed:
                return []
        single, many = self._free(members, depth, len(items))
        items += single
        tail = Item(self._rule(" | ".join(m.text for m in many)), many[0].size) if many else None
        self._grammar.has_free_names |= bool(many)
        return self._sequences.counted(items, tail, Counts(members.least, members.most))

    def _free(self, members: ObjectOf, depth: int, known: int) -> tuple[list[Item], list[Item]]:
        """Members under other names: those there can be one of, and those without end."""
        single: list[Item] = []
        many: list[Item] = []
        taken = [_literal(name) for name, _ in members.named]
        patterns = [Pattern.read(source) for source, _ in members.by_pattern]
        searches = [f'/"(?:{pattern.somewhere})"/' for pattern in patterns]
        for index, (_, place) in enumerate(members.by_pattern):
            others = [*searches[:index], *searches[index + 1 :], *taken]
            endless = patterns[index].extends and len(patterns) == 1
            self._hint(patterns[index].samples)
            item = self._free_member([_PLAIN, searches[index]], others, place, depth)
            (many if endless else single).extend(item)
        if not members.is_closed or (members.least > known + len(single) and not many):
            names = [_PLAIN] if patterns else [_STRING]
            item = self._free_member(names, [*searches, *taken], members.others, depth)
            (single if patterns else many).extend(item)
        return single, many

    def _free_member(
        self, names: Sequence[str], but: Sequence[str], place: Place, depth: int
    ) -> list[Item]:
        """A member whose name is among some and not among others; nothing if there is none."""
        rule = self.rule(place, depth)
        text = " & ".join([*names, *([f"~({' | '.join(but)})"] if but else [])])
        if rule is None or not self._grammar.is_possible(f"start: T\nT: {text}"):
            return []
        return [self._member(self._terminal(text), rule, False, 5)]

    def _hint(self, samples: Iterable[str]) -> None:
        texts = (json.dumps(text, ensure_ascii=False)[1:] for text in samples)
        self._grammar.hints |= dict.fromkeys(texts)

    def _member(self, name: str, value: Rule, needed: bool, size: int) -> Item:
        return Item(f"{name} {self._terminal('/: ?/')} {value.name}", size + value.size, needed)

    def _rule(self, body: str) -> str:
        return self._grammar.define(body, limit=self._limit)

    def _terminal(self, body: str) -> str:
        return self._grammar.define(body, is_terminal=True, limit=self._limit)


def _counts(least: int, most: int | None, what: str) -> Counts:
    if least > _MOST_COUNT:
        raise InvalidInput(
            f"The schema demands {least} {what}; at most {_MOST_COUNT} can be demanded."
        )
    return Counts(least, None if most is None else min(most, _MOST_COUNT))


def _leaf(schema: dict[str, object]) -> str:
    """What makes llguidance itself write a schema."""
    return f"%json {json.dumps({**schema, 'x-guidance': _LEAF})}"


def _anchored(pattern: str) -> str:
    return f"^(?:{Pattern.read(pattern).somewhere})$"


def _literal(name: str) -> str:
    """A terminal for the JSON text of a string."""
    return json.dumps(json.dumps(name, ensure_ascii=False))
