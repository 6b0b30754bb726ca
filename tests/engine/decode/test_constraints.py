"""Which tokens a form lets through, how answers end, and which forms are refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls_in_text import parse_tool_calls, text_before_calls
from random_answers import Chance, check_json, drive
from tiny_models import byte_tokenizer, phi3_like_tokenizer

from engine.decode.constraints import Constraint
from engine.decode.output_forms import Choices, JsonSchema, OutputForm, Regex, ToolCalls
from engine.decode.tool_turns import tools_prompt
from engine.errors import InvalidInput
from engine.text.tokenizer import Tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age"],
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather somewhere.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer"}},
            "required": ["city"],
            "$defs": {"city": {"type": "string", "maxLength": 20}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
ADDRESS = {"type": "object", "properties": {"zip": {"type": "string", "pattern": r"^\d{5}$"}}}
USER = {
    "$defs": {"Address": ADDRESS | {"required": ["zip"]}},
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 150}, {"type": "null"}]},
        "mail": {"type": "string", "format": "email"},
        "born": {"type": "string", "format": "date"},
        "seen": {"type": "string", "format": "date-time"},
        "color": {"enum": ["red", "blue"]},
        "kind": {"const": "person", "default": "person"},
        "home": {"$ref": "#/$defs/Address"},
        "marks": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "required": ["id", "name", "age", "mail", "born", "seen", "color", "kind", "home"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
        }
    },
    "$ref": "#/$defs/Node",
}
PET = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}, kind: {"type": "boolean"}},
            "required": ["kind", kind],
        }
        for kind in ("cat", "dog")
    ]
}
RECORD = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "propertyNames": {"type": "string"},
    "additionalProperties": {"type": "integer", "maximum": 2**63 - 1},
}
TUPLE = {
    "$schema": DRAFT_7,
    "type": "array",
    "items": [{"type": "string"}, {"type": "number"}],
    "minItems": 2,
}
STOP = 2


@pytest.fixture(scope="module")
def chance() -> Chance:
    return Chance(Tokenizer(byte_tokenizer(), "tokenizer.json"), [0, STOP])


@pytest.fixture(scope="module")
def phi3_chance() -> Chance:
    tokenizer = Tokenizer(phi3_like_tokenizer(), "tokenizer.json")
    stops = [tokenizer.token_id(text) for text in ("<|end|>", "<|endoftext|>")]
    return Chance(tokenizer, [stop for stop in stops if stop is not None])


@pytest.fixture(scope="module")
def smollm2_chance(smollm2_folder: Path) -> Chance:
    return Chance(Tokenizer.open(smollm2_folder / "tokenizer.json"), [0, 2])


@pytest.fixture(params=["chance", "phi3_chance", "smollm2_chance"])
def each_chance(request: pytest.FixtureRequest) -> Chance:
    return request.getfixturevalue(request.param)


def _allowed(chance: Chance, constraint: Constraint, remaining: int = 1_000) -> set[int]:
    kept = constraint.apply(np.zeros(chance.size, np.float32), remaining)
    return set(np.flatnonzero(np.isfinite(kept)).tolist())


def _after(chance: Chance, form: OutputForm, text: str) -> Constraint:
    constraint = chance.constraints.start(form)
    for token in chance.tokenizer.encode_parts([text]):
        assert token in _allowed(chance, constraint), text
        constraint.accept(token)
    return constraint


def _texts(chance: Chance, tokens: set[int]) -> set[str]:
    return {chance.tokenizer.decode([token]) for token in tokens}


# How answers end.


def test_only_a_stop_token_may_follow_what_can_only_end(chance: Chance) -> None:
    constraint = _after(chance, Choices(("yes", "no")), "no")
    assert constraint.is_complete
    assert constraint.is_finished
    assert _allowed(chance, constraint) == {0, STOP}


def test_a_stop_token_or_more_may_follow_what_may_go_on(chance: Chance) -> None:
    constraint = _after(chance, Choices(("in", "inner")), "in")
    assert constraint.is_complete
    assert not constraint.is_finished
    assert _allowed(chance, constraint) >= {0, STOP}
    assert _texts(chance, _allowed(chance, constraint) - {0, STOP}) == {"n"}


def test_no_stop_token_may_follow_what_is_not_complete(chance: Chance) -> None:
    constraint = _after(chance, JsonSchema(PERSON), '{"name"')
    assert not constraint.is_complete
    assert _texts(chance, _allowed(chance, constraint)) == {":"}


def test_after_a_stop_token_the_answer_is_finished(chance: Chance) -> None:
    constraint = _after(chance, Choices(("in", "inner")), "in")
    constraint.accept(STOP)
    assert constraint.is_complete
    assert constraint.is_finished


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        {"type": "array", "items": PERSON},
        {"type": "array", "items": PERSON, "minItems": 2},
        {"type": "object", "additionalProperties": {"type": "array", "items": PERSON}},
        {"type": "object", "patternProperties": {"^[ab]+$": {"type": "string", "minLength": 9}}},
        {"type": "string", "pattern": r"^[a-z]+@[a-z]+\.(com|org)$"},
        {"type": "string", "pattern": r"\.json$"},
        {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"x": {"$ref": "#"}}}]},
        {"type": "array", "items": {"type": "string", "format": "uuid"}},
        True,
    ],
)
def test_an_answer_ends_in_time_if_there_is_time_for_any(
    each_chance: Chance, schema: dict[str, Any]
) -> None:
    draws = np.random.default_rng(7)
    needs = each_chance.constraints.start(JsonSchema(schema)).needs
    for limit in range(needs, needs + 40, 9):
        constraint = each_chance.constraints.start(JsonSchema(schema))
        text = each_chance.answer(constraint, limit, draws)
        assert constraint.is_complete, text
        check_json(text, schema)


def test_far_from_the_end_of_its_tokens_an_answer_may_take_any_way(chance: Chance) -> None:
    constraint = _after(chance, JsonSchema(PERSON), '{"name": "')
    assert len(_allowed(chance, constraint, 200)) > 100
    assert len(_allowed(chance, constraint, 14)) <= 2


def test_an_answer_is_not_complete_where_there_is_no_time_for_any(chance: Chance) -> None:
    constraint = chance.constraints.start(JsonSchema(PERSON))
    assert constraint.needs == len('{"name":"0","age":0}')
    chance.answer(constraint, constraint.needs - 1, np.random.default_rng(1))
    assert not constraint.is_complete


# Tokens.


def test_control_tokens_and_unknown_ids_never_follow(each_chance: Chance) -> None:
    known = each_chance.tokenizer.vocabulary_size
    never = each_chance.tokenizer.control_ids - each_chance.stops
    for form in (JsonSchema({"type": "string"}), Regex("(.|\n)*"), ToolCalls((CLOCK,))):
        constraint = each_chance.constraints.start(form)
        for _ in range(20):
            allowed = _allowed(each_chance, constraint)
            assert not allowed & never
            assert max(allowed) < known
            constraint.accept(max(allowed - each_chance.stops))


def test_logits_may_be_shorter_than_the_vocabulary(chance: Chance) -> None:
    constraint = chance.constraints.start(JsonSchema(PERSON))
    logits = np.zeros(chance.tokenizer.vocabulary_size, np.float32)
    kept = constraint.apply(logits, 99)
    assert kept.shape == logits.shape
    assert not logits.any()


def test_an_answer_that_the_tokenizer_begins_with_a_space_is_shown_without(
    phi3_chance: Chance,
) -> None:
    draws = np.random.default_rng(3)
    tokenizer = phi3_chance.tokenizer
    (space,) = [tokenizer.token_id("▁")]
    assert space in _allowed(phi3_chance, phi3_chance.constraints.start(JsonSchema(PERSON)))
    for _ in range(20):
        assert drive(phi3_chance, PERSON, 90, draws)
        choice = phi3_chance.constraints.start(Choices((" hi", "Hi", "  the")))
        assert phi3_chance.answer(choice, 20, draws) in (" hi", "Hi", "  the")


def test_one_space_at_most_follows_a_comma_or_colon(chance: Chance) -> None:
    constraint = _after(chance, JsonSchema(PERSON), '{"name": ')
    assert _texts(chance, _allowed(chance, constraint)) == {'"'}
    start = chance.constraints.start(JsonSchema(PERSON))
    assert _texts(chance, _allowed(chance, start)) == {"{"}


# Patterns, choices, formats.


@pytest.mark.parametrize(
    "pattern",
    [
        "[a-z]+@[a-z]+\\.(com|org)",
        "^\\d{4}-\\d{2}$",
        "\\W\\D\\S[^\\w][^\\d\\s]",
        "[\\W\\d]{2}[^\\W]{2}[^\\D]",
        "a|bc|^d$",
        "(?:x/y)*\\/\\\\[/\\]^-]",
        ".{3,5}",
        "[^a]?é{2}\\x41\\u4e2d",
        "(yes|no)( maybe)?",
        "[\\s\\S]{4}",
        "a+?b*?c??",
        "[a\\-z][+-.][.-]",
    ],
)
def test_an_answer_matches_its_pattern_as_python_reads_it(
    each_chance: Chance, pattern: str
) -> None:
    draws = np.random.default_rng(5)
    for _ in range(8):
        constraint = each_chance.constraints.start(Regex(pattern))
        text = each_chance.answer(constraint, constraint.needs + 12, draws)
        assert constraint.is_complete
        assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize(
    "format_",
    ["date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"],
)
def test_a_format_is_kept(chance: Chance, format_: str) -> None:
    draws = np.random.default_rng(13)
    for _ in range(25):
        assert drive(chance, {"type": "string", "format": format_}, 60, draws)


def test_a_format_that_the_standard_does_not_know_says_nothing(chance: Chance) -> None:
    assert drive(chance, {"type": "string", "format": "int33"}, 40, np.random.default_rng(1))


def test_the_answer_is_one_of_the_choices(each_chance: Chance) -> None:
    texts = ("yes", "no", "not yet", 'quo"te\n', "é中")
    draws = np.random.default_rng(17)
    answers = {
        each_chance.answer(each_chance.constraints.start(Choices(texts)), 30, draws)
        for _ in range(60)
    }
    assert answers <= set(texts)
    assert len(answers) >= 3


def test_thousands_of_choices_are_no_more_trouble(chance: Chance) -> None:
    form = Choices(tuple(f"choice {number}" for number in range(5_000)))
    constraint = chance.constraints.start(form)
    text = chance.answer(constraint, 30, np.random.default_rng(1))
    assert text in form.texts


# Tool calls.


@pytest.mark.parametrize("choice", ["auto", "required", "get_weather", "clock"])
def test_tool_calls_can_be_read_and_keep_to_their_schemas(each_chance: Chance, choice: str) -> None:
    form = ToolCalls((WEATHER, CLOCK), choice)
    draws = np.random.default_rng(19)
    for limit in (60, 120, 250):
        constraint = each_chance.constraints.start(form)
        text = each_chance.answer(constraint, max(limit, constraint.needs), draws)
        assert constraint.is_complete, text
        calls = parse_tool_calls(text)
        assert calls or choice == "auto"
        assert text_before_calls(text).strip() == "" or choice == "auto"
        if choice not in ("auto", "required"):
            assert [call.name for call in calls] == [choice]
        for call in calls:
            tool = next(tool for tool in form.functions if tool.name == call.name)
            check_json(call.arguments_json, tool.parameters)


def test_text_and_then_calls_may_be_the_answer(chance: Chance) -> None:
    form = ToolCalls((WEATHER, CLOCK))
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call>"}}</tool_call>'
    other = '<tool_call>{"name":"clock","arguments":{}}</tool_call>'
    text = f"I < look: {call}{other}"
    constraint = _after(chance, form, text)
    assert constraint.is_complete
    calls = parse_tool_calls(text)
    assert [(c.name, json.loads(c.arguments_json)) for c in calls] == [
        ("get_weather", {"city": "</tool_call>"}),
        ("clock", {}),
    ]
    assert text_before_calls(text) == "I < look: "
    begun = _after(chance, form, 'No. <tool_call>{"name": "')
    assert _texts(chance, _allowed(chance, begun)) == {"g", "c"}


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_one_call_alone_may_be_asked_for_and_of_some_tools(chance: Chance, choice: str) -> None:
    form = ToolCalls((WEATHER, CLOCK), choice, allowed=("clock",), parallel=False)
    constraint = _after(chance, form, '<tool_call>{"name":"clock","arguments":{}}</tool_call>')
    assert constraint.is_finished
    begun = _after(chance, form, '<tool_call>{"name": "')
    assert _texts(chance, _allowed(chance, begun)) == {"c"}


def test_the_prompt_names_each_tool_with_its_schema() -> None:
    prompt = tools_prompt(ToolCalls((WEATHER, CLOCK)).functions)
    assert '"name": "get_weather", "description": "The weather somewhere."' in prompt
    assert '{"name": "clock", "description": "", "parameters": {"type": "object"' in prompt
    assert "<tool_call>" in prompt


@pytest.mark.parametrize(
    ("tools", "choice", "said"),
    [
        ((), "auto", "Give 1 to 128 tools"),
        ((CLOCK, CLOCK), "auto", "a name of its own"),
        ((CLOCK,), "any", "tool_choice must be auto, required or one of clock, but is 'any'"),
        (({"name": "clock"},), "auto", "A tool must be"),
        (({"type": "function", "function": {"name": ""}},), "auto", "A tool must be"),
        (({"type": "function", "function": {"name": "x" * 65}},), "auto", "1 to 64 characters"),
        (
            ({"type": "function", "function": {"name": "x", "parameters": "{"}},),
            "auto",
            "parameters of the tool 'x' is not valid JSON",
        ),
    ],
)
def test_tools_that_are_none_are_refused(tools: Any, choice: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        ToolCalls(tools, choice)


# Refusals.


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "must be a JSON object, true or false"),
        ('{"const": NaN}', "is not valid JSON"),
        ({"const": "\ud800"}, "lone surrogate"),
        ({"description": "x" * 200_000}, "at most 100000 do"),
    ],
)
def test_what_is_no_json_object_is_refused_at_once(schema: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        JsonSchema(schema)


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^((((a{1,99}){1,99}){1,99}){1,99}){1,99}$"},
        {"type": "string", "pattern": "^(a|b)*a(a|b){300}$"},
        {"allOf": [{"type": "string", "pattern": f"{c}.{{200}}"} for c in "abc"]},
        {"pattern": "(a+)+(b+)+(a+)+$", "const": "a" * 3_000 + "!"},
        {"$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
         | {"d40": {"type": "null"}}, "$ref": "#/$defs/d0"},
        {"$defs": {f"d{i}": {"properties": {f"c{j}": {"$ref": f"#/$defs/d{j}"} for j in range(25)}}
                   for i in range(25)}, "$ref": "#/$defs/d0"},
        {"patternProperties": {f"^a{i}.*b{i}$": {"type": "string"} for i in range(40)}},
        {"properties": {f"x{i}": {} for i in range(200)},
         "patternProperties": {f"a{i}$": {} for i in range(50)}},
        {"items": {"items": {"items": {"minItems": 999}, "minItems": 999}, "minItems": 999},
         "type": "array", "minItems": 999},
        {"enum": [{"value": number} for number in range(3_000)]},
        {"enum": [f"value {number}" for number in range(3_000)]},
        {"type": "string", "maxLength": 10**15},
        {"type": "number", "minimum": 1e308},
        {"type": "number", "exclusiveMinimum": 1e-300, "maximum": 1e-299},
    ],
)  # fmt: skip
def test_a_schema_made_to_exhaust_is_refused_or_answered(chance: Chance, schema: Any) -> None:
    """Without limits on the work this would not end, and with jsonschema it does not."""
    constraint = chance.start(JsonSchema(schema))
    if constraint is not None:
        text = chance.answer(constraint, 350, np.random.default_rng(23))
        assert constraint.is_complete or constraint.needs > 350
        if constraint.is_complete:
            json.loads(text)


def test_a_schema_belongs_to_its_form_alone(chance: Chance) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"const": 1}}}
    form = JsonSchema(schema)
    schema["properties"]["a"]["const"] = 2
    _after(chance, form, '{"a":1')
    assert JsonSchema('{"const": 1}').parsed == {"const": 1}


@pytest.mark.parametrize("texts", [(), ("",), ("a", 3), ["a"], ("\udfff",), ("x" * 10_001,)])
def test_choices_that_are_none_are_refused(texts: Any) -> None:
    with pytest.raises(InvalidInput):
        Choices(texts)


def test_a_vocabulary_serves_many_answers_at_once(chance: Chance) -> None:
    first = _after(chance, JsonSchema(PERSON), '{"name":"')
    second = _after(chance, Choices(("yes", "no")), "y")
    first.accept(*chance.tokenizer.encode_parts(["x"]))
    assert _texts(chance, _allowed(chance, second)) == {"e"}
    assert not first.is_complete


# Schemas as they come.


def _answers(chance: Chance, form: Any, limit: int, count: int = 20) -> list[str]:
    draws, texts = np.random.default_rng(3), list[str]()
    for _ in range(count):
        constraint = chance.constraints.start(form)
        texts.append(chance.answer(constraint, limit, draws))
        assert constraint.is_complete
    return texts


@pytest.mark.parametrize("schema", [USER, TREE, PET, RECORD, {}, True])
def test_schemas_as_people_write_them_are_kept(chance: Chance, schema: Any) -> None:
    draws = np.random.default_rng(4)
    needs = chance.constraints.start(JsonSchema(schema)).needs
    for limit in (needs, needs + 7, 400):
        assert drive(chance, schema, limit, draws)


def test_lists_of_an_older_draft_are_kept(chance: Chance) -> None:
    for text in _answers(chance, JsonSchema(TUPLE), 40):
        first, second, *_ = json.loads(text)
        assert isinstance(first, str)
        assert isinstance(second, int | float)


@pytest.mark.parametrize("bound", [0, 1, -3, 2**53, 0.5])
@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("near", [0.25, 1.5])
def test_a_number_that_is_excluded_is_never_written(
    chance: Chance, bound: float, kind: str, near: float
) -> None:
    sides = ("exclusiveMinimum", "maximum", 1), ("exclusiveMaximum", "minimum", -1)
    for exclusive, other, side in sides:
        schema = {"type": kind, exclusive: bound, other: bound + side * near}
        constraint = chance.start(JsonSchema(schema))
        if constraint is not None:
            for token in chance.tokenizer.encode_parts([str(bound)]):
                kept = constraint.apply(np.zeros(chance.size, np.float32), 99)
                if np.isneginf(kept[token]):
                    break
                constraint.accept(token)
            else:
                assert not constraint.is_complete


REFUSED: list[tuple[Any, str]] = [
    ({"type": "nonsense"}, "not valid at"),
    ({"required": 3}, "not valid at"),
    ({"minLength": -1}, "not valid at"),
    ({"$schema": "http://json-schema.org/draft-04/schema#"}, "must be one of"),
    ({"not": {"type": "string"}}, '"not"'),
    ({"uniqueItems": True}, '"uniqueItems"'),
    ({"if": {}, "then": {}}, '"if"'),
    ({"dependencies": {"a": ["b"]}}, '"dependencies"'),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ({"type": "string", "format": "idn-email"}, "idn-email"),
    ({"const": 2**60}, "2^53"),
    ({"enum": [[{"x": -(2**60)}]]}, "2^53"),
    ({"minimum": 2**60}, "2^53"),
    ({"multipleOf": 0.01}, "fraction"),
    ({"minProperties": 2}, "minProperties"),
    ({"additionalItems": False, "prefixItems": [{}]}, "additionalItems"),
    ({"const": "a\0b"}, "control characters"),
    ({"properties": {"a\x1fb": {}}}, "control characters"),
    ({"$ref": "#/const", "const": {}}, "no schema"),
    ({"$ref": "https://example.com/schema"}, "retriever"),
    ({"$ref": "#"}, "."),
    ({"type": "array", "minItems": 10**6}, "ended"),
    ({"type": "string", "minLength": 10**9}, "ended"),
    ({"properties": {f"p{i}": {"type": "string"} for i in range(6_000)}}, "characters"),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "nsatisfiable"),
    ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "ended"),
    (False, "false"),
]


@pytest.mark.parametrize(("schema", "reason"), REFUSED)
def test_a_schema_that_cannot_be_kept_is_refused_with_the_reason(
    chance: Chance, schema: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(reason)):
        chance.constraints.start(JsonSchema(schema))


PATTERNS = [
    r"\bx",
    r"\D",
    r"[^\w]",
    "(?i)a",
    "a++",
    "a{,3}",
    "[a&&b]",
    "[[a]]",
    r"(a)\1",
    "(",
    r"\v",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_means_something_else_to_others_is_refused(
    chance: Chance, pattern: str
) -> None:
    with pytest.raises(InvalidInput, match="pattern"):
        chance.constraints.start(JsonSchema({"type": "string", "pattern": pattern}))


def test_a_schema_cannot_loosen_how_it_is_kept(chance: Chance) -> None:
    schema = {"x-guidance": {"lenient": True}, "not": {}}
    assert chance.start(JsonSchema(schema)) is None


def test_days_that_do_not_exist_are_never_written(chance: Chance) -> None:
    constraint = chance.constraints.start(JsonSchema({"type": "string", "format": "date"}))
    for token in chance.tokenizer.encode_parts(['"2023-02-2']):
        constraint.accept(token)
    kept = constraint.apply(np.zeros(chance.size, np.float32), 100)
    (nine,) = chance.tokenizer.encode_parts(["9"])
    assert np.isneginf(kept[nine])


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "number"}, "1e999"),
        ({"type": "integer"}, "1" * 4_400),
        ({"type": "object", "additionalProperties": True}, '{"a":1, "a":2}'),
        ({}, "[" * 1_200 + "]" * 1_200),
    ],
)
def test_what_llguidance_lets_through_is_still_no_answer(
    chance: Chance, schema: dict[str, Any], text: str
) -> None:
    constraint = _after(chance, JsonSchema(schema), text)
    with pytest.raises(InvalidInput, match="not of the schema"):
        constraint.verify()


def test_an_answer_of_its_schema_is_verified(each_chance: Chance) -> None:
    _after(each_chance, JsonSchema(WEATHER["function"]["parameters"]), '{"city": "Rom"}').verify()
