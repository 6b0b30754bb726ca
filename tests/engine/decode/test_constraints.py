"""Which tokens a form lets through, how answers end, and which forms are refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_answers import Chance, check_json, drive
from tiny_models import byte_tokenizer, phi3_like_tokenizer

from engine.decode.constraints import Constraint
from engine.decode.output_forms import Choices, JsonSchema, OutputForm, Regex, ToolCalls
from engine.decode.tool_calls import parse_tool_calls, text_before_calls, tools_prompt
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


# Names.


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {"^[ab]*$": {"type": "null"}}},
        {"type": "object", "patternProperties": {"^[ab]$": {"type": "null"}}},
        {"type": "object", "patternProperties": {"^(a|bb)$": {"type": "null"}}, "minProperties": 1},
        {"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 6},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "null"}},
        {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 9},
    ],
)
def test_no_name_stands_twice_in_an_object(chance: Chance, schema: dict[str, Any]) -> None:
    draws = np.random.default_rng(11)
    for _ in range(30):
        assert drive(chance, schema, 80, draws)


def test_a_name_that_is_taken_cannot_be_completed_again(chance: Chance) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "null"}}
    constraint = _after(chance, JsonSchema(schema), '{"ab":null,"cd":null,"ab')
    allowed = _texts(chance, _allowed(chance, constraint))
    assert '"' not in allowed
    assert "c" in allowed
    nested = _after(chance, JsonSchema({"type": "object"}), '{"ab":{"x":[{"x":1}],"ab')
    assert '"' in _texts(chance, _allowed(chance, nested))


def test_an_object_that_lists_its_names_has_no_others(chance: Chance) -> None:
    constraint = _after(chance, JsonSchema(PERSON), '{"name":"a","age":1,"')
    assert _texts(chance, _allowed(chance, constraint)) == {"t"}


def test_inherited_names_are_listed_names(chance: Chance) -> None:
    base = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    more = {"properties": {"tag": {"type": "string"}}, "required": ["tag"]}
    schema = {"$defs": {"base": base}, "allOf": [{"$ref": "#/$defs/base"}, more]}
    constraint = _after(chance, JsonSchema(schema), '{"id": 1, "tag": "x"')
    assert _texts(chance, _allowed(chance, constraint)) == {"}"}


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


def test_a_value_that_is_not_of_the_format_is_none(chance: Chance) -> None:
    days = ["2024-02-29", "2023-02-29", "\0"]
    form = JsonSchema({"format": "date", "enum": days})
    assert _after(chance, form, '"2024-02-29"').is_complete
    with pytest.raises(InvalidInput, match="No answer can satisfy"):
        chance.constraints.start(JsonSchema({"format": "date", "enum": days[1:]}))


def test_leap_days_are_those_there_were(chance: Chance) -> None:
    form = JsonSchema({"type": "string", "format": "date"})
    for day in ("2024-02-29", "2000-02-29"):
        assert _after(chance, form, f'"{day}"').is_complete
    for begun, never in (("2023-02-2", "9"), ("1900-02-2", "9"), ("000", "0"), ("2023-04-3", "1")):
        constraint = _after(chance, form, f'"{begun}')
        assert never not in _texts(chance, _allowed(chance, constraint))


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
        ({"description": "x" * 600_000}, "at most 500000 do"),
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
    ("schema", "said"),
    [
        (False, "No answer can satisfy the schema"),
        ({"enum": []}, "No answer can satisfy"),
        ({"type": "string", "const": 3}, "No answer can satisfy"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "No answer can satisfy"),
        ({"minimum": 3, "maximum": 2, "type": "number"}, "No answer can satisfy"),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, "No answer can"),
        ({"type": "array", "minItems": 1, "items": False}, "No answer can satisfy"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "No answer can satisfy"),
        ({"allOf": [{"type": "string", "pattern": p} for p in ("^a", "^b")]}, "No answer can"),
        ({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}, "No answer"),
        ({"type": "object", "patternProperties": {"^a$": {}}, "minProperties": 2,
          "additionalProperties": False}, "No answer can satisfy"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"allOf": [{"$ref": "#"}]}, "leads back to itself"),
        ({"$ref": "#/$defs/none"}, "points to nothing"),
        ({"$ref": "https://example.org/s.json"}, "point inside the schema"),
        ({"$ref": "#name"}, "point inside the schema"),
        ({"type": "text"}, "type at # must be one or more of null, boolean"),
        ({"properties": {"a": {"minLength": -1}}}, "minLength at #/properties/a must be a whole"),
        ({"type": "string", "minimum": "3"}, "minimum at # must be a number"),
        ({"items": [True]}, "The schema at #/items must be an object, true or false"),
        ({"required": "a"}, "required at # must be a list of different strings"),
        ({"$defs": {"x": {"anyOf": []}}}, "anyOf at #/\\$defs/x must be a list of one or more"),
        ({"not": {}}, "not at # is not supported"),
        ({"if": True}, "if at # is not supported"),
        ({"items": {"contains": {}}}, "contains at #/items is not supported"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties at # is not supported"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "use draft 2020-12"),
        ({"multipleOf": 0.01}, "multipleOf at # must be a whole number above 0"),
        ({"type": "integer", "multipleOf": 99_991}, "multipleOf is supported up to 10000"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems cannot be guaranteed"),
        ({"type": "string", "format": "iri"}, "format iri is not supported; use a pattern or"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "options 1 and 2 may hold for the"),
        ({"type": "string", "pattern": "(?=a)"}, "look-around"),
        ({"type": "string", "pattern": "\\bword\\b"}, "has \\\\b, which is not supported"),
        ({"type": "string", "pattern": "("}, "a group that is not closed"),
        ({"type": "string", "minLength": 10**6}, "demands 1000000 characters"),
        ({"type": "array", "minItems": 10**9}, "demands 1000000000 items"),
        ({"type": "array", "minItems": 4_000, "items": _nested(9)}, "could be ended"),
        (_nested(100), "nested more than 32 deep"),
        (_nested(250), "nested more than 200 deep"),
        ({"allOf": [{"anyOf": [{"minimum": i * 9 + j} for j in range(9)]} for i in range(9)]},
         "combine in more than 1000 ways"),
        ({"properties": {f"p{i}": {"type": "string"} for i in range(9_000)}}, "too large"),
        ({"oneOf": [{"const": i} for i in range(200)]}, "oneOf has 200 options"),
        ({"type": "object", "minProperties": 3,
          "properties": {f"p{i}": {} for i in range(9)}}, "minProperties and maxProperties"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_guaranteed_is_refused_in_one_sentence(
    chance: Chance, schema: Any, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        chance.constraints.start(JsonSchema(schema))
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


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
