"""Sequence: one answer in the making: its tokens, what chooses the next, and what there is to show.

Knows no graph and no other sequence; is told of logits. Rule: every way to end goes through
stopping.py, and what has ended never begins again.
"""

from collections import deque
from collections.abc import Collection
from collections.abc import Sequence as Ids
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from engine.decode.drafting import Drafting, RunCost
from engine.decode.forward import Logits
from engine.decode.kv_cache import Row
from engine.decode.sampling import Sampler, SamplingParams, TokenLogprob
from engine.decode.stopping import FinishReason, Stopping
from engine.errors import AnswerCut
from engine.runtime.session import Stop
from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from engine.decode.constraints import Constraint


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
    logprob: TokenLogprob | None = None
    """Where `logprobs` asks for it, set on each piece with a token."""
    is_stop_token: bool = False
    """Whether the token ended the answer and is no part of its text."""


class Sequence:
    """One answer in the making."""

    def __init__(
        self,
        prompt: Ids[int],
        params: SamplingParams,
        *,
        stop: Stop,
        stop_token_ids: Collection[int],
        room: int,
        tokenizer: Tokenizer,
        draft_cost: RunCost | None,
        constraint: "Constraint | None",
        goes_on: bool = False,
    ) -> None:
        """An answer that has not begun.

        Args:
            prompt: Its token ids.
            params: How tokens are chosen.
            stop: Set when its caller wants no more of it.
            stop_token_ids: The model's own.
            room: Tokens that may follow the prompt at most.
            tokenizer: The model's; ids that it does not know are never chosen.
            draft_cost: What drafts cost; None for an answer without.
            constraint: What keeps it to a form, if one is asked for.
            goes_on: Its text goes on from the prompt's, and may begin with a space.
        """
        self.prompt = np.array(prompt, np.int64)
        self.ids = list(prompt)
        """Prompt and answer so far."""
        self.limit = len(prompt) + min(params.max_tokens, room)
        """Tokens it may have in all."""
        self.row: Row | None = None
        """Its place in the cache while it has one."""
        self.cached_tokens = 0
        """Tokens of the prompt that were in the cache when it began."""
        self.stop = stop
        """Set when its caller wants no more of it, or its decoder is closed."""
        self.pieces: deque[Piece] = deque()
        """Made and not yet fetched."""
        self.error: Exception | None = None
        """What ended it, if anything went wrong."""
        self.has_ended = False
        """Set after the last piece and the error: its caller may look from another thread."""
        self._known_ids = tokenizer.vocabulary_size
        self._sampler = Sampler(params, prompt, stop_token_ids)
        until = constraint.stops_until if constraint is not None else None
        self._stopping = Stopping(params, stop_token_ids, room, until)
        self._detokenizer = Detokenizer(tokenizer, prompt if goes_on else ())
        self._drafting = Drafting(self.ids, draft_cost) if draft_cost is not None else None
        self._constraint = constraint

    @property
    def held_row(self) -> Row:
        """Its place in the cache; it has begun and not ended."""
        assert self.row is not None
        return self.row

    @property
    def position(self) -> int:
        """Tokens whose keys and values are in the cache."""
        return self.row.position if self.row is not None else 0

    @property
    def pending(self) -> Ids[int]:
        """Tokens that are not in the cache: of the prompt, or the last one chosen."""
        return self.ids[self.position :]

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are not in the cache."""
        return len(self.prompt) - self.position

    def read(self, logits: Logits) -> None:
        """Tells that a part of the prompt has been read; after the last one a token is chosen.

        Args:
            logits: Those after the part, [1, vocabulary or more].
        """
        self.pieces.append(Piece(""))
        if not self.unread:
            self._choose(logits[0])

    def draft(self, most: int) -> list[int]:
        """Tokens that may follow and are worth checking, at most so many; none if none is.

        The run that checks them gives one more, which needs no draft.
        """
        if self._drafting is None:
            return []
        return self._drafting.propose(min(most, self.limit - len(self.ids) - 1))

    def check(self, draft: Ids[int], logits: Logits) -> None:
        """Tells that the last token and drafted ones have been run; keeps those that are right.

        One more token follows them, so without drafts the answer grows by one.

        A drafted token is right if it is the one chosen, so a draw is as it would be without.

        Args:
            draft: The tokens that followed.
            logits: Those after the last token and after each drafted one, [1 + drafted, …].
        """
        before = len(self.ids)
        for drafted, row in zip_longest(draft, logits):  # The last row has no draft.
            self._choose(row)
            if self.has_ended or self.ids[-1] != drafted:
                break
        self.held_row.position = len(self.ids) - 1
        if self._drafting is not None:
            self._drafting.record(len(draft), len(self.ids) - before - 1)

    def fail(self, error: Exception | None) -> None:
        """Ends it, with an error if any, which its caller gets after the pieces made before."""
        self.error, self.has_ended = error, True

    def _choose(self, logits: Logits) -> None:
        """Chooses the token that follows and makes its piece.

        Raises:
            ModelBroken: The logits are no numbers.
            InvalidInput: No token may follow.
        """
        logits = logits[: self._known_ids]
        adjusted = self._sampler.adjust(logits)
        if self._constraint is not None:
            adjusted = self._constraint.apply(adjusted, self.limit - len(self.ids))
        token_id = self._sampler.pick(adjusted)
        self._sampler.count(token_id)
        if self._constraint is not None:
            self._constraint.accept(token_id)
        if self._drafting is not None:
            self._drafting.push(token_id)
        self.ids.append(token_id)
        self._show(token_id, self._sampler.logprob(logits, token_id))

    def _show(self, token_id: int, logprob: TokenLogprob | None) -> None:
        stopping, usage = self._stopping, None
        is_text = stopping.count(token_id)
        text = stopping.show(self._detokenizer.push(token_id)) if is_text else ""
        if self._constraint is not None:
            stopping.finish_reason = self._formal_end(self._constraint)
        if stopping.finish_reason is not None:
            text += stopping.finish(self._detokenizer.finish())
            usage = Usage(len(self.prompt), stopping.token_count, self.cached_tokens)
        reason = stopping.finish_reason
        self.pieces.append(Piece(text, token_id, reason, usage, logprob, not is_text))
        self.has_ended = stopping.finish_reason is not None

    def _formal_end(self, constraint: "Constraint") -> FinishReason | None:
        """Why an answer of a set form ends now; one that is finished needs no stop token.

        Raises:
            AnswerCut: A limit ends it before it is complete, and it must not be cut.
            InvalidInput: It is complete and not of its form after all.
        """
        reason = self._stopping.finish_reason
        if constraint.is_finished or (reason is not None and constraint.is_complete):
            constraint.verify()
            return "stop" if constraint.is_finished else reason
        if reason == "length" and not constraint.may_be_cut:
            raise AnswerCut(
                f"The answer had no end of its form within {self._stopping.token_count} tokens; "
                "raise max_tokens or ask for less."
            )
        return reason
