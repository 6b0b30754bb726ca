"""Encoder: rows of token ids in, unit vectors out, on the provider its session runs on.

Knows the graph's inputs and outputs. Knows neither texts nor who asks.
Rule: a graph is fed exactly the inputs it has, and one that needs others is refused.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.embed.pooling import unit_vectors
from engine.errors import ModelBroken
from engine.models.spec import EmbedderSpec
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket

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

    @classmethod
    def on_cpu(cls, spec: EmbedderSpec, threads: int, padding_id: int) -> "Encoder":
        """A model's encoder on the CPU, where all of them give equal vectors.

        Raises:
            ModelBroken: The model cannot be opened, or is no encoder.
        """
        session = Session.open(spec.onnx_file, threads=threads, without_codes=spec.has_codes)
        return cls(spec, session, padding_id)

    @property
    def dimensions(self) -> int:
        return self._spec.dimensions

    def run(self, rows: Sequence[Sequence[int]], bucket: Bucket) -> NDArray[np.float32]:
        """Runs the graph once over rows of token ids.

        Args:
            rows: Special tokens included.
            bucket: What they are padded to; at least as many rows and tokens.

        Returns:
            Unit vectors [rows, dimensions].

        Raises:
            ModelBroken: The graph cannot run on these ids, or answers in another shape or with
                values that are no numbers.
        """
        ids, mask = self._padded(rows, bucket)
        states = self._states(ids, mask)[: len(rows)]
        vectors = unit_vectors(states, mask[: len(rows)], self._spec.pooling)
        if not np.isfinite(vectors).all():
            raise ModelBroken(
                f"{self._spec.model_id} computed values that are not numbers; its weights are "
                "damaged or its precision does not suit this machine: fetch it again."
            )
        return vectors

    def _states(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[Any]:
        fields = {_INPUT_IDS: ids, _MASK: mask, _SEGMENTS: np.zeros_like(ids)}
        feeds = {
            name: fields[name].astype(tensor.dtype, copy=False)
            for name, tensor in self._session.inputs.items()
        }
        try:
            (states,) = self._session.run(feeds, [self._output])
        except Exception as error:  # The runtime's errors share no base class of their own.
            raise ModelBroken(
                f"{self._spec.model_id} failed on {ids.shape[0]} x {ids.shape[1]} tokens, the "
                f"highest id {ids.max()} ({str(error)[:200]}); its tokenizer and its graph may not "
                "belong together: fetch or export the model again."
            ) from error
        if states.shape != (*ids.shape, self._spec.dimensions):
            raise ModelBroken(
                f"{self._spec.model_id} answered with shape {list(states.shape)} where "
                f"{[*ids.shape, self._spec.dimensions]} was due; its configuration and its graph "
                "do not belong together."
            )
        return states

    def _padded(
        self, rows: Sequence[Sequence[int]], bucket: Bucket
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shape = bucket.rows, bucket.tokens
        ids = np.full(shape, self._padding_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        # A row of padding alone has nothing to attend to: each sees its first token.
        mask[:, 0] = 1
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
