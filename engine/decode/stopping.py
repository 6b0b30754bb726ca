"""When a sequence is finished, and which text waits until that is known.

Rule: a stop string is never shown, not even its beginning, however tokens and pieces cut it; and
text waits only while it could still become one. The stop string that is complete first wins, so
where the pieces were cut makes no difference. One that the first `min_tokens` tokens complete is
ordinary text; one that they only begin counts (as in vLLM).
"""

from collections.abc import Collection
from typing import Literal

from engine.decode.sampling import SamplingParams

FinishReason = Literal["stop", "length"]


class Stopping:
    """Watches one answer; `finish_reason` is None until it is finished.

    Args:
        params: Whose `stop`, `stop_token_ids`, `min_tokens` and `max_tokens` hold.
        stop_token_ids: The model's: tokens that end an answer and are not part of its text. Whoever
            chooses before `min_tokens` leaves them out; one that comes all the same ends.
        room: Tokens that the context window leaves, where that is less than `max_tokens`.
        until: Text behind which stop strings count no more; None where they always do.
    """

    def __init__(
        self,
        params: SamplingParams,
        stop_token_ids: Collection[int],
        room: int | None = None,
        until: str | None = None,
    ) -> None:
        self._stop = params.stop
        self._until = until if params.stop else None
        self._stop_token_ids = frozenset((*stop_token_ids, *params.stop_token_ids))
        self._least = params.min_tokens
        self._limit = params.max_tokens if room is None else min(params.max_tokens, room)
        self._held: str = ""
        self._early = 0  # Characters at the start of `_held` that the first tokens gave.
        self._cut = False
        self.token_count = 0
        """Tokens chosen so far, a stop token included."""
        self.finish_reason: FinishReason | None = None

    def count(self, token_id: int) -> bool:
        """Counts a chosen token; whether it is text rather than a stop token."""
        self.token_count += 1
        if token_id in self._stop_token_ids:
            self.finish_reason = "stop"
        elif self.token_count >= self._limit:
            self.finish_reason = "length"
        return self.finish_reason != "stop"

    def show(self, text: str) -> str:
        """What may be shown now that this text has come; a complete stop string finishes."""
        if self._cut:
            return ""
        text = self._held + text
        if 0 < self.token_count <= self._least:
            self._early = len(text)
        ends = [
            (start + len(stop), start)
            for stop in self._stop
            if (start := text.find(stop, max(0, self._early - len(stop) + 1))) >= 0
        ]
        if self._is_past_stops(text, min(ends, default=None)):
            self._stop, self._until, ends = (), None, []
        if ends:
            self._cut, self._held, self.finish_reason = True, "", "stop"
            return text[: min(ends)[1]]
        shown = len(text) - self._possible_beginning(text)
        self._held, self._early = text[shown:], max(0, self._early - shown)
        return text[:shown]

    def finish(self, text: str) -> str:
        """What is still to be shown when the answer ends with this text."""
        shown = self.show(text)
        return shown + self._held

    def _is_past_stops(self, text: str, first: tuple[int, int] | None) -> bool:
        """Whether the text behind which stop strings do not count is there before one of them."""
        if self._until is None:
            return False
        at = text.find(self._until)
        return at >= 0 and (first is None or at + len(self._until) <= first[0])

    def _possible_beginning(self, text: str) -> int:
        """Length of the longest end of the text that a stop string begins with, or `until`."""
        awaited = (*self._stop, self._until or "")
        longest = max(map(len, awaited)) - 1
        return next(
            (
                length
                for length in range(min(longest, len(text)), 0, -1)
                if any(each.startswith(text[-length:]) for each in awaited)
            ),
            0,
        )
