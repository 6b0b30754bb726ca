"""Completion: a whole answer, folded from its pieces."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.decode.sequence import Piece, Usage
from engine.decode.stopping import FinishReason


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that has ended."""

    text: str
    finish_reason: FinishReason
    usage: Usage


def completed(pieces: Sequence[Piece]) -> Completion:
    """The answer whose pieces these are, from the first to the last."""
    last = pieces[-1]
    assert last.finish_reason is not None
    assert last.usage is not None
    return Completion("".join(piece.text for piece in pieces), last.finish_reason, last.usage)
