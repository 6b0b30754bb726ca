"""A full-size Phi-3 of random 4-bit weights for decode.py, in the published layout and as GGUF.

The tests' own writer draws them; each file is written once and taken as it is afterwards. In GGUF
the scales are half precision, and the file has no vocabulary: it is good for speed only.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from contest import Task

_TESTS = Path(__file__).parents[2] / "tests"

# With the answer and the template's tokens it fills 1,024 positions.
_PROMPT_TOKENS = 880

# Of 32 weights in GGUF's Q4_0: a scale in half precision, and half a byte each.
_BLOCK_BYTES = 18

# GGUF's names for the projections of a layer, several below each other.
_PROJECTIONS = {
    "attn_qkv": ["qkv"],
    "attn_output": ["o"],
    "ffn_up": ["gate", "up"],
    "ffn_down": ["down"],
}
_NORMS = {"attn_norm": "input", "ffn_norm": "post_attention"}

F32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file, made when it is written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]
    kind: gguf.GGMLQuantizationType | None = None


def task(folder: Path, threads: int) -> Task:
    """The task with that model, which is written if it is not there: 2.7 GB."""
    writer = _tests("phi3_model")
    if not (folder / "tokenizer.json").is_file():
        print(f"writing a full-size Phi-3 to {folder}", file=sys.stderr)
        writer.write_phi3(folder, _tests("phi3_weights").FULL)
    return Task(
        folder=str(folder),
        onnx_file=str(folder / writer.PUBLISHED.filename),
        threads=threads,
        prompt_tokens=_PROMPT_TOKENS,
    )


def gguf_of(folder: Path) -> Path:
    """The same weights for llama.cpp, written if they are not there: 2.3 GB."""
    file = folder / "phi3-q4_0.gguf"
    if not file.is_file():
        print(f"writing {file.name}", file=sys.stderr)
        part = file.with_suffix(".part")
        _write_gguf(part)
        part.rename(file)
    return file


def _write_gguf(file: Path) -> None:
    weights = _tests("phi3_weights")
    shape = weights.FULL
    writer = gguf.GGUFWriter(file, "phi3")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(weights.EPSILON)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(weights.THETA)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")
    tensors = list(_tensors(weights, shape))
    for tensor in tensors:
        size = int(np.prod(tensor.shape)) * tensor.dtype.itemsize
        writer.add_tensor_info(tensor.name, tensor.shape, tensor.dtype, size, tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(np.ascontiguousarray(tensor.make()))
    writer.close()


def _tensors(weights: Any, shape: Any) -> Iterator[Tensor]:
    def norm(name: str, source: str) -> Tensor:
        return Tensor(f"{name}.weight", (shape.hidden,), F32, lambda: weights.norm(shape, source))

    def quantised(name: str, sources: list[str]) -> Tensor:
        sizes = [weights.projection_shape(shape, source) for source in sources]
        width = sizes[0][1] // weights.BLOCK * _BLOCK_BYTES
        return Tensor(
            f"{name}.weight",
            (sum(rows for rows, _ in sizes), width),
            np.dtype(np.uint8),
            lambda: np.concatenate([_q4_0(*weights.quantised(shape, s)) for s in sources]),
            gguf.GGMLQuantizationType.Q4_0,
        )

    yield Tensor(
        "token_embd.weight",
        (shape.vocabulary, shape.hidden),
        np.dtype(np.float16),
        lambda: weights.embedding(shape).astype(np.float16),
    )
    for layer in range(shape.layers):
        for name, source in _NORMS.items():
            yield norm(f"blk.{layer}.{name}", f"{layer}.{source}")
        for name, sources in _PROJECTIONS.items():
            yield quantised(f"blk.{layer}.{name}", [f"{layer}.{source}" for source in sources])
    yield norm("output_norm", "final")
    yield quantised("output", ["head"])


def _q4_0(packed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Rows of blocks: the scale, then bytes that hold a weight of each half of the block."""
    rows, blocks, half = packed.shape
    values = np.stack([packed & 15, packed >> 4], axis=-1).reshape(rows, blocks, 2 * half)
    halves = values[..., :half] | (values[..., half:] << 4)
    steps = scales.astype("<f2")[..., None].view(np.uint8)
    return np.concatenate([steps, halves], axis=-1).reshape(rows, -1)


def _tests(module: str) -> Any:
    if str(_TESTS) not in sys.path:
        sys.path.append(str(_TESTS))
    return importlib.import_module(module)
