"""What 8 bits gain an encoder on the CPU, and what they cost: speed, nearness, ranking.

    python examples/benchmarks/embed_precision.py --weights DIR [--data DIR] [--rounds 9]

DIR of --weights holds a BERT encoder as published (model.safetensors, config.json, tokenizer.json).
It is converted twice, as all-minilm-l6-v2 and all-minilm-l6-v2-int8 are when they are pulled.
First one product of an encoder (512 x 384 with 384 x 1,536) is run in each form that ONNX Runtime
has, in turns; then both models embed the 200 texts of embed.py in turns. --data is a folder in
BEIR's format, on which both rank everything as in search_quality.py.

What was measured of all-MiniLM-L6-v2 on Linux x86-64 with 2 cores that have AMX, ONNX Runtime 1.32,
by scripts that this file replaces; other programs ran meanwhile, so only ratios within a run count.
One product, best of 15 turns, GFLOP/s or the same number of whole ones:

    u8 x s8 (used; AMX)            950
    u8 x u8                        331
    float32                        293
    float16                        281
    MatMulNBits, blocks of 128     233   scales of a block: no neighbour, no gain
    MatMulNBits, blocks of 32      177
    s8 x s8                         36
    bfloat16                         -   no CPU kernel: NOT_IMPLEMENTED

On a machine with nothing else to do, this file then said of the product: u8 x s8 5.1 times as fast
as float32, u8 x u8 1.2, MatMulNBits 1.1 and 1.4, float16 0.95, s8 x s8 0.07; of the whole model:

    the bulk of embed.py   2.22 times as fast (5 rounds, 905 ms where float32 takes 2,004)
    cosine to float32      0.9981 at least, 0.9989 in the mean
    alone and in a batch   the same bits, in float32 as in int8
    SciFact, nDCG@10       0.6490 beside 0.6492 (half of the test queries, all 5,183 abstracts)

How near, on an earlier form of the graph (8-bit products for all weights, best turn's speed):

    activations                              speed   mean cosine
    a constant for each product              2.3x    0.9948
    a scale for each row                     1.8x    0.9976
    wide products only, a scale a row        1.5x    0.9992
    used: `models.quantising` says which     2.0x    0.9990

The runtime's switch session.x64quantprecision costs all of it (9,468 tokens/s beside 9,986): it
takes AMX for a CPU whose sums overflow, so `runtime.session` sets it for those alone. Arm has a
switch mlas.enable_gemm_fastmath_arm64_bfloat16 for bfloat16; it could not be tried here.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import search_quality
from embed_task import Task, texts
from machine import machine

from engine.embed.embedder import Embedder
from engine.models import folder
from engine.models.converters import from_safetensors, int8_from_safetensors
from engine.models.graph import GraphWriter
from engine.models.spec import EmbedderSpec

ROWS, WIDTH, COLUMNS = 512, 384, 1536
PRODUCTS = ["float32", "float16", "u8 x s8", "u8 x u8", "s8 x s8"]
BLOCKS = (32, 128)

Run = Callable[[], object]


def main() -> None:
    options = _options()
    print(machine())
    compare("one product", {name: _product(name) for name in _names()}, options.rounds)
    with tempfile.TemporaryDirectory() as place:
        models = {
            name: _embedder(convert, options.weights, Path(place) / name)
            for name, convert in (
                ("float32", from_safetensors.convert),
                ("int8", int8_from_safetensors.convert),
            )
        }
        bulk = texts(_task())
        runs = {
            name: lambda model=model: model.embed(bulk, "document")
            for name, model in models.items()
        }
        compare("the bulk of embed.py", runs, options.rounds)
        _show_nearness(models, bulk)
        if options.data:
            for name, model in models.items():
                quality = search_quality.measure(model, options.data)
                print(f"{name:<10}nDCG@10 {quality.ndcg_10:.4f} of {quality.documents:,} documents")


def compare(title: str, runs: dict[str, Run], rounds: int) -> None:
    """Runs all of them once a round; shows medians and what each is of the first."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    first = next(iter(seconds.values()))
    print(f"\n{title:<22}{'median':>12}{'speed of the first, median of the rounds':>44}")
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(first, times, strict=True))
        print(f"{name:<22}{statistics.median(times) * 1000:>9.2f} ms{ratio:>43.2f}x")


def _show_nearness(models: dict[str, Embedder], bulk: list[str]) -> None:
    exact, coarse = (model.embed(bulk, "document").vectors for model in models.values())
    cosines = (exact * coarse).sum(axis=1)
    print(f"\ncosine to float32: lowest {cosines.min():.5f}, mean {cosines.mean():.5f}")
    for name, model in models.items():
        together = model.embed(bulk[:20], "document").vectors
        alone = np.concatenate([model.embed([text], "document").vectors for text in bulk[:20]])
        print(f"{name}: alone and beside others at most {np.abs(together - alone).max():.1e} apart")


def _embedder(convert: Callable[[Path, Path], None], weights: Path, place: Path) -> Embedder:
    convert(weights, place)
    spec = folder.read(place)
    assert isinstance(spec, EmbedderSpec)
    return Embedder.open(spec)


def _names() -> list[str]:
    return [*PRODUCTS, *(f"MatMulNBits, blocks of {block}" for block in BLOCKS)]


def _product(name: str) -> Run:
    """A session with that product alone, ready to run."""
    numbers = np.random.default_rng(0)
    weights = numbers.normal(0, 0.05, (WIDTH, COLUMNS)).astype(np.float32)
    states = numbers.normal(0, 1, (ROWS, WIDTH)).astype(np.float32)
    codes = np.rint(weights / np.abs(weights).max(axis=0) * 127).astype(np.int8)
    unsigned = (codes.astype(np.int16) + 128).astype(np.uint8)
    coded = np.clip(np.rint(states * 30), -127, 127).astype(np.int8)
    shifted = (coded.astype(np.int16) + 128).astype(np.uint8)
    if name.startswith("MatMulNBits"):
        return _blockwise(states, weights, int(name.split()[-1]))
    given, constant, zeros = {
        "float32": (states, weights, []),
        "float16": (states.astype(np.float16), weights.astype(np.float16), []),
        "u8 x s8": (shifted, codes, [np.array(128, np.uint8)]),
        "u8 x u8": (shifted, unsigned, [np.array(128, np.uint8)] * 2),
        "s8 x s8": (coded, codes, []),
    }[name]
    whole = given.dtype.kind in "iu"
    graph = GraphWriter()
    inputs = [graph.input("x", given.dtype.type, ["rows", WIDTH]), graph.constant("w", constant)]
    inputs += [graph.constant(f"zero.{index}", zero) for index, zero in enumerate(zeros)]
    graph.node("MatMulInteger" if whole else "MatMul", inputs, ["y"])
    graph.output("y", np.int32 if whole else given.dtype.type, ["rows", COLUMNS])
    return _ready(graph, given)


def _blockwise(states: np.ndarray, weights: np.ndarray, block: int) -> Run:
    """8-bit weights with a scale a block, and states that the runtime quantises by block."""
    blocks = weights.T.reshape(COLUMNS, -1, block)
    scales = (np.abs(blocks).max(axis=-1) / 127).astype(np.float32)
    graph = GraphWriter()
    inputs = [
        graph.input("x", np.float32, ["rows", WIDTH]),
        graph.constant("w", (np.rint(blocks / scales[..., None]) + 128).astype(np.uint8)),
        graph.constant("scales", scales),
    ]
    sizes = {"K": WIDTH, "N": COLUMNS, "bits": 8, "block_size": block, "accuracy_level": 4}
    graph.node("com.microsoft.MatMulNBits", inputs, ["y"], **sizes)
    graph.output("y", np.float32, ["rows", COLUMNS])
    return _ready(graph, states)


def _ready(graph: GraphWriter, given: np.ndarray) -> Run:
    session = ort.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": given})


def _task() -> Task:
    return Task(
        engine="ours", model="", gguf="", pooling="mean", dimensions=384, max_tokens=256, threads=0
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="an encoder as published")
    parser.add_argument("--data", type=Path, help="a folder in BEIR's format")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
