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
        """The item that grows, as it began; it stands behind those that are done."""
        self._said: list[str] = []
        """Its text, or its arguments."""
        self._logprobs: list[TokenLogprobs] = []

    def begin(self) -> Events:
        """It is there, and in work."""
        return [
            ResponseEvent(type="response.created", response=self._response),
            ResponseEvent(type="response.in_progress", response=self._response),
        ]

    def search(self, call: FileSearchCall) -> Events:
        """Documents have been searched.

        Args:
            call: With the results that are told.
        """
        place: dict[str, Any] = {"item_id": call.id, "output_index": self._index}
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
        events: Events = [] if isinstance(self._open, OutputMessage) else self._begin_message()
        self._said.append(text)
        self._logprobs += logprobs
        delta = TextDelta(delta=text, logprobs=list(logprobs), **self._place())
        return [*events, delta]

    def call(self, name: str) -> Events:
        """A function is called; its arguments follow."""
        return [*self.close(), self._begun(FunctionCall(name=name))]

    def argue(self, text: str) -> Events:
        """More arguments of the function that is being called."""
        self._said.append(text)
        return [ArgumentsDelta(delta=text, **self._place())]

    def close(self, ending: Ending = "completed") -> Events:
        """The item that grows, if there is one, stays as it is."""
        match self._grown(ending):
            case OutputMessage() as message:
                return [*self._last_of_text(message.content[0]), self._finished(message)]
            case FunctionCall() as call:
                told = {"name": call.name, "arguments": call.arguments}
                return [ArgumentsDone(**told, **self._place()), self._finished(call)]
            case None:
                return []

    def end(self, ending: Ending, usage: ResponseUsage) -> Events:
        """There is no more of it; without any text or call it says nothing, in a message."""
        has_answer = self._open or any(one.type != "file_search_call" for one in self._done)
        events = [*([] if has_answer else self._begin_message()), *self.close(ending)]
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
        rest = self._grown("incomplete")
        output = [*self._done, rest] if rest else self._done
        response = self._response.model_copy(
            update={"status": "failed", "output": output, "error": failure}
        )
        return [ResponseEvent(type="response.failed", response=response)]

    def _begin_message(self) -> Events:
        closed = self.close()
        added = self._begun(OutputMessage())
        part = PartEvent(type="response.content_part.added", part=OutputText(), **self._place())
        return [*closed, added, part]

    def _begun(self, item: OutputMessage | FunctionCall) -> Event:
        self._open, self._said, self._logprobs = item, [], []
        return ItemEvent(type="response.output_item.added", output_index=self._index, item=item)

    def _grown(self, ending: Ending) -> OutputMessage | FunctionCall | None:
        """The item that grows, as it is now."""
        text = "".join(self._said)
        match self._open:
            case OutputMessage() as message:
                part = OutputText(text=text, annotations=self._citations, logprobs=self._logprobs)
                return message.model_copy(update={"status": ending, "content": [part]})
            case FunctionCall() as call:
                return call.model_copy(update={"status": ending, "arguments": text})
            case None:
                return None

    def _last_of_text(self, part: OutputText) -> Events:
        place = self._place()
        return [
            *(
                AnnotationAdded(annotation_index=index, annotation=one, **place)
                for index, one in enumerate(part.annotations)
            ),
            TextDone(text=part.text, logprobs=part.logprobs, **place),
            PartEvent(type="response.content_part.done", part=part, **place),
        ]

    def _finished(self, item: OutputItem) -> Event:
        """Puts an item to those that are done."""
        event = ItemEvent(type="response.output_item.done", output_index=self._index, item=item)
        self._done = [*self._done, item]
        self._open = None
        return event

    @property
    def _index(self) -> int:
        return len(self._done)

    def _place(self) -> dict[str, Any]:
        """Where something happens, as events say it."""
        assert self._open is not None
        return {"item_id": self._open.id, "output_index": self._index}
