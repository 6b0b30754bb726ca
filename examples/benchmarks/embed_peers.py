"""Other engines on the same weights, as embed.py's peers; runs with an interpreter that has them.

Each is used as its own documentation shows, with its own batch size, and only told the threads.
Those whose calls may not overlap are given a lock, as whoever serves them has to.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from embed_task import Embed, Task, play

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251 - read by the runtime's own start.
os.environ["TOKENIZERS_PARALLELISM"] = "true"  # noqa: TID251
os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251

_PLAIN_ROWS = 32


def torch(task: Task) -> Embed:
    """sentence-transformers on torch."""
    importlib.import_module("torch").set_num_threads(task.threads)
    return _sentence_transformers(task, {})


def st_onnx(task: Task) -> Embed:
    """sentence-transformers on its ONNX backend."""
    options = {"file_name": "model.onnx", "provider": "CPUExecutionProvider"}
    return _sentence_transformers(
        task,
        {"backend": "onnx", "model_kwargs": {**options, "session_options": _options(task)}},
    )


def fastembed(task: Task) -> Embed:
    """fastembed, from local files."""
    package: Any = importlib.import_module("fastembed")
    description: Any = importlib.import_module("fastembed.common.model_description")
    package.TextEmbedding.add_custom_model(
        model="own/model",
        pooling=description.PoolingType[task.pooling.upper()],
        normalization=True,
        sources=description.ModelSource(hf="own/model"),
        dim=task.dimensions,
        model_file="onnx/model.onnx",
    )
    model = package.TextEmbedding("own/model", specific_model_path=task.model, threads=task.threads)
    model.model.tokenizer.enable_truncation(task.max_tokens)
    return _alone(lambda texts: list(model.embed(list(texts))))


def llama_cpp(task: Task) -> Embed:
    """llama.cpp, through llama-cpp-python."""
    sys.path.remove(str(Path(__file__).parent))  # Where a benchmark of that name is.
    package: Any = importlib.import_module("llama_cpp")
    model = package.Llama(
        task.gguf,
        embedding=True,
        n_ctx=2048,
        n_batch=512,
        n_ubatch=512,
        n_threads=task.threads,
        n_threads_batch=task.threads,
        verbose=False,
    )
    return _alone(lambda texts: model.embed(list(texts), normalize=True))


def plain(task: Task) -> Embed:
    """A plain loop around onnxruntime: texts by length, 32 at a time, padded to the longest."""
    np: Any = importlib.import_module("numpy")
    ort: Any = importlib.import_module("onnxruntime")
    tokenizers: Any = importlib.import_module("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(task.model) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    session = ort.InferenceSession(
        str(Path(task.model) / "onnx" / "model.onnx"),
        _options(task),
        providers=["CPUExecutionProvider"],
    )
    names = [tensor.name for tensor in session.get_inputs()]

    def batch(texts: Sequence[str]) -> Any:
        encoded = tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids for one in encoded])
        mask = np.array([one.attention_mask for one in encoded])
        fields = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = session.run(None, {name: fields[name] for name in names})[0]
        weights = mask[..., None].astype(np.float32)
        pooled = states[:, 0] if task.pooling == "cls" else (states * weights).sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def embed(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        parts = [order[at : at + _PLAIN_ROWS] for at in range(0, len(order), _PLAIN_ROWS)]
        vectors = np.concatenate([batch([texts[index] for index in part]) for part in parts])
        return vectors[np.argsort(order)]

    return embed


ENGINES: dict[str, Callable[[Task], Embed]] = {
    "torch": torch,
    "st-onnx": st_onnx,
    "fastembed": fastembed,
    "llama.cpp": llama_cpp,
    "plain": plain,
}


def _sentence_transformers(task: Task, arguments: dict[str, Any]) -> Embed:
    package: Any = importlib.import_module("sentence_transformers")
    model = package.SentenceTransformer(task.model, device="cpu", **arguments)
    model.max_seq_length = task.max_tokens
    return _alone(lambda texts: model.encode(list(texts), normalize_embeddings=True))


def _options(task: Task) -> Any:
    options = importlib.import_module("onnxruntime").SessionOptions()
    options.intra_op_num_threads = task.threads
    return options


def _alone(embed: Embed) -> Embed:
    lock = threading.Lock()

    def locked(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        with lock:
            return embed(texts)

    return locked


if __name__ == "__main__":
    play(lambda task: ENGINES[task.engine](task))
