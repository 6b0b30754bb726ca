"""The plainest loop over a decoder's session: the whole cache is handed over from run to run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.runtime.session import Session


def logits_of(
    session: Session,
    token_ids: Sequence[int],
    *,
    ends: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Logits [tokens, vocabulary], read in parts that end at `ends`.

    Args:
        session: Of a graph in any layout.
        token_ids: The tokens.
        ends: Where each part ends; one part of all by default.
        rows: For graphs that take them, which rows of each part; all by default.
    """
    ids, ends = np.array([token_ids]), ends or [len(token_ids)]
    empty = [0 if dim == "past_sequence_length" else 1 if dim == "batch_size" else dim
             for dim in session.inputs["past_key_values.0.key"].shape]  # fmt: skip
    cache = {
        name: np.zeros(empty, tensor.dtype)
        for name, tensor in session.inputs.items()
        if name.startswith("past_key_values")
    }
    outputs = ["logits", *(name.replace("past_key_values", "present") for name in cache)]
    parts: list[NDArray[np.float32]] = []
    for start, end in zip([0, *ends], ends, strict=False):
        feeds = {
            "input_ids": ids[:, start:end],
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(start, end)[None],
            "logits_rows": np.arange(end - start) if rows is None else np.array(rows, np.int64),
        }
        feeds = {name: array for name, array in feeds.items() if name in session.inputs}
        logits, *present = session.run(feeds | cache, outputs)
        cache = dict(zip(cache, present, strict=True))
        parts.append(logits[0].astype(np.float32))
    return np.concatenate(parts)
