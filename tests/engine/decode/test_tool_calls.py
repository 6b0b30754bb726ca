"""Tool calls read as they come: the same however the answer is cut into pieces."""

import json
import random
from itertools import pairwise

import pytest
from calls_in_text import parse_tool_calls, text_before_calls

from engine.decode.output_forms import ToolCalls
from engine.decode.tool_calls import (
    ArgumentsDelta,
    CallBegun,
    CallEnded,
    Event,
    TextDelta,
    ToolCall,
    ToolCallStream,
)
from engine.errors import InvalidInput

ARGUMENTS = [
    "{}",
    '{"a":1}',
    '{"city": "Köln", "tags": ["}", "]", "\\"", "\\\\"], "deep": {"x": [{}, [[]]]}}',
    '{"html": "</tool_call><tool_call>{\\"name\\": 1"}',
    '{"path": "C:\\\\"}',
    '"only text}"',
    "[1, {}]",
    "12.5e3",
    "null",
]
NAMES = ["clock", "get_weather", 'say "hi"', "back\\slash", "wétter<tool_call>"]
TEXTS = ["", "Let me look.\n", "a < b <tool_cal <tool <", "</tool_call> {", "<<tool_call"]


def _answer(chance: random.Random) -> tuple[str, str, list[ToolCall]]:
    """An answer of the form, with its text and its calls."""
    said = chance.choice(TEXTS)
    calls = [
        ToolCall(chance.choice(NAMES), chance.choice(ARGUMENTS)) for _ in range(chance.randrange(4))
    ]
    space, comma = chance.choice(["", " "]), chance.choice(["", " "])
    written = "".join(
        f'<tool_call>{{"name":{space}{json.dumps(call.name, ensure_ascii=False)},{comma}'
        f'"arguments":{space}{call.arguments_json}}}</tool_call>'
        for call in calls
    )
    return said + written, said, calls


def _streamed(pieces: list[str]) -> list[Event]:
    stream = ToolCallStream()
    return [*(event for piece in pieces for event in stream.feed(piece)), *stream.finish()]


def _cut(text: str, chance: random.Random) -> list[str]:
    cuts = sorted(chance.choices(range(len(text) + 1), k=chance.randrange(12)))
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def _joined(events: list[Event]) -> list[Event]:
    """Deltas that follow each other become one."""
    joined: list[Event] = []
    for event in events:
        match joined[-1:], event:
            case [TextDelta(before)], TextDelta(more):
                joined[-1] = TextDelta(before + more)
            case [ArgumentsDelta(index, before)], ArgumentsDelta(same, more) if index == same:
                joined[-1] = ArgumentsDelta(index, before + more)
            case _:
                joined.append(event)
    return joined


def _expected(said: str, calls: list[ToolCall]) -> list[Event]:
    events: list[Event] = [TextDelta(said)] if said else []
    for index, call in enumerate(calls):
        events += [
            CallBegun(index, call.name),
            ArgumentsDelta(index, call.arguments_json),
            CallEnded(index),
        ]
    return events


def test_any_cut_of_an_answer_gives_its_text_and_its_calls() -> None:
    chance = random.Random(3)
    for _ in range(400):
        answer, said, calls = _answer(chance)
        expected = _expected(said, calls)
        assert _joined(_streamed(_cut(answer, chance))) == expected
        assert _joined(_streamed(list(answer))) == expected
        assert parse_tool_calls(answer) == calls
        assert text_before_calls(answer) == said


def test_every_delta_says_something() -> None:
    chance = random.Random(4)
    for _ in range(100):
        events = _streamed([*_cut(_answer(chance)[0], chance), ""])
        assert all(event.text for event in events if isinstance(event, TextDelta | ArgumentsDelta))


def test_text_is_told_at_once_unless_a_call_may_begin_in_it() -> None:
    stream = ToolCallStream()
    assert stream.feed("I <") == [TextDelta("I ")]
    assert stream.feed("3 you <tool_") == [TextDelta("<3 you ")]
    assert stream.feed("box") == [TextDelta("<tool_box")]
    assert stream.feed(" <") == [TextDelta(" ")]
    assert stream.finish() == [TextDelta("<")]


def test_what_may_begin_a_call_is_not_told_where_a_limit_cuts() -> None:
    stream = ToolCallStream()
    assert stream.feed("I <tool_") == [TextDelta("I ")]
    assert stream.finish(is_cut=True) == []


def test_arguments_are_told_as_they_come() -> None:
    stream = ToolCallStream()
    assert stream.feed('<tool_call>{"name": "clock", "arg') == []
    assert stream.feed('uments": ') == []
    assert stream.feed('{"zone": "') == [CallBegun(0, "clock"), ArgumentsDelta(0, '{"zone": "')]
    assert stream.feed('U}T"') == [ArgumentsDelta(0, 'U}T"')]
    assert stream.feed("}}</tool") == [ArgumentsDelta(0, "}"), CallEnded(0)]
    assert stream.feed("_call>") == stream.finish() == []


def test_an_answer_cut_anywhere_tells_a_beginning_of_the_whole() -> None:
    answer = f'Look: <tool_call>{{"name": "clock", "arguments": {ARGUMENTS[2]}}}</tool_call>' * 2
    for end in range(len(answer)):
        events = _streamed([answer[:end]])
        for call, cut in zip(
            parse_tool_calls(answer), parse_tool_calls(answer[:end]), strict=False
        ):
            assert call.arguments_json.startswith(cut.arguments_json)
        begun = sum(isinstance(event, CallBegun) for event in events)
        ended = sum(isinstance(event, CallEnded) for event in events)
        assert begun - ended in (0, 1)


# Which calls an answer may have.


def _tools(*names: str) -> list[dict[str, object]]:
    return [{"type": "function", "function": {"name": name}} for name in names]


def test_of_the_tools_only_the_allowed_ones_may_be_called() -> None:
    form = ToolCalls(_tools("a", "b", "c"), allowed=("c", "a"))
    assert [tool.name for tool in form.callable] == ["a", "c"]
    assert [tool.name for tool in form.functions] == ["a", "b", "c"]
    named = ToolCalls(_tools("a", "b", "c"), "a", allowed=("c", "a"))
    assert [tool.name for tool in named.callable] == ["a"]


@pytest.mark.parametrize(
    ("choice", "allowed", "message"),
    [
        ("auto", (), "must be some of a, b, but are none"),
        ("required", ("a", "x"), "but are 'a', 'x'"),
        ("b", ("a",), "'b' must be called, but is not allowed"),
    ],
)
def test_tools_that_there_are_not_cannot_be_allowed(
    choice: str, allowed: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        ToolCalls(_tools("a", "b"), choice, allowed=allowed)
