"""Sequence: one answer in the making: its tokens, what chooses the next, and what there is to show.

Knows no graph and no other sequence; is told of logits. Rule: every way to end goes through
stopping.py, and what has ended never begins again.
"""

from collections import deque
from collections.abc import Collection
from collections.abc import Sequence as Ids
from dataclasses import dataclass

from engine.decode.forward import Logits
from engine.decode.kv_cache import Row
from engine.decode.sampling import Sampler, SamplingParams
from engine.decode.stopping import FinishReason, Stopping
from engine.runtime.session import Stop
from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    """Tokens chosen, a stop token included."""
    cached_tokens: int = 0
    """Of the prompt, those whose keys and values were taken over from an earlier answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of an answer; the texts of all pieces joined are the answer."""

    text: str
    """Empty after a part of the prompt, inside a character, and while a stop string may begin."""
    token_id: int | None = None
    """The token chosen in this step; None while the prompt is read."""
    finish_reason: FinishReason | None = None
    """Set on the last piece alone: "length" if a limit ended the answer, else "stop"."""
    usage: Usage | None = None
    """Set on the last piece alone."""


class Sequence:
    """One answer in the making."""

    def __init__(
        self,
        prompt: Ids[int],
        params: SamplingParams,
        *,
        stop_token_ids: Collection[int],
        room: int,
        tokenizer: Tokenizer,
    ) -> None:
        """An answer that has not begun.

        Args:
            prompt: Its token ids.
            params: How tokens are chosen.
            stop_token_ids: The model's own.
            room: Tokens that may follow the prompt at most.
            tokenizer: The model's; ids that it does not know are never chosen.
        """
        self.prompt_tokens = len(prompt)
        self.ids = list(prompt)
        """Prompt and answer so far."""
        self.limit = len(prompt) + min(params.max_tokens, room)
        """Tokens it may have in all."""
        self.row: Row | None = None
        """Its place in the cache while it has one."""
        self.cached_tokens = 0
        self.stop = Stop()
        """Set when its caller wants no more of it."""
        self.pieces: deque[Piece] = deque()
        """Made and not yet fetched."""
        self.error: Exception | None = None
        """What ended it, if anything went wrong."""
        self.has_ended = False
        self._known_ids = tokenizer.vocabulary_size
        self._sampler = Sampler(params)
        self._is_greedy = params.is_greedy
        self._stopping = Stopping(params, stop_token_ids, room)
        self._detokenizer = Detokenizer(tokenizer)

    @property
    def position(self) -> int:
        """Tokens whose keys and values are in the cache."""
        return self.row.position if self.row is not None else 0

    @property
    def held_row(self) -> Row:
        """Its place in the cache; it has begun and not ended."""
        assert self.row is not None
        return self.row

    @property
    def pending(self) -> Ids[int]:
        """Tokens that are not in the cache: of the prompt, or the last one chosen."""
        return self.ids[self.position :]

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are not in the cache."""
        return self.prompt_tokens - self.position

    def read(self) -> None:
        """Tells that a part of the prompt has been read."""
        self.pieces.append(Piece(""))

    def choose(self, logits: Logits) -> int:
        """Chooses the token that follows, and makes its piece.

        Args:
            logits: Those after the last of `ids`, [vocabulary or more].

        Raises:
            ModelBroken: They are no numbers.
        """
        token_id = self._sampler.choose(logits[: self._known_ids])
        self.ids.append(token_id)
        is_text = self._stopping.count(token_id)
        text = self._stopping.show(self._detokenizer.push(token_id)) if is_text else ""
        if self._stopping.finish_reason is None:
            self.pieces.append(Piece(text, token_id))
        else:
            self._finish(text, token_id)
        return token_id

    def fail(self, error: Exception) -> None:
        """Ends it with an error, which its caller gets after the pieces made before."""
        self.error, self.has_ended = error, True

    def _finish(self, text: str, token_id: int) -> None:
        text += self._stopping.finish(self._detokenizer.finish())
        usage = Usage(self.prompt_tokens, self._stopping.token_count, self.cached_tokens)
        self.pieces.append(Piece(text, token_id, self._stopping.finish_reason, usage))
        self.has_ended = True
