"""Encoder: rows of token ids in, token states out.

Knows the graph's inputs and outputs. Knows neither texts nor pooling.
Rule: a graph is fed exactly the inputs it has, and one that needs others is refused.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelBroken
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Session

_INPUT_IDS = "input_ids"
_MASK = "attention_mask"
_SEGMENTS = "token_type_ids"
_STATES = "last_hidden_state"


class Encoder:
    """A session of a BERT-like graph, opened once and run on padded rows."""

    def __init__(self, spec: EmbedderSpec, session: Session, padding_id: int) -> None:
        """Raises ModelBroken if the graph is not an encoder with token states."""
        self.provider = session.provider
        self._spec = spec
        self._session = session
        self._padding_id = padding_id
        self._output = _states_output(spec, session)
        unknown = set(session.inputs) - {_INPUT_IDS, _MASK, _SEGMENTS}
        if unknown or _INPUT_IDS not in session.inputs:
            raise ModelBroken(
                f"{spec.model_id} takes {', '.join(sorted(session.inputs))}; an embedding model "
                f"takes {_INPUT_IDS} and at most {_MASK} and {_SEGMENTS}. Export it again as a "
                "feature-extraction model."
            )

    def states(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Runs the graph once over rows of token ids, padded to the longest.

        Returns:
            Token states [rows, tokens, dimensions] and the mask [rows, tokens], 0 for padding.

        Raises:
            ModelBroken: The graph cannot run on these ids or answers in another shape.
        """
        ids, mask = self._padded(rows)
        fields = {_INPUT_IDS: ids, _MASK: mask, _SEGMENTS: np.zeros_like(ids)}
        feeds = {
            name: fields[name].astype(tensor.dtype, copy=False)
            for name, tensor in self._session.inputs.items()
        }
        try:
            (states,) = self._session.run(feeds, [self._output])
        except Exception as error:  # The runtime's errors share no base class of their own.
            raise ModelBroken(
                f"{self._spec.model_id} failed on {len(rows)} x {ids.shape[1]} tokens, the highest "
                f"id {ids.max()} ({str(error)[:200]}); its tokenizer and its graph may not belong "
                "together: fetch or export the model again."
            ) from error
        if states.shape != (*ids.shape, self._spec.dimensions):
            raise ModelBroken(
                f"{self._spec.model_id} answered with shape {list(states.shape)} where "
                f"{[*ids.shape, self._spec.dimensions]} was due; its configuration and its graph "
                "do not belong together."
            )
        return states, mask

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shape = len(rows), max(map(len, rows))
        ids = np.full(shape, self._padding_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def _states_output(spec: EmbedderSpec, session: Session) -> str:
    """The output with token states.

    A ready-made `sentence_embedding` is not used: how it was pooled is not ours to know, and the
    vectors of one index must all be pooled alike.
    """
    three_dimensional = [
        tensor.name for tensor in session.outputs.values() if len(tensor.shape) == 3
    ]
    if not three_dimensional:
        raise ModelBroken(
            f"{spec.model_id} gives {', '.join(session.outputs)} and no token states; export it "
            f"again with the output {_STATES}."
        )
    return _STATES if _STATES in three_dimensional else three_dimensional[0]
