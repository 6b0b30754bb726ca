"""The bound of decoding: how fast the cores read memory, and what one token has to read.

A token reads every weight that multiplies once, and the keys and values of all tokens before it.
Rows that are looked up (embeddings, positions) are a few kilobytes and not counted.

    python examples/benchmarks/bandwidth.py [FOLDER/model.onnx | FILE.gguf]
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper

# Much more than any cache holds, the ones that virtual machines report and share included.
_BUFFER_BYTES = 1 << 30

_PASSES = 8

_KV_HEADS = "attention.head_count_kv"

# Operators that take rows of these inputs, by position, instead of all of them.
_LOOKED_UP = {
    "Gather": (0,),
    "GatherBlockQuantized": (0, 2, 3),
    "GroupQueryAttention": (7, 8),
    "RotaryEmbedding": (2, 3),
}


@dataclass(frozen=True)
class Reading:
    """What one decode step reads."""

    weight_bytes: int
    kv_bytes_per_token: int

    def tokens_per_second(self, bandwidth: float, context: float, slots: int = 1) -> float:
        """The bound for so many answers at once, each after so many tokens."""
        step = self.weight_bytes + slots * context * self.kv_bytes_per_token
        return slots * bandwidth / step


def read_bandwidth() -> float:
    """Bytes a second that all cores read together: the best of several passes and ways."""
    buffer = np.ones(_BUFFER_BYTES // 4, np.float32)
    cores = os.cpu_count() or 1
    parts = np.array_split(buffer, cores)
    best = 0.0
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(_PASSES):
            for read in (_square, np.max):
                started = time.perf_counter()
                list(pool.map(read, parts))
                best = max(best, buffer.nbytes / (time.perf_counter() - started))
    return best


def _square(part: np.ndarray) -> float:
    return float(np.dot(part, part))


def in_a_process() -> float:
    """The same, measured by a process that is gone afterwards."""
    command = [sys.executable, __file__, "--bytes"]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def of_onnx(onnx_file: Path) -> Reading:
    """What a decoder's graph reads for one token."""
    graph = onnx.load(str(onnx_file), load_external_data=False).graph
    read_whole = {
        name
        for node in graph.node
        for position, name in enumerate(node.input)
        if position not in _LOOKED_UP.get(node.op_type, ())
    }
    weights = sum(_bytes(tensor) for tensor in graph.initializer if tensor.name in read_whole)
    caches = [value.type.tensor_type for value in graph.input if "past_key" in value.name]
    kv = 0
    for cache in caches:
        dims = cache.shape.dim
        itemsize = helper.tensor_dtype_to_np_dtype(cache.elem_type).itemsize
        kv += dims[1].dim_value * dims[3].dim_value * itemsize
    return Reading(weights, kv)


def of_gguf(gguf_file: Path) -> Reading:
    """What llama.cpp reads for one token, its cache in half precision."""
    reader = gguf.GGUFReader(gguf_file)
    names = {tensor.name for tensor in reader.tensors}
    only_looked_up = {"token_embd.weight"} if "output.weight" in names else set[str]()
    weights = sum(t.n_bytes for t in reader.tensors if t.name not in only_looked_up)
    arch = str(_field(reader, "general.architecture"))
    layers, hidden, heads, kv_heads = (
        int(_field(reader, f"{arch}.{key}"))
        for key in ("block_count", "embedding_length", "attention.head_count", _KV_HEADS)
    )
    return Reading(int(weights), 2 * 2 * layers * kv_heads * hidden // heads)


def _field(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    assert field is not None, f"the file does not say {name}"
    return field.contents()


def _bytes(tensor: TensorProto) -> int:
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(prod(tensor.dims)) * dtype.itemsize


def main() -> None:
    """Prints the bandwidth, and the bound of a model."""
    bandwidth = read_bandwidth()
    if sys.argv[1:] == ["--bytes"]:
        print(bandwidth)
        return
    print(f"{bandwidth / 1e9:.1f} GB/s")
    for file in map(Path, sys.argv[1:]):
        reading = of_gguf(file) if file.suffix == ".gguf" else of_onnx(file)
        print(
            f"{file.name}: {reading.weight_bytes / 1e6:.1f} MB a token and "
            f"{reading.kv_bytes_per_token} bytes for each before it: at most "
            f"{reading.tokens_per_second(bandwidth, 0):.0f} tokens/s, "
            f"{reading.tokens_per_second(bandwidth, 512):.0f} after 512"
        )


if __name__ == "__main__":
    main()
