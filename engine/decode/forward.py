"""Runs the graph over the next tokens of sequences: of one, or one token of each of several.

Knows the published names of a decoder's inputs and outputs, those that onnxruntime-genai's exports
of Phi-3 use, and one of our own: where a graph takes `logits_rows`, only the rows asked for are
computed, which spares a prompt the largest multiplication for every token but its last.

Rule: what a run computes for a token does not depend on its neighbours. Runs over two tokens or
more give the same bits however the tokens are cut into runs, and a run over one token of each of
several rows the same as over each alone. One token alone and the same token among others differ in
their last bits, because attention takes another kernel, and 8-bit activations carry that to the
logits: SmolLM2's differ by up to 0.8 at the median, and the most probable token was another one in
17 of 1,505 places, in all but one of them where the best two lay within 0.31 (ONNX Runtime 1.32).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.decode.kv_cache import CacheLayout, KVCache, Row
from engine.errors import ModelBroken
from engine.runtime.session import Array, Binding, Interrupted, Session, Stop

_IDS, _MASK, _ROWS, _LOGITS = "input_ids", "attention_mask", "logits_rows", "logits"

Logits = NDArray[np.float32]


class Forward:
    """The graph with its cache of keys and values."""

    def __init__(self, session: Session, context: int, kv_limit_bytes: int) -> None:
        """A graph with an empty cache.

        Args:
            session: An opened decoder graph.
            context: Tokens that a sequence may have at most.
            kv_limit_bytes: What the cache may take.

        Raises:
            ModelBroken: The graph is of a form that is not served.
        """
        self.layout = served_layout(session)
        self.cache = KVCache(session, self.layout, context, kv_limit_bytes)
        self._ids_type = session.inputs[_IDS].dtype
        self._mask_type = session.inputs[_MASK].dtype
        self._takes_rows = _ROWS in session.inputs
        self._vocabulary, self._logits_type = _logits_shape(session)
        self._ones: Array = np.ones((1, context), self._mask_type)
        self._logits: Array = np.zeros(0, self._logits_type)

    def extend(
        self, row: Row, token_ids: Sequence[int], wanted: int = 1, stop: Stop | None = None
    ) -> Logits:
        """Runs one row over its next tokens.

        Args:
            row: Whose `position` moves on.
            token_ids: At least one.
            wanted: For how many of the last tokens logits are computed.
            stop: Ends the run from another thread.

        Returns:
            Logits [wanted, vocabulary], valid until the next run.

        Raises:
            Interrupted: By `stop`; the row is as before.
            ModelBroken: The graph cannot run on them.
        """
        count = len(token_ids)
        self.cache.reserve(row.position + count)
        binding = self.cache.binding(row.index, 1)
        ids = np.array([token_ids], self._ids_type)
        rows = np.arange(count - wanted, count)
        logits = self._run(binding, ids, self._ones[:, : row.position + count], rows, stop)
        row.position += count
        return logits[0, -wanted:]

    def step(self, rows: Sequence[Row], token_ids: Sequence[int]) -> Logits:
        """Runs several rows over the next token of each.

        Rows that lie between them run along on a token that is not kept.

        Returns:
            Logits [rows, vocabulary], in the order of `rows`.

        Raises:
            ModelBroken: The graph cannot run on them.
        """
        batch = self.cache.rows[: 1 + max(row.index for row in rows)]
        widths = [row.position + 1 for row in batch]
        self.cache.reserve(max(widths))
        ids = np.zeros((len(batch), 1), self._ids_type)
        ids[[row.index for row in rows], 0] = token_ids
        mask = np.arange(max(widths)) < np.array(widths)[:, None]
        binding = self.cache.binding(0, len(batch))
        logits = self._run(binding, ids, mask.astype(self._mask_type), np.zeros(1, np.int64), None)
        for row in rows:
            row.position += 1
        return logits[[row.index for row in rows], -1]

    def _run(
        self, binding: Binding, ids: Array, mask: Array, rows: NDArray[np.int64], stop: Stop | None
    ) -> Logits:
        binding.bind_input(_IDS, ids)
        binding.bind_input(_MASK, mask)
        if self._takes_rows:
            binding.bind_input(_ROWS, rows)
        count = len(rows) if self._takes_rows else ids.shape[1]
        shape = (len(ids), count, self._vocabulary)
        if self._logits.shape != shape:
            self._logits = np.zeros(shape, self._logits_type)
        binding.bind_output(_LOGITS, self._logits)
        try:
            binding.run(stop)
        except Interrupted:
            raise
        except Exception as error:  # The runtime's errors share no base class of their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ModelBroken(
                f"The language model failed on {ids.shape[1]} tokens after "
                f"{mask.shape[1] - ids.shape[1]} others ({reason}). Its graph, tokenizer and "
                "configuration must belong together, and its attention must be "
                "GroupQueryAttention: fetch or export it again."
            ) from error
        return self._logits.astype(np.float32, copy=False)


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
