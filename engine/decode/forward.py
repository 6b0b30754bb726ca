"""Runs the graph over the next tokens of sequences: of one, or one token of each of several.

Knows the published names of a decoder's inputs and outputs, those that onnxruntime-genai's exports
of Phi-3 and optimum's use, and one of our own: where a graph takes `logits_rows`, only the rows
asked for are computed, which spares a prompt the largest multiplication for every token but its
last. How keys and values are kept, and who runs together, is the cache's to know.

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

from engine.decode.growing_cache import GrowingCache
from engine.decode.kv_cache import CacheLayout, KVCache, Row
from engine.decode.shared_cache import SharedCache
from engine.errors import ModelBroken
from engine.runtime.session import Array, Binding, Interrupted, Session, Stop

_IDS, _MASK, _POSITIONS = "input_ids", "attention_mask", "position_ids"
_ROWS, _LOGITS = "logits_rows", "logits"

Logits = NDArray[np.float32]


class Forward:
    """The graph with its cache of keys and values."""

    def __init__(
        self,
        session: Session,
        context: int,
        kv_limit_bytes: int,
        *,
        shares_buffer: bool = True,
    ) -> None:
        """A graph with an empty cache.

        Args:
            session: An opened decoder graph.
            context: Tokens that a sequence may have at most.
            kv_limit_bytes: What the cache may take.
            shares_buffer: Whether the graph updates its cache in place, as GroupQueryAttention
                does; else it gives past and new keys and values joined.

        Raises:
            ModelBroken: The graph is of a form that is not served.
        """
        self.layout = served_layout(session)
        kind = SharedCache if shares_buffer else GrowingCache
        self.cache: KVCache = kind(session, self.layout, context, kv_limit_bytes)
        self._types = {name: tensor.dtype for name, tensor in session.inputs.items()}
        self._vocabulary, logits_type = _logits_shape(session)
        self._logits: Array = np.zeros(0, logits_type)

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
        logits = self._run([row], [token_ids], wanted, stop)
        self.cache.keep(row, len(token_ids))
        return logits[0]

    def step(self, rows: Sequence[Row], token_ids: Sequence[int]) -> Logits:
        """Runs several rows over the next token of each.

        Returns:
            Logits [rows, vocabulary], in the order of `rows`.

        Raises:
            ModelBroken: The graph cannot run on them.
        """
        given = dict(zip(rows, token_ids, strict=True))
        found: dict[Row, Logits] = {}
        for batch in self.cache.batches(rows):
            # What runs along has a token that is not kept.
            logits = self._run(batch, [[given.get(row, 0)] for row in batch])
            for row, line in zip(batch, logits, strict=True):
                if row in given:
                    self.cache.keep(row, 1)
                    found[row] = line[-1].copy()
        return np.stack([found[row] for row in rows])

    def _run(
        self,
        batch: Sequence[Row],
        token_ids: Sequence[Sequence[int]],
        wanted: int = 1,
        stop: Stop | None = None,
    ) -> Logits:
        """Logits [rows, wanted, vocabulary] after the last of as many new tokens in each row."""
        count = len(token_ids[0])
        binding = self.cache.binding(batch, count)
        starts = np.array([[row.position] for row in batch])
        width = int(starts.max()) + count
        arrays: dict[str, Array] = {
            _IDS: np.array(token_ids),
            _MASK: np.arange(width) < starts + count,
            _POSITIONS: starts + np.arange(count),
            _ROWS: np.arange(count - wanted, count),
        }
        for name in arrays.keys() & self._types.keys():
            binding.bind_input(name, arrays[name].astype(self._types[name]))
        given = wanted if _ROWS in self._types else count
        logits = self._bound_logits(binding, (len(batch), given, self._vocabulary))
        try:
            binding.run(stop)
        except Interrupted:
            raise
        except Exception as error:  # The runtime's errors share no base class of their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ModelBroken(
                f"The language model failed on {count} tokens after {width - count} others "
                f"({reason}). Its graph, tokenizer and configuration must belong together, and "
                "its cache must come back with what is new at its end: fetch or export it again."
            ) from error
        return logits[:, -wanted:].astype(np.float32, copy=False)

    def _bound_logits(self, binding: Binding, shape: tuple[int, int, int]) -> Array:
        if self._logits.shape != shape:
            self._logits = np.zeros(shape, self._logits.dtype)
        binding.bind_output(_LOGITS, self._logits)
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
    known = {_IDS, _MASK, _POSITIONS, _ROWS, *(past for past, _ in layout.names)}
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
            + "); use an export of a text decoder that takes input_ids, attention_mask and a "
            "cache, with or without position_ids."
        )
    return layout
