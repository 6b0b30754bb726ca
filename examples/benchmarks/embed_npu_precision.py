"""What 8-bit weights and 16-bit values (A16W8) cost an encoder on Qualcomm's NPU, beside fp16.

    python examples/benchmarks/embed_npu_precision.py --weights DIR [--data DIR] [--simulator]

DIR of --weights is an encoder as published (model.safetensors, config.json, tokenizer.json). It is
converted as all-minilm-l6-v2 and all-minilm-l6-v2-a16w8 are when they are pulled. --data is a
folder in BEIR's format, ranked whole by the CPU's vectors; "16-bit weights" are those of float32
rounded, since the CPU runs no graph in fp16 throughout. --simulator compiles both for the HTP
simulator, where a run takes seconds, so that vectors alone are compared there.

What it said of all-MiniLM-L6-v2 (onnxruntime-qnn 2.7, soc 60; November 2026; no Snapdragon was
there, so nothing is known of its speed):

                     nDCG@10, SciFact's    on the simulator, lowest cosine    its context
                     dev half, whole       to the CPU's     to float32        on disk
    float32          0.6492                0.9999 (fp16)    0.9999 (fp16)     43 MB
    16-bit weights   0.6492
    A16W8            0.6508                0.9996           0.9960            33 MB

(SciFact's 5,183 abstracts and 150 queries; simulator at 32 and 128 tokens, and with fewer texts at
64 and 256 as well: the same. All 593 nodes on QNN, compiled in 3 to 9 s.) By CPU time embedding on
the CPU is as fast as in float32 (1.03 and 0.98 s for 30 texts on one thread).

What was tried, by lowest cosine of the simulator's vectors to float32, five short texts:

- Everything in codes: 0.981. Scores and Softmax in floats instead: 0.996, which is what 8-bit
  weights leave. Sums and normalisations in floats: 0.981; Gelu's input: 0.981. Only what products
  take and give in codes: 0.997, but the rest is then fp16.
- onnxruntime.quantization's preset for QNN has one scale for a matrix: 0.990 on the CPU where a
  scale for each column has 0.999. 8-bit values are of no use (0.28).
- The CPU's default optimisation of such a graph: MatMulNBits in place of products, which rounds
  their values to 8 bits (0.9989 to float32 in the mean instead of 0.9992) and takes 1.7 times as
  long. `runtime.session` turns it off for models with codes.
- Taking what rounded weights add to a sum on random words back in its bias: no better on abstracts.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from machine import machine
from search_quality import _judgements, _lines, _ndcg

from engine.embed.embedder import Embedder
from engine.embed.encoder import Encoder
from engine.models import folder
from engine.models.converters import a16w8_from_safetensors, from_safetensors
from engine.models.spec import EmbedderSpec
from engine.runtime.npu import EncoderFile, Npu
from engine.runtime.qnn.context_cache import ContextCache
from engine.runtime.qnn.devices import Absence, find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
from engine.runtime.shapes import Bucket
from engine.text.tokenizer import Tokenizer

SIMULATOR = NpuOptions(simulator=True)
LENGTHS = (32, 128)
DOCUMENT_TOKENS = 256

TEXTS = [
    "Where do storks spend the winter?",
    "ok",
    "Zinc deficiency impairs the immune system (p < 0.05, n = 1,204).",
    "The bill was read a second time and referred to a committee of the whole house.",
    "Die Störche fliegen im Herbst nach Süden. 鸛は冬を南で過ごす。",
    " ".join(f"item {number}" for number in range(150)),
]


def main() -> None:
    options = _options()
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as place:
        models = _models(options.weights, Path(place))
        if options.simulator:
            _show_vectors(models, Path(place) / "contexts")
        if options.data:
            for name, spec in models.items():
                print(f"{name:<16}nDCG@10 {_ranked(spec, options.data):.4f}")


def _models(weights: Path, place: Path) -> dict[str, EmbedderSpec]:
    from_safetensors.convert(weights, place / "float32")
    from_safetensors.convert(weights, place / "rounded")
    _round(place / "rounded" / "model.onnx")
    a16w8_from_safetensors.convert(weights, place / "a16w8")
    return {
        "float32": _spec(place / "float32"),
        "16-bit weights": _spec(place / "rounded"),
        "A16W8": replace(_spec(place / "a16w8"), has_codes=True),
    }


def _spec(place: Path) -> EmbedderSpec:
    spec = folder.read(place)
    assert isinstance(spec, EmbedderSpec)
    return replace(spec, max_tokens=DOCUMENT_TOKENS)


def _round(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            rounded = array.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    onnx.save(model, onnx_file)


def _show_vectors(models: dict[str, EmbedderSpec], contexts: Path) -> None:
    """Lowest cosines of the simulator's vectors to the CPU's and to those in float32."""
    device = find(SIMULATOR)
    if isinstance(device, Absence):
        raise SystemExit(device.reason)
    npu = Npu(device, SIMULATOR, ContextCache(contexts, 1 << 32))
    exact = models["float32"]
    for name in ("float32", "A16W8"):
        spec = models[name]
        cpu = Encoder(spec, Session.open(spec.onnx_file, without_codes=spec.has_codes), 0)
        for tokens in LENGTHS:
            opened = npu.open(EncoderFile(spec.onnx_file, spec.fingerprint), Bucket(1, tokens))
            encoder = Encoder(spec, opened.session, 0)
            rows = [row[:tokens] for row in _rows(exact)]
            there = np.concatenate([encoder.run([row], Bucket(1, tokens)) for row in rows])
            here = np.concatenate([cpu.run([row], Bucket(1, len(row))) for row in rows])
            reference = Encoder(exact, Session.open(exact.onnx_file), 0)
            right = np.concatenate([reference.run([row], Bucket(1, len(row))) for row in rows])
            nodes = opened.context.facts.nodes
            print(
                f"{name:<10}{tokens:>4} tokens, {nodes} nodes there: lowest cosine to the CPU's "
                f"{_lowest(there, here):.4f}, to float32 {_lowest(there, right):.4f}"
            )


def _rows(spec: EmbedderSpec) -> list[list[int]]:
    return Tokenizer.open(spec.tokenizer_file).encode_batch(TEXTS, special_tokens=True)


def _lowest(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((ours * theirs).sum(axis=1).min())


def _ranked(spec: EmbedderSpec, data: Path) -> float:
    """nDCG@10 of all documents by cosine."""
    judged = _judgements(data / "qrels" / "test.tsv")
    documents = list(_lines(data / "corpus.jsonl"))
    queries = [query for query in _lines(data / "queries.jsonl") if query["_id"] in judged]
    texts = [f"{document.get('title', '')} {document['text']}".strip() for document in documents]
    embedder = Embedder.open(spec)
    asked = embedder.embed([query["text"] for query in queries], "query").vectors
    stored = np.concatenate(
        [
            embedder.embed(texts[at : at + 256], "document").vectors
            for at in range(0, len(texts), 256)
        ]
    )
    ids = np.array([document["_id"] for document in documents])
    best = ids[np.argsort(-asked @ stored.T, axis=1, kind="stable")[:, :10]]
    found = [
        _ndcg(ranking.tolist(), judged[query["_id"]])
        for query, ranking in zip(queries, best, strict=True)
    ]
    return float(np.mean(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="an encoder as published")
    parser.add_argument("--data", type=Path, help="a folder in BEIR's format")
    parser.add_argument("--simulator", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
