"""Runs the graph over the next tokens of one sequence.

Knows the published names of a decoder's inputs and outputs, those that onnxruntime-genai's exports
of Phi-3 use, and one of our own: where a graph takes `logits_rows`, only the rows asked for are
computed, which spares a prompt the largest multiplication for every token but its last.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.decode.kv_cache import CacheLayout, KVCache
from engine.errors import ModelBroken
from engine.runtime.session import Array, Session

_IDS, _MASK, _ROWS, _LOGITS = "input_ids", "attention_mask", "logits_rows", "logits"


class Forward:
    """Runs the graph over the next tokens of one sequence."""

    def __init__(self, session: Session, layout: CacheLayout, capacity: int) -> None:
        self._cache = KVCache(session, layout, capacity)
        self._ids_type = session.inputs[_IDS].dtype
        self._mask: Array = np.ones((1, capacity), session.inputs[_MASK].dtype)
        self._logits_shape = _logits_shape(session)
        self._logits: Array | None = None
        self._row: Array | None = None
        if _ROWS in session.inputs:
            self._row = np.zeros(1, np.int64)
            self._cache.binding.bind_input(_ROWS, self._row)

    def __call__(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits [vocabulary] after these tokens; valid until the next call.

        Raises:
            ModelBroken: The graph cannot run on them.
        """
        count, binding = len(token_ids), self._cache.binding
        binding.bind_input(_IDS, np.array([token_ids], self._ids_type))
        binding.bind_input(_MASK, self._mask[:, : self._cache.position + count])
        if self._row is not None:
            self._row[0] = count - 1
        logits = self._bound_logits(count if self._row is None else 1)
        try:
            binding.run()
        except Exception as error:  # The runtime's errors share no base class of their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ModelBroken(
                f"The language model failed on {count} tokens after {self._cache.position} others "
                f"({reason}). Its graph, tokenizer and configuration must belong together, and its "
                "attention must be GroupQueryAttention: fetch or export it again."
            ) from error
        self._cache.advance(count)
        return logits[0, -1].astype(np.float32, copy=False)

    def close(self) -> None:
        """Frees the cache."""
        self._cache.close()
        self._logits = None

    def _bound_logits(self, rows: int) -> Array:
        """The output array; a bound output keeps its shape, so another shape is bound anew."""
        if self._logits is None or self._logits.shape[1] != rows:
            vocabulary, dtype = self._logits_shape
            self._logits = np.zeros((1, rows, vocabulary), dtype)
            self._cache.binding.bind_output(_LOGITS, self._logits)
        return self._logits


def _logits_shape(session: Session) -> tuple[int, type[np.generic]]:
    logits = session.outputs[_LOGITS]
    match logits.shape:
        case (_, _, int(vocabulary)):
            return vocabulary, logits.dtype
        case _:
            raise ModelBroken("The model's logits are not [batch, length, vocabulary].")


def served_layout(session: Session) -> CacheLayout:
    """The cache layout of a graph that wants what this loop gives, no more and no less.

    Raises:
        ModelBroken: Naming the tensors that make the difference.
    """
    layout = CacheLayout.of(session)
    known = {_IDS, _MASK, _ROWS, *(past for past, _ in layout.names)}
    missing = sorted({_IDS, _MASK} - session.inputs.keys()) + sorted(
        {_LOGITS} - session.outputs.keys()
    )
    unknown = sorted(session.inputs.keys() - known)
    if missing or unknown:
        raise ModelBroken(
            "The model's graph is of a form that is not served ("
            + "; ".join(
                f"{problem}: {', '.join(names)}"
                for problem, names in (("missing", missing), ("not known", unknown))
                if names
            )
            + "); use an export with GroupQueryAttention and without position_ids."
        )
    return layout
