"""Completion: a whole answer, folded from its pieces."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.decode.logprobs import TokenLogprob
from engine.decode.sequence import Piece, Usage
from engine.decode.stopping import FinishReason


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that has ended."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of its tokens in order, a stop token left out; those of a stop string are among them. Empty
    where `logprobs` did not ask for them."""


def completed(pieces: Sequence[Piece]) -> Completion:
    """The answer whose pieces these are, from the first to the last."""
    last = pieces[-1]
    assert last.finish_reason is not None
    assert last.usage is not None
    return Completion(
        "".join(piece.text for piece in pieces),
        last.finish_reason,
        last.usage,
        tuple(
            piece.logprob
            for piece in pieces
            if piece.logprob is not None and not piece.is_stop_token
        ),
    )
