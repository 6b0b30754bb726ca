"""Writing: a response as it grows, told as events in the one order that clients take.

Knows items, nothing of models or the wire. Rule: what an event holds never changes after it, so
events can be kept or sent whenever; and the last one holds the whole response, which is therefore
the fold of the others.
"""

import time
from collections.abc import Sequence
from typing import Any, Literal

from mcp_server.http.openai.chat_result import TokenLogprobs
from mcp_server.http.openai.responses.events import (
    AnnotationAdded,
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    ItemEvent,
    PartEvent,
    ResponseEvent,
    SearchEvent,
    TextDelta,
    TextDone,
)
from mcp_server.http.openai.responses.objects import (
    FileCitation,
    FileSearchCall,
    FunctionCall,
    IncompleteDetails,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseFailure,
    ResponseObject,
    ResponseUsage,
)

Events = list[Event]
Ending = Literal["completed", "incomplete"]


class Writing:
    """One response in the making."""

    def __init__(self, response: ResponseObject, citations: Sequence[FileCitation] = ()) -> None:
        """A response that has not begun.

        Args:
            response: Without output.
            citations: What is said of its text.
        """
        self._response = response
        self._citations = list(citations)
        self._done: list[OutputItem] = []
        self._open: OutputMessage | FunctionCall | None = None
        """The item that grows; it stands behind those that are done."""

    def begin(self) -> Events:
        """It is there, and in work."""
        return [
            ResponseEvent(type="response.created", response=self._response),
            ResponseEvent(type="response.in_progress", response=self._response),
        ]

    def search(self, call: FileSearchCall) -> Events:
        """Documents have been searched.

        Args:
            call: As it was before, without results; they come with `result`.
        """
        place = self._place(call)
        done = call.model_copy(update={"status": "completed"})
        begun = call.model_copy(update={"results": None})
        events: Events = [
            ItemEvent(type="response.output_item.added", output_index=self._index, item=begun),
            SearchEvent(type="response.file_search_call.in_progress", **place),
            SearchEvent(type="response.file_search_call.searching", **place),
            SearchEvent(type="response.file_search_call.completed", **place),
        ]
        return [*events, self._finished(done)]

    def say(self, text: str, logprobs: Sequence[TokenLogprobs] = ()) -> Events:
        """More text."""
        events = self._message()
        message = self._opened_message
        part = message.content[0]
        grown = {"text": part.text + text, "logprobs": [*part.logprobs, *logprobs]}
        self._set_part(message, part.model_copy(update=grown))
        place = self._place(message)
        return [*events, TextDelta(delta=text, logprobs=list(logprobs), **place)]

    def call(self, name: str) -> Events:
        """A function is called; its arguments follow."""
        closed = self.close()
        self._open = FunctionCall(name=name)
        return [*closed, self._added(self._open)]

    def argue(self, text: str) -> Events:
        """More arguments of the function that is being called."""
        call = self._open
        assert isinstance(call, FunctionCall)
        self._open = call.model_copy(update={"arguments": call.arguments + text})
        return [ArgumentsDelta(delta=text, **self._place(call))]

    def close(self, ending: Ending = "completed") -> Events:
        """The item that grows, if there is one, stays as it is."""
        match self._open:
            case OutputMessage() as message:
                return self._close_message(message, ending)
            case FunctionCall() as call:
                return self._close_call(call, ending)
            case None:
                return []

    def end(self, ending: Ending, usage: ResponseUsage) -> Events:
        """There is no more of it; without any text or call it says nothing, in a message."""
        has_answer = self._open or any(one.type != "file_search_call" for one in self._done)
        events = [*([] if has_answer else self._message()), *self.close(ending)]
        is_complete = ending == "completed"
        response = self._response.model_copy(
            update={
                "status": ending,
                "output": self._done,
                "usage": usage,
                "completed_at": int(time.time()) if is_complete else None,
                "incomplete_details": None if is_complete else IncompleteDetails(),
            }
        )
        kind = "response.completed" if is_complete else "response.incomplete"
        return [*events, ResponseEvent(type=kind, response=response)]

    def fail(self, failure: ResponseFailure) -> Events:
        """It breaks off; what there is of it stays."""
        rest = [self._open.model_copy(update={"status": "incomplete"})] if self._open else []
        response = self._response.model_copy(
            update={"status": "failed", "output": [*self._done, *rest], "error": failure}
        )
        return [ResponseEvent(type="response.failed", response=response)]

    @property
    def _index(self) -> int:
        return len(self._done)

    def _place(self, item: OutputItem) -> dict[str, Any]:
        """Where something happens, as events say it."""
        return {"item_id": item.id, "output_index": self._index}

    @property
    def _opened_message(self) -> OutputMessage:
        assert isinstance(self._open, OutputMessage)
        return self._open

    def _message(self) -> Events:
        """Opens a message unless one is open."""
        if isinstance(self._open, OutputMessage):
            return []
        closed = self.close()
        message, part = OutputMessage(), OutputText()
        added = self._added(message)
        self._set_part(message, part)
        begun = PartEvent(type="response.content_part.added", part=part, **self._place(message))
        return [*closed, added, begun]

    def _set_part(self, message: OutputMessage, part: OutputText) -> None:
        self._open = message.model_copy(update={"content": [part]})

    def _close_message(self, message: OutputMessage, ending: Ending) -> Events:
        part = message.content[0].model_copy(update={"annotations": self._citations})
        self._set_part(message, part)
        message, place = self._opened_message, self._place(message)
        annotations = [
            AnnotationAdded(annotation_index=index, annotation=one, **place)
            for index, one in enumerate(self._citations)
        ]
        return [
            *annotations,
            TextDone(text=part.text, logprobs=part.logprobs, **place),
            PartEvent(type="response.content_part.done", part=part, **place),
            self._finished(message.model_copy(update={"status": ending})),
        ]

    def _close_call(self, call: FunctionCall, ending: Ending) -> Events:
        done = ArgumentsDone(name=call.name, arguments=call.arguments, **self._place(call))
        return [done, self._finished(call.model_copy(update={"status": ending}))]

    def _added(self, item: OutputMessage | FunctionCall) -> Event:
        return ItemEvent(type="response.output_item.added", output_index=self._index, item=item)

    def _finished(self, item: OutputItem) -> Event:
        """Puts an item to those that are done."""
        event = ItemEvent(type="response.output_item.done", output_index=self._index, item=item)
        self._done = [*self._done, item]
        self._open = None
        return event
