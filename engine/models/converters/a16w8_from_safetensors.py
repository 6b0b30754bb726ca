"""BERT safetensors to an ONNX graph with 8-bit weights and 16-bit values, for NPUs.

The graph is the one that `from_safetensors` writes, quantised by `models.quantising_for_npu`.
"""

from pathlib import Path

from engine.models import quantising_for_npu
from engine.models.calibrating import Words
from engine.models.converters import from_safetensors

# Rows and tokens of random texts: in short ones [CLS] is as large as nowhere else.
_SHAPES = ((8, 3), (8, 64))


def convert(weights_folder: Path, folder: Path) -> None:
    """Writes `model.onnx` with codes, and the small files beside it.

    Inputs, output and arguments are those of `from_safetensors.convert`.

    Raises:
        ModelBroken: The folder is no BERT encoder, or a file or weight is missing or misshapen.
    """
    from_safetensors.convert(weights_folder, folder)
    onnx_file, a16w8_file = folder / "model.onnx", folder / "model.a16w8.onnx"
    words = Words(weights_folder)
    texts = [words.texts(rows, tokens) for rows, tokens in _SHAPES]
    quantising_for_npu.write_a16w8(onnx_file, a16w8_file, texts, words.most_tokens)
    a16w8_file.replace(onnx_file)
