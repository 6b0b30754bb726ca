"""What an encoder's values are on random words, from which quantised forms take their ranges.

Knows graphs and vocabularies, neither sessions nor precisions. Rule: every machine finds the same,
for what rests on it is checked by its hash and tells one set of vectors from another.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelBroken
from engine.models import configs
from engine.models.graph import GraphEditor, GraphNode
from engine.models.static_graph import static_graph


@dataclass(frozen=True, slots=True)
class Computed:
    """A node, what it was given and what it gave; floats in 64 bits."""

    node: GraphNode
    inputs: list[NDArray[Any] | None]
    outputs: list[NDArray[Any]]


class Words:
    """The words of an encoder's vocabulary, between [CLS] and [SEP].

    Rows of the vocabulary that were never trained ("[unused5]") are as large as nothing else: with
    them among the words vectors in 8 bits were three times as far from those in float32.
    """

    def __init__(self, weights_folder: Path) -> None:
        """Raises ModelBroken if config.json or tokenizer.json cannot be used."""
        config = configs.read(weights_folder, "config.json")
        ids = _vocabulary(weights_folder)
        ids = ids or {str(i): i for i in range(int(config["vocab_size"]))}
        self._words = np.array(sorted(i for text, i in ids.items() if text.isalnum()), np.int32)
        self._ids = ids
        self.most_tokens = int(config["max_position_embeddings"])
        """Of a text."""

    def texts(self, rows: int, tokens: int) -> NDArray[np.int32]:
        """Token ids [rows, tokens], the same ones every time; shorter where there is no room."""
        shape = rows, min(tokens, self.most_tokens)
        ids = np.random.default_rng(0).choice(self._words, shape)
        for place, token in ((0, "[CLS]"), (-1, "[SEP]")):
            ids[:, place] = self._ids.get(token, ids[0, place])
        return ids


def plain(onnx_file: Path, rows: int, tokens: int) -> GraphEditor:
    """An encoder's graph in plain operators, for so many rows and tokens.

    Raises:
        ModelBroken: The file cannot be read.
        NpuFailed: It holds what has no plain form.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.onnx"
        file.write_bytes(static_graph(onnx_file, rows, tokens))
        return GraphEditor(file)


def computed(editor: GraphEditor, tokens: NDArray[np.int32]) -> Iterator[Computed]:
    """Runs a plain graph of the shape of `tokens`, which have no padding, node by node."""
    values = {name: _exact(array) for name, array in editor.constants().items()}
    values |= {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
    for node in editor.nodes:
        inputs = [values[name] if name else None for name in node.inputs]
        outputs = list(map(_exact, _evaluated(node, inputs, editor.opset)))
        values.update(zip(node.outputs, outputs, strict=True))
        yield Computed(node, inputs, outputs)


def _exact(array: NDArray[Any]) -> NDArray[Any]:
    """In 64 bits: in 32 every machine's products end otherwise, and so would the file."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _evaluated(
    node: GraphNode, inputs: list[NDArray[Any] | None], opset: int
) -> list[NDArray[Any]]:
    """A node's outputs; the evaluator has no Gelu, and for a range its usual formula is exact."""
    values = inputs[0]
    if node.operator != "Gelu" or values is None:
        return node.evaluated(inputs, opset)
    inner = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
    return [values * (1 + np.tanh(inner)) / 2]


def _vocabulary(folder: Path) -> dict[str, int]:
    """Ids by text; empty where there is no tokenizer."""
    if not (folder / "tokenizer.json").is_file():
        return {}
    stored: Any = configs.read(folder, "tokenizer.json")
    try:
        return {str(text): int(token) for text, token in stored["model"]["vocab"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelBroken(
            f"tokenizer.json of the weights cannot be used ({error!r}); fetch the model again."
        ) from error
