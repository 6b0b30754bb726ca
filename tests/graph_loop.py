"""The plainest loop over a decoder's session: the whole cache is handed over from run to run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.runtime.session import Session

_EMPTY = {"batch_size": 1, "past_sequence_length": 0}


class GraphLoop:
    """One sequence on a graph in any layout."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._position = 0
        self._cache = {
            name: np.zeros([_EMPTY.get(str(dim), dim) for dim in tensor.shape], tensor.dtype)
            for name, tensor in session.inputs.items()
            if name.startswith("past_key_values")
        }
        presents = (name.replace("past_key_values", "present") for name in self._cache)
        self._outputs = ["logits", *presents]

    def run(
        self, token_ids: Sequence[int], rows: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Logits [rows, vocabulary] of the next tokens: of all, or of those rows where the graph
        takes them."""
        count, start = len(token_ids), self._position
        self._position += count
        feeds = {
            "input_ids": np.array([token_ids]),
            "attention_mask": np.ones((1, self._position), np.int64),
            "position_ids": np.arange(start, self._position)[None],
            "logits_rows": np.arange(count) if rows is None else np.array(rows, np.int64),
        }
        feeds = {name: array for name, array in feeds.items() if name in self._session.inputs}
        logits, *present = self._session.run(feeds | self._cache, self._outputs)
        self._cache = dict(zip(self._cache, present, strict=True))
        return logits[0].astype(np.float32)


def logits_of(
    session: Session,
    token_ids: Sequence[int],
    *,
    ends: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Logits of tokens that are read in parts, those rows of each part.

    Args:
        session: Of a graph in any layout.
        token_ids: The tokens.
        ends: Where each part ends; one part of all by default.
        rows: For graphs that take them, which rows of each part; all by default.
    """
    loop, ends = GraphLoop(session), ends or [len(token_ids)]
    starts = [0, *ends[:-1]]
    parts = zip(starts, ends, strict=True)
    return np.concatenate([loop.run(token_ids[start:end], rows) for start, end in parts])


def greedy(
    session: Session, token_ids: Sequence[int], count: int, *, ends: Sequence[int] | None = None
) -> list[int]:
    """The best `count` next tokens: a prompt read in parts, then a run of one token for each."""
    loop, ends = GraphLoop(session), ends or [len(token_ids)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        logits = loop.run(token_ids[start:end], [-1])
    chosen: list[int] = []
    while True:
        chosen.append(int(logits[-1].argmax()))
        if len(chosen) == count:
            return chosen
        logits = loop.run(chosen[-1:], [-1])
