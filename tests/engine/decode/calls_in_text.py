"""The calls in a whole answer, as the stream that reads them tells."""

from dataclasses import replace

from engine.decode.tool_calls import (
    ArgumentsDelta,
    CallBegun,
    Event,
    TextDelta,
    ToolCall,
    ToolCallStream,
)


def parse_tool_calls(text: str) -> list[ToolCall]:
    """The calls in an answer of the form `ToolCalls`; none in an answer that is plain text.

    Of an answer that its limit cut, the last one's arguments may be cut too.
    """
    calls: list[ToolCall] = []
    for event in _all_events(text):
        match event:
            case CallBegun(_, name):
                calls.append(ToolCall(name, ""))
            case ArgumentsDelta(index, more):
                calls[index] = replace(calls[index], arguments_json=more)
            case _:
                pass
    return calls


def text_before_calls(text: str) -> str:
    """What an answer of the form `ToolCalls` says besides its calls."""
    return "".join(event.text for event in _all_events(text) if isinstance(event, TextDelta))


def _all_events(text: str) -> list[Event]:
    stream = ToolCallStream()
    return [*stream.feed(text), *stream.finish()]
