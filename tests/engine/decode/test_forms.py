"""Answers of a set form: always complete, however the model would rather go on."""

import json
import random
import re
from dataclasses import replace

import pytest
from calls_in_text import parse_tool_calls

from engine.decode.decoder import Decoder, Piece
from engine.decode.output_forms import Choices, JsonSchema, OutputForm, Regex, Tool, ToolCalls
from engine.decode.sampling import SamplingParams
from engine.decode.tool_calls import (
    ArgumentsDelta,
    CallEnded,
    ToolCallStream,
)
from engine.errors import AnswerCut, InvalidInput
from engine.text.chat import Message

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CLOCK = Tool("clock", "", {"type": "object", "properties": {}, "additionalProperties": False})
ASK = [Message("user", "Tom is 31 years old. Give name and age as JSON.")]


def _answer(decoder: Decoder, form: OutputForm, **params: object) -> list[Piece]:
    return list(decoder.generate(ASK, SamplingParams(**params), form))  # type: ignore[arg-type]


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_smollm2_fills_a_schema_in(smollm2: Decoder) -> None:
    pieces = _answer(smollm2, JsonSchema(PERSON), max_tokens=60)
    assert json.loads(_text(pieces))["age"] == 31
    assert pieces[-1].finish_reason == "stop"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_tokens", [40, 60, 200])
def test_a_model_that_talks_nonsense_gives_valid_json_too(
    tiny: Decoder, seed: int, max_tokens: int
) -> None:
    params = {"max_tokens": max_tokens, "temperature": 1.5, "seed": seed}
    pieces = _answer(tiny, JsonSchema(PERSON), **params)
    person = json.loads(_text(pieces))
    assert person.keys() == {"name", "age"}
    assert isinstance(person["age"], int)


def test_one_of_the_choices_is_the_answer(tiny: Decoder) -> None:
    pieces = _answer(tiny, Choices(("in there", "nowhere")), max_tokens=20)
    assert _text(pieces) in ("in there", "nowhere")
    assert pieces[-1].finish_reason == "stop"


def test_an_answer_matches_its_pattern(tiny: Decoder) -> None:
    pieces = _answer(tiny, Regex(r"[0-9]{3}-[a-f]{2}"), max_tokens=20)
    assert len(_text(pieces)) == 6


def test_an_answer_that_cannot_be_complete_in_time_is_refused_before_the_prompt_is_read(
    tiny: Decoder,
) -> None:
    answer = tiny.generate(ASK, SamplingParams(max_tokens=3), JsonSchema(PERSON))
    with pytest.raises(InvalidInput, match="max_tokens") as refused:
        next(answer)
    assert refused.type is InvalidInput
    assert tiny.status().kv_bytes == 0


@pytest.mark.parametrize(
    "form", [JsonSchema({"type": "nonsense"}), JsonSchema({"type": "object", "required": 3})]
)
def test_an_invalid_schema_is_refused_before_any_token(tiny: Decoder, form: OutputForm) -> None:
    with pytest.raises(InvalidInput):
        next(tiny.generate(ASK, SamplingParams(), form))


@pytest.mark.parametrize(
    ("form", "params"),
    [
        (JsonSchema(PERSON), {"stop": ("}",)}),
        (Regex("[ab]+"), {"stop": ("b",)}),
        (ToolCalls((CLOCK,)), {"stop_token_ids": (7,)}),
    ],
)
def test_stops_do_not_go_with_a_form_that_must_be_complete(
    tiny: Decoder, form: OutputForm, params: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match="would cut"):
        _answer(tiny, form, **params)


def _with_tools(decoder: Decoder, may_be_cut: bool, **params: object) -> list[Piece]:
    asked = SamplingParams(**params)  # type: ignore[arg-type]
    return list(decoder.generate(ASK, asked, ToolCalls((CLOCK,)), may_be_cut=may_be_cut))


@pytest.mark.parametrize("may_be_cut", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stop_strings_end_the_text_of_an_answer_that_may_call_tools(
    tiny: Decoder, seed: int, may_be_cut: bool
) -> None:
    params = {"max_tokens": 300, "temperature": 1.5, "seed": seed}
    free = _text(_with_tools(tiny, may_be_cut, **params))
    stop = (free[9:11], free[20:21])
    pieces = _with_tools(tiny, may_be_cut, stop=stop, **params)
    assert _text(pieces) == free[: min(free.find(text) for text in stop)]
    assert pieces[-1].finish_reason == "stop"


@pytest.mark.parametrize("may_be_cut", [False, True])
@pytest.mark.parametrize(("choice", "stop"), [("required", "<"), ("clock", "l")])
def test_stop_strings_do_not_end_calls(
    tiny: Decoder, choice: str, stop: str, may_be_cut: bool
) -> None:
    params = SamplingParams(max_tokens=60, stop=(stop, "}"))
    form = ToolCalls((CLOCK,), choice, parallel=False)
    pieces = list(tiny.generate(ASK, params, form, may_be_cut=may_be_cut))
    assert [call.name for call in parse_tool_calls(_text(pieces))] == ["clock"]
    assert pieces[-1].finish_reason == "stop"


def test_text_that_its_limit_ends_says_so_with_tools_too(tiny: Decoder) -> None:
    pieces = _with_tools(tiny, True, max_tokens=8)
    assert pieces[-1].finish_reason == "length"
    assert parse_tool_calls(_text(pieces)) == []


# Answers that may be cut.


def _cut(decoder: Decoder, form: OutputForm, **params: object) -> list[Piece]:
    asked = SamplingParams(**params)  # type: ignore[arg-type]
    (answer,) = decoder.choices(ASK, asked, 1, form, may_be_cut=True)
    return list(answer)


@pytest.mark.parametrize("max_tokens", [1, 3, 7])
def test_an_answer_that_may_be_cut_is_the_beginning_of_one(tiny: Decoder, max_tokens: int) -> None:
    pieces = _cut(tiny, JsonSchema(PERSON), max_tokens=max_tokens)
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == max_tokens
    assert re.fullmatch(r'\{("|$)(n|$)(a|$)(m|$)(e|$)("|$)(:|$).*', _text(pieces))


def test_an_answer_that_may_be_cut_is_complete_where_there_is_time(tiny: Decoder) -> None:
    params = {"max_tokens": 40, "temperature": 1.5, "seed": 3}
    pieces = _cut(tiny, JsonSchema(PERSON), **params)
    assert json.loads(_text(pieces)).keys() == {"name", "age"}
    assert _text(pieces) == _text(_answer(tiny, JsonSchema(PERSON), **params))
    assert pieces[-1].finish_reason == "stop"


def test_an_answer_that_may_be_cut_is_ended_by_stop_strings(tiny: Decoder) -> None:
    pieces = _cut(tiny, JsonSchema(PERSON), max_tokens=60, stop=(":",))
    assert (_text(pieces), pieces[-1].finish_reason) == ('{"name"', "stop")


@pytest.mark.parametrize("max_tokens", [12, 80])
def test_a_call_that_may_be_cut_is_never_hurried_to_an_end(tiny: Decoder, max_tokens: int) -> None:
    say = Tool("say", "", {"type": "object", "properties": {"text": {"type": "string"}}})
    bias = {tiny.tokenize(sign)[0]: -100.0 for sign in '"\\}'}
    pieces = _cut(tiny, ToolCalls((say,), "say"), max_tokens=max_tokens, logit_bias=bias)
    assert '<tool_call>{"name":"say","arguments":{"text":"'.startswith(_text(pieces)[:12])
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == max_tokens


def test_an_answer_cut_by_its_context_is_an_error_and_no_half_json(tiny: Decoder) -> None:
    long = [Message("user", "x" * 470)]
    array = {"type": "array", "items": {"const": "abcdefgh"}, "minItems": 5}
    answer = tiny.generate(long, SamplingParams(max_tokens=400), JsonSchema(array))
    assert next(answer).token_id is None
    with pytest.raises(AnswerCut, match="no end of its form"):
        list(answer)
    params = SamplingParams(max_tokens=400)
    cut = list(tiny.generate(long, params, JsonSchema(array), may_be_cut=True))
    assert cut[-1].finish_reason == "length"
    assert '["abcdefgh","abcdefgh"'.startswith(_text(cut).replace(" ", "")[:10])


def test_several_choices_of_one_prompt_have_seeds_of_their_own(tiny: Decoder) -> None:
    params = SamplingParams(max_tokens=20, temperature=1.5, seed=4)
    answers = tiny.choices([Message("user", "the thing in there")], params, 3)
    texts = [_text(list(answer)) for answer in answers]
    again = tiny.choices([Message("user", "the thing in there")], params, 3)
    assert [_text(list(answer)) for answer in reversed(again)] == texts[::-1]
    assert len(set(texts)) == 3


def test_choices_with_the_highest_seed_go_on_with_the_lowest(tiny: Decoder) -> None:
    ask = [Message("user", "the thing in there")]
    params = SamplingParams(max_tokens=20, temperature=1.5, seed=2**64 - 1)
    texts = [_text(list(answer)) for answer in tiny.choices(ask, params, 2)]
    alone = [replace(params, seed=seed) for seed in (-1, 0)]
    assert texts == [_text(list(tiny.generate(ask, each))) for each in alone]


def test_calls_of_any_answer_are_read_from_its_pieces_as_from_the_whole(tiny: Decoder) -> None:
    say = Tool("say", "", {"type": "object", "properties": {"text": {"type": "string"}}})
    chance, ends = random.Random(9), set[tuple[str, int]]()
    for seed in range(20):
        form = ToolCalls((CLOCK, say), chance.choice(["auto", "required", "say", "say"]))
        params = {"temperature": 1.2, "seed": seed, "max_tokens": chance.choice([5, 48, 60, 90])}
        pieces = _cut(tiny, form, **params)
        stream = ToolCallStream()
        events = [event for piece in pieces for event in stream.feed(piece.text)]
        events += stream.finish()
        calls = parse_tool_calls(_text(pieces))
        for index, call in enumerate(calls):
            deltas = [e for e in events if isinstance(e, ArgumentsDelta) and e.index == index]
            assert call.arguments_json == "".join(delta.text for delta in deltas)
        ended = [event for event in events if isinstance(event, CallEnded)]
        assert all(isinstance(json.loads(calls[end.index].arguments_json), dict) for end in ended)
        assert pieces[-1].finish_reason == "length" or len(ended) == len(calls)
        ends.add((pieces[-1].finish_reason or "", min(len(calls), 1)))
    assert {("length", 1), ("stop", 1)} <= ends
