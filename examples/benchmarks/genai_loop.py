"""onnxruntime-genai on the same ONNX file: one of decode.py's contestants.

It gets a copy of the graph without our own input `logits_rows`, in which the last row is asked for
instead: what it would compute for the others it never looks at.
Several answers at once are one batch that starts and ends together, which is all it offers on a
CPU; a common prefix is kept by rewinding one generator, which only its own caller can do.
"""
# It carries no types of its own.
# pyright: basic

import importlib
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from contest import SLOTS, Figures, Stopwatch, Task, peak_bytes, play
from onnx import numpy_helper

_ROWS, _CONFIG = "logits_rows", "genai_config.json"


class Loop:
    """The library, with a model opened."""

    def __init__(self, library: Any, folder: Path, threads: int) -> None:
        self._library = library
        config = library.Config(str(folder))
        # Left to itself it takes half of the cores.
        session = {"intra_op_num_threads": threads or os.cpu_count() or 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self._model = library.Model(config)
        facts = json.loads((folder / _CONFIG).read_text("utf-8"))
        self._random = np.random.default_rng(1)
        self._vocabulary = min(30_000, int(facts["model"]["vocab_size"]))

    def ids(self, count: int, rows: int = 1) -> np.ndarray:
        """Prompts of random tokens."""
        return self._random.integers(300, self._vocabulary, (rows, count), np.int32)

    def generator(self, length: int, rows: int = 1) -> Any:
        """An empty sequence, or a batch of them, with memory for so many tokens."""
        params = self._library.GeneratorParams(self._model)
        params.set_search_options(
            do_sample=False, batch_size=rows, max_length=length, min_length=length
        )
        return self._library.Generator(self._model, params)


def measure(task: Task) -> Figures:
    """All figures of one round."""
    # Before it is loaded: it reports on its use by default.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251
    library = importlib.import_module("onnxruntime_genai")
    with tempfile.TemporaryDirectory() as scratch:
        folder = prepared(task, Path(scratch))
        started = Stopwatch()
        loop = Loop(library, folder, task.threads)
        figures: Figures = {"load_seconds": started.wall}
        _answer(loop, 16, 2)
        figures |= _one_answer(loop, task) | _first_tokens(loop, task)
        figures["peak_bytes"] = peak_bytes()
        figures |= {f"slots_{rows}": _batch(loop, task, rows) for rows in SLOTS}
    return figures


def prepared(task: Task, scratch: Path) -> Path:
    """A folder that the library can open: the model's own, or a copy without our input."""
    own, source = Path(task.folder), Path(task.onnx_file)
    model = onnx.load(str(source), load_external_data=False)
    rows = [value for value in model.graph.input if value.name == _ROWS]
    if not rows and (own / _CONFIG).is_file():
        return own
    for value in rows:
        model.graph.input.remove(value)
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), _ROWS))
    (scratch / "model.onnx").write_bytes(model.SerializeToString())
    (scratch / _CONFIG).write_text(json.dumps(_made(own)), "utf-8")
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and not (scratch / entry.value).exists():
                shutil.copy(source.parent / entry.value, scratch)
    return scratch


def _made(folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / "config.json").read_text("utf-8"))
    heads = facts["num_attention_heads"]
    return {
        "model": {
            "type": "llama",
            "bos_token_id": facts["bos_token_id"],
            "eos_token_id": facts["eos_token_id"],
            "pad_token_id": facts["pad_token_id"],
            "vocab_size": facts["vocab_size"],
            "context_length": facts["max_position_embeddings"],
            "decoder": {
                "filename": "model.onnx",
                "session_options": {"provider_options": []},
                "head_size": facts.get("head_dim", facts["hidden_size"] // heads),
                "hidden_size": facts["hidden_size"],
                "num_attention_heads": heads,
                "num_hidden_layers": facts["num_hidden_layers"],
                "num_key_value_heads": facts["num_key_value_heads"],
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"past_present_share_buffer": True, "do_sample": False},
    }


def _one_answer(loop: Loop, task: Task) -> Figures:
    """Reading, and writing after a long prompt and after a short one."""
    read, long, cpu = _answer(loop, task.prompt_tokens, task.answer_tokens)
    _, short, _ = _answer(loop, task.question_tokens, task.answer_tokens)
    return {
        "prefill": task.prompt_tokens / read,
        "decode_long": 1 / long,
        "decode_short": 1 / short,
        "cpu_seconds_per_token": cpu,
    }


def _answer(loop: Loop, prompt: int, answer: int) -> tuple[float, float, float]:
    """Seconds of reading, the median ones of a token, and processor seconds of a token."""
    generator = loop.generator(prompt + answer + 1)
    reading = Stopwatch()
    generator.append_tokens(loop.ids(prompt))
    generator.generate_next_token()
    read, writing, steps = reading.wall, Stopwatch(), list[float]()
    for _ in range(answer - 1):
        step = Stopwatch()
        generator.generate_next_token()
        generator.get_next_tokens()
        steps.append(step.wall)
    return read, statistics.median(steps), writing.cpu / len(steps)


def _first_tokens(loop: Loop, task: Task) -> Figures:
    """Seconds to the first token, without and with a common prefix that was read before."""
    prefix, question = loop.ids(task.prefix_tokens), loop.ids(task.question_tokens)
    generator = loop.generator(task.prefix_tokens + task.question_tokens + 2)
    cold = Stopwatch()
    generator.append_tokens(np.concatenate([prefix, question], axis=1))
    generator.generate_next_token()
    figures = {"first_token_cold": cold.wall}
    generator.rewind_to(task.prefix_tokens)
    cached = Stopwatch()
    generator.append_tokens(loop.ids(task.question_tokens))
    generator.generate_next_token()
    return figures | {"first_token_cached": cached.wall}


def _batch(loop: Loop, task: Task, rows: int) -> float:
    """Tokens a second of so many answers together."""
    generator = loop.generator(task.question_tokens + task.slot_tokens + 1, rows)
    generator.append_tokens(loop.ids(task.question_tokens, rows))
    generator.generate_next_token()
    writing = Stopwatch()
    for _ in range(task.slot_tokens - 1):
        generator.generate_next_token()
    return rows * (task.slot_tokens - 1) / writing.wall


def unavailable() -> str:
    """Why it cannot run here, or nothing."""
    if importlib.util.find_spec("onnxruntime_genai") is None:
        return "onnxruntime-genai is not installed (the test extra brings it)"
    return ""


if __name__ == "__main__":
    sys.exit(play(measure))
