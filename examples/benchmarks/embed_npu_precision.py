"""What 16-bit activations and 8-bit weights (A16W8) cost an encoder on Qualcomm's NPU.

    python examples/benchmarks/embed_npu_precision.py --weights DIR [--data DIR] [--simulator]

DIR of --weights is an encoder as published (model.safetensors, config.json, tokenizer.json). Its
static graph is quantised by onnxruntime.quantization, on random words of its own vocabulary, in
three ways, and compared with float32. --simulator also compiles each for the HTP simulator, where
one run of 32 tokens takes about a second, so the ranking on --data (a folder in BEIR's format: what
is judged, and 60 documents beside it) is that of the quantised graph on the CPU.

What it said of all-MiniLM-L6-v2 (lowest cosine to float32 of the three texts; onnxruntime-qnn 2.7,
soc 60; all 632 nodes on QNN, compiled in 1.4 s; no Snapdragon was there):

                              on the CPU   on the simulator
    A16W8, preset                 0.9903             0.9897
    A16W8, a scale a column       0.9994             0.9980
    A16W16                        1.0000             0.9982

What is lost is the weights': the preset has one scale for a whole matrix (its `per_channel` leaves
products as they are, and with signed weights cosines fell to 0.94). 8-bit activations are of no use
(0.28). The simulator is 0.002 below the CPU's run of the same graph.

nDCG@10 on half of SciFact's test queries and 209 of its abstracts, which is easier than the whole
set and says little below 0.01: 0.8876 in float32, 0.8893 with a scale a column, 0.8869 in int8 as
`models.quantising` writes it for the CPU. A run of 4 x 256 tokens takes seconds on the CPU.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_qnn
from machine import machine
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
from search_quality import _judgements, _lines, _ndcg

from engine.embed.pooling import unit_vectors
from engine.models.converters import from_safetensors
from engine.models.static_graph import static_graph
from engine.text.tokenizer import Tokenizer

TOKENS = 32
DOCUMENT_ROWS, DOCUMENT_TOKENS = 4, 256
# Ranges found on random words are doubled: of 16 bits that costs one, and clipping costs more.
MARGIN = 2.0
# Padding weighs -10000. As the lower end of the scores' range that makes their steps 0.15; -50
# is as good as nothing beside any score, and makes them 0.001.
FLOOR = -50.0
# A quantised graph is slow on the CPU.
OTHERS = 60

TEXTS = [
    "Where do storks spend the winter?",
    "Zinc deficiency impairs the immune system.",
    "The bill was read a second time and referred to a committee of the whole house.",
]

Overrides = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Way:
    """How weights and ranges are quantised; activations have 16 bits throughout."""

    name: str
    weights: dict[str, Any] | None
    """As onnxruntime.quantization names it for one tensor; None for its preset."""
    margin: bool


WAYS = [
    Way("A16W8, preset", None, margin=False),
    Way(
        "A16W8, a scale a column",
        {"axis": 1, "quant_type": QuantType.QInt8, "symmetric": True},
        margin=True,
    ),
    Way("A16W16", {"quant_type": QuantType.QUInt16}, margin=True),
]


class Words(CalibrationDataReader):
    """Random words between the special tokens, in whole rows, halves and quarters."""

    def __init__(self, tokenizer_file: Path, rows: int, tokens: int) -> None:
        vocabulary = json.loads(tokenizer_file.read_text("utf-8"))["model"]["vocab"]
        words = np.array(sorted(i for text, i in vocabulary.items() if text.isalnum()), np.int32)
        self._batches = self._made(words, vocabulary, (rows, tokens))

    @staticmethod
    def _made(
        words: np.ndarray, vocabulary: dict[str, int], shape: tuple[int, int]
    ) -> Iterator[dict[str, np.ndarray]]:
        draw = np.random.default_rng(0)
        for batch in range(12):
            length = shape[1] // (1, 2, 4)[batch % 3]
            ids, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
            ids[:, :length] = draw.choice(words, (shape[0], length))
            ids[:, 0], ids[:, length - 1] = vocabulary["[CLS]"], vocabulary["[SEP]"]
            mask[:, :length] = 1
            yield {"input_ids": ids, "attention_mask": mask}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def main() -> None:
    options = _options()
    print(f"{machine()}\n")
    tokenizer = Tokenizer.open(options.weights / "tokenizer.json")
    rows = tokenizer.encode_batch(TEXTS, special_tokens=True)
    device = _simulator() if options.simulator else None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        from_safetensors.convert(options.weights, place)
        exact = _vectors(_cpu(place / "model.onnx"), rows, (1, TOKENS))
        for way in WAYS:
            file = quantised(place, way, (1, TOKENS))
            ours = _vectors(_cpu(file), rows, (1, TOKENS))
            print(f"{way.name:<26}cosine to float32 {_lowest(ours, exact):.4f}", end="")
            if device is not None:
                simulated = _vectors(_npu(file, device), rows, (1, TOKENS))
                print(f", on the simulator {_lowest(simulated, exact):.4f}", end="")
            print()
        if options.data:
            _show_ranking(place, tokenizer, options.data)


def quantised(place: Path, way: Way, shape: tuple[int, int]) -> Path:
    """Writes the static graph of `place`/model.onnx quantised in that way."""
    plain, made = place / "plain.onnx", place / "quantised.onnx"
    plain.write_bytes(static_graph(place / "model.onnx", *shape))
    words = place / "tokenizer.json"
    config = get_qnn_qdq_config(
        plain,
        Words(words, *shape),
        activation_type=QuantType.QUInt16,
        weight_type=QuantType.QUInt8,
        init_overrides=_overrides(plain, way, Words(words, *shape)),
    )
    quantize(plain, made, config)
    return made


def _overrides(plain: Path, way: Way, words: Words) -> Overrides:
    graph = onnx.load(plain).graph
    constants = {tensor.name for tensor in graph.initializer}
    overrides: Overrides = {}
    if way.margin:
        overrides = _ranges(plain, words, constants | {value.name for value in graph.input})
    for node in graph.node:
        if node.op_type == "Softmax":
            overrides.pop(node.output[0], None)
        # They pass on what they are given, in its own range.
        if node.op_type in ("Cast", "Sub", "Reshape", "Transpose", "Split"):
            for name in node.output:
                overrides.pop(name, None)
        if way.weights and node.op_type == "MatMul" and node.input[1] in constants:
            overrides[node.input[1]] = [dict(way.weights)]
    return overrides


def _ranges(plain: Path, words: Words, known: set[str]) -> Overrides:
    calibrator = create_calibrator(
        plain,
        augmented_model_path=str(plain.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.collect_data(words)
    overrides: Overrides = {}
    for name, found in calibrator.compute_data().data.items():
        low, high = (float(np.min(value)) for value in found.range_value)
        low = FLOOR if low < -1000 else min(low * MARGIN, 0.0)
        if name not in known:
            overrides[name] = [
                {
                    "quant_type": QuantType.QUInt16,
                    "rmin": np.array(low, np.float32),
                    "rmax": np.array(max(high * MARGIN, 1e-3), np.float32),
                }
            ]
    return overrides


def _show_ranking(place: Path, tokenizer: Tokenizer, data: Path) -> None:
    """nDCG@10 of float32 and of each way on what is judged and 60 documents beside it."""
    judged = _judgements(data / "qrels" / "test.tsv")
    documents, queries = _sample(data, judged)
    texts = [f"{document.get('title', '')} {document['text']}".strip() for document in documents]
    encoded = [row[:DOCUMENT_TOKENS] for row in tokenizer.encode_batch(texts, special_tokens=True)]
    asked = tokenizer.encode_batch([query["text"] for query in queries], special_tokens=True)
    shape = DOCUMENT_ROWS, DOCUMENT_TOKENS
    ids = np.array([document["_id"] for document in documents])
    for way in (None, *WAYS):
        session = _cpu(quantised(place, way, shape) if way else place / "model.onnx")
        scores = _vectors(session, asked, shape) @ _vectors(session, encoded, shape).T
        best = ids[np.argsort(-scores, axis=1, kind="stable")[:, :10]]
        found = [
            _ndcg(ranking.tolist(), judged[query["_id"]])
            for query, ranking in zip(queries, best, strict=True)
        ]
        name = way.name if way else "float32"
        print(f"{name:<26}nDCG@10 {np.mean(found):.4f} of {len(documents):,} documents")


def _sample(
    data: Path, judged: dict[str, dict[str, int]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    relevant = {document for grades in judged.values() for document in grades}
    documents = _lines(data / "corpus.jsonl")
    others = [document for document in documents if document["_id"] not in relevant]
    wanted = [document for document in documents if document["_id"] in relevant]
    queries = [query for query in _lines(data / "queries.jsonl") if query["_id"] in judged]
    return wanted + random.Random(3).sample(others, min(OTHERS, len(others))), queries


def _vectors(
    session: ort.InferenceSession, rows: Sequence[Sequence[int]], shape: tuple[int, int]
) -> np.ndarray:
    made: list[np.ndarray] = []
    types = {
        value.name: np.int32 if "32" in value.type else np.int64 for value in session.get_inputs()
    }
    for start in range(0, len(rows), shape[0]):
        part = rows[start : start + shape[0]]
        ids, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        mask[:, 0] = 1
        for index, row in enumerate(part):
            ids[index, : len(row)], mask[index, : len(row)] = row, 1
        fields = {"input_ids": ids, "attention_mask": mask}
        feeds = {name: fields[name].astype(dtype) for name, dtype in types.items()}
        states = session.run(None, feeds)[0]
        made.append(unit_vectors(states, mask, "mean")[: len(part)])
    return np.concatenate(made)


def _lowest(ours: np.ndarray, exact: np.ndarray) -> float:
    return float((ours * exact).sum(axis=1).min())


def _cpu(file: Path) -> ort.InferenceSession:
    return ort.InferenceSession(file, providers=["CPUExecutionProvider"])


def _npu(file: Path, device: Any) -> ort.InferenceSession:
    """A session that raises unless the whole graph, inputs and outputs included, is on QNN."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    provider_options = {
        "backend_type": "htp",
        "soc_model": "60",
        "enable_htp_fp16_precision": "1",
        "offload_graph_io_quantization": "0",
    }
    options.add_provider_for_devices([device], provider_options)
    return ort.InferenceSession(file, options)


def _simulator() -> Any:
    name = "QNNExecutionProvider"
    ort.register_execution_provider_library(name, onnxruntime_qnn.get_library_path())
    return next(device for device in ort.get_ep_devices() if device.ep_name == name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="an encoder as published")
    parser.add_argument("--data", type=Path, help="a folder in BEIR's format")
    parser.add_argument("--simulator", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
