"""BERT safetensors to our fused ONNX graph with its products in 8 bits.

The graph is the one that `from_safetensors` writes, quantised by `models.quantising`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelBroken
from engine.models import configs, quantising
from engine.models.converters import from_safetensors

# Eight texts of random tokens; more of them, or real ones, made vectors no more exact.
_ROWS, _TOKENS = 8, 64


def convert(weights_folder: Path, folder: Path) -> None:
    """Writes `model.onnx` with 8-bit products, and the small files beside it.

    Inputs, output and arguments are those of `from_safetensors.convert`.

    Raises:
        ModelBroken: The folder is no BERT encoder, or a file or weight is missing or misshapen.
    """
    from_safetensors.convert(weights_folder, folder)
    onnx_file, int8_file = folder / "model.onnx", folder / "model.int8.onnx"
    quantising.write_int8(onnx_file, int8_file, _random_texts(weights_folder))
    int8_file.replace(onnx_file)


def _random_texts(folder: Path) -> NDArray[np.int32]:
    """Token ids [rows, tokens], the same ones every time: words between [CLS] and [SEP].

    Rows of the vocabulary that were never trained ("[unused5]") are as large as nothing else: with
    them among the words vectors were three times as far from those in float32.
    """
    config = configs.read(folder, "config.json")
    vocabulary = _vocabulary(folder) or {str(i): i for i in range(int(config["vocab_size"]))}
    words = sorted(token for text, token in vocabulary.items() if text.isalnum())
    width = min(_TOKENS, int(config["max_position_embeddings"]))
    ids = np.random.default_rng(0).choice(np.array(words, np.int32), (_ROWS, width))
    for place, token in ((0, "[CLS]"), (-1, "[SEP]")):
        ids[:, place] = vocabulary.get(token, ids[0, place])
    return ids


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
