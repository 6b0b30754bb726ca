"""Logprobs: which tokens' probabilities may be told, once their text has been shown.

Knows bytes: a token is told of when text from its first byte on has been shown, so that what a
stop string or a tool call holds back stays unsaid in both places.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.decode.logprobs import TokenLogprob

_LEAST = -9_999.0
"""As OpenAI has it for what is all but impossible: JSON knows no infinity."""

TokenBytesOf = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class RankedToken:
    """A token and how probable it was."""

    content: bytes
    """Maybe a part of a character."""
    logprob: float

    @property
    def text(self) -> str:
        """What can be shown of it."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class ToldToken:
    """A token of an answer whose text has been shown."""

    token: RankedToken
    top: tuple[RankedToken, ...]
    """The most probable ones, best first."""
    characters_before: int
    """In the answer."""


class ShownTokens:
    """The tokens of one answer, told as its text is shown."""

    def __init__(self, bytes_of: TokenBytesOf) -> None:
        self._bytes_of = bytes_of
        self._waiting: deque[tuple[int, ToldToken]] = deque()
        """Each with the byte of the answer at which it begins."""
        self._bytes = self._characters = 0
        """Of all tokens so far."""
        self._shown = 0
        """Bytes of text."""
        self._hidden_space: bool | None = None
        """Whether the first token's space is not shown; None until it is known."""

    def add(self, logprob: TokenLogprob) -> None:
        """Takes note of a token of text."""
        token = self._ranked(logprob.token_id, logprob.logprob)
        top = tuple(self._ranked(*one) for one in logprob.top)
        self._waiting.append((self._bytes, ToldToken(token, top, self._characters)))
        self._bytes += len(token.content)
        self._characters += sum(byte & 0xC0 != 0x80 for byte in token.content)

    def show(self, text: str) -> list[ToldToken]:
        """The tokens that may be told of now that more text is shown."""
        if self._hidden_space is None and text and self._waiting:
            first = self._waiting[0][1].token.content
            self._hidden_space = first.startswith(b" ") and not text.startswith(" ")
        self._shown += len(text.encode())
        until = self._shown + bool(self._hidden_space)
        told: list[ToldToken] = []
        while self._shown and self._waiting and self._waiting[0][0] < until:
            told.append(self._waiting.popleft()[1])
        return told

    def rest(self) -> list[ToldToken]:
        """The tokens that are left where a limit ends an answer."""
        told = [token for _, token in self._waiting]
        self._waiting.clear()
        return told

    def _ranked(self, token_id: int, logprob: float) -> RankedToken:
        return RankedToken(self._bytes_of(token_id), max(logprob, _LEAST))
