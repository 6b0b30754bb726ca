"""BERT safetensors to our fused ONNX graph with its products in 8 bits.

The graph is the one that `from_safetensors` writes, quantised by `models.quantising`.
"""

from pathlib import Path

from engine.models import quantising
from engine.models.calibrating import Words
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
    tokens = Words(weights_folder).texts(_ROWS, _TOKENS)
    quantising.write_int8(onnx_file, int8_file, tokens)
    int8_file.replace(onnx_file)
