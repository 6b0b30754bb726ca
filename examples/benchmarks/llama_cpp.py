"""llama.cpp on the GGUF file that the weights came from: one of decode.py's contestants.

Runs its own program llama-bench, one test at a time, and llama-batched-bench for several answers at
once where that stands beside it. Both are built from llama-cpp-python's source package:

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
    tar xzf llama_cpp_python-0.3.36.tar.gz
    cd llama_cpp_python-0.3.36/vendor/llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
        -DLLAMA_OPENSSL=OFF -DBUILD_SHARED_LIBS=OFF
    cmake --build build --target llama-bench llama-batched-bench -j 2

A virtual machine may announce AMX and not allow it: reading a prompt then ends in a crash (-11).
Add -DCMAKE_C_FLAGS="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" and the same as CMAKE_CXX_FLAGS.

The time to a first token is that of reading the prompt; a common prefix is one that is kept.
"""

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import SLOTS, Figures, Task, peak_bytes

_BATCHED = "llama-batched-bench"


@dataclass(frozen=True)
class Run:
    """One run of a program: what it printed, and what it took."""

    output: str
    cpu_seconds: float
    peak_bytes: int

    @property
    def rates(self) -> list[float]:
        """Tokens a second of each test of llama-bench, in order."""
        return [float(test["avg_ts"]) for test in json.loads(self.output)]


def measure(task: Task, program: Path, gguf_file: Path) -> Figures:
    """All figures of one round."""
    threads = str(task.threads or os.cpu_count() or 1)
    base = [str(program), "-m", str(gguf_file), "-t", threads, "-r", "1", "-o", "json"]
    answer, question = str(task.answer_tokens), task.question_tokens
    whole = task.prefix_tokens + question
    prefill, cold = _run([*base, "-n", "0", "-p", f"{task.prompt_tokens},{whole}"]).rates
    kept = _run([*base, "-n", "0", "-p", str(question), "-d", str(task.prefix_tokens)])
    short = _run([*base, "-n", answer, "-p", "0"])
    long = _run([*base, "-n", answer, "-p", "0", "-d", str(task.prompt_tokens)])
    return {
        "prefill": prefill,
        "first_token_cold": whole / cold,
        "first_token_cached": question / kept.rates[0],
        "decode_short": short.rates[0],
        "decode_long": long.rates[0],
        # One more token warms it up.
        "cpu_seconds_per_token": short.cpu_seconds / (task.answer_tokens + 1),
        "peak_bytes": float(kept.peak_bytes),
    } | _slots(task, program.with_name(_BATCHED), gguf_file, threads)


def _slots(task: Task, program: Path, gguf_file: Path, threads: str) -> Figures:
    """Tokens a second of several answers at once, where the program for it was built."""
    if not program.is_file():
        return {}
    room = max(SLOTS) * (task.question_tokens + task.slot_tokens)
    arguments: dict[str, Any] = {"-m": gguf_file, "-t": threads, "-c": room, "-npp": 40}
    arguments |= {"-ntg": task.slot_tokens, "-npl": ",".join(map(str, SLOTS))}
    flags = [str(part) for pair in arguments.items() for part in pair]
    lines = _run([str(program), *flags, "--output-format", "jsonl"]).output.splitlines()
    tests = [json.loads(line) for line in lines if line.startswith("{")]
    return {f"slots_{test['pl']}": float(test["speed_tg"]) for test in tests}


def _run(command: list[str]) -> Run:
    before, peak = os.times(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, peak_bytes(process.pid))
            time.sleep(0.05)
        after = os.times()
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    cpu = after.children_user + after.children_system
    return Run(text, cpu - before.children_user - before.children_system, peak)
