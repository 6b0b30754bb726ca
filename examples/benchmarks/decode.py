"""Ours, onnxruntime-genai and llama.cpp on the same weights, against what memory allows.

    python examples/benchmarks/decode.py [--decoder MODEL] [--llama-bench PATH --gguf FILE]
        [--phi3 FOLDER] [--kv-float16] [--rounds 5] [--patient] [--threads 0] [--json]

Without a model (an id or a folder) the best installed decoder is taken. In every round each
contestant runs once, in a process of its own, so that a busy machine slows all of them alike;
medians over the rounds are shown. What cannot run is left out with a sentence: genai comes with the
test extra, llama_cpp.py tells how to build llama-bench, `--gguf` is the file the weights were
converted from. `--phi3` writes a full-size Phi-3 of random 4-bit weights, 2.7 GB, into a folder
(once) and takes that.

"Of the bound": a decode step has to read every weight and the keys and values before it, and
bandwidth.py measures in the same run how fast the cores read. Behind a rate stands its share of the
rate this allows (reading a prompt goes beyond it: many tokens share one pass); behind a time, how
many tokens could be written in it; behind CPU seconds, of how many cores that is all the time;
behind memory, how many times the weights it is.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import bandwidth
import full_phi3
import genai_loop
import llama_cpp
from contest import Figures, Task
from decode_table import GENAI, LLAMA, OURS, Bound, goals, ratios, table
from machine import Others, machine

from engine.models import installed
from mcp_server.settings import Settings

_HERE = Path(__file__).parent
_LARGE_BYTES = 1_000_000_000

# Above this a round says more about the other programs than about its contestant.
_DISTURBED_CORES = 0.1


def main() -> None:
    """Measures and prints."""
    options = _options()
    task = _task(options)
    if options.phi3 and options.llama_bench:
        options.gguf = full_phi3.gguf_of(options.phi3.resolve())
    contestants, absent = _contestants(options, task)
    others = Others()
    rounds: dict[str, list[Figures]] = {name: [] for name in contestants}
    speed = 0.0
    for _ in range(options.rounds):
        speed = max(speed, bandwidth.in_a_process())
        for name, run in list(contestants.items()):
            try:
                rounds[name].append(_turn(run, patient=options.patient))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                absent.append(f"{name} is left out: {error}.")
                del contestants[name], rounds[name]
    medians = {name: _medians(figures) for name, figures in rounds.items()}
    if options.kv_float16:
        medians[OURS] |= _child("own_decoder.py", replace(task, kv_float16=True))
    readings = {name: bandwidth.of_onnx(Path(task.onnx_file)) for name in contestants}
    if options.gguf:
        readings[LLAMA] = bandwidth.of_gguf(options.gguf)
    bounds = {name: Bound(readings[name], speed) for name in contestants}
    shares = {name: ratios(medians[name], bounds[name], task) for name in contestants}
    if options.json:
        heading = {"machine": machine(), "model": task.folder, "bytes_per_second": speed}
        heading |= {"others_cores": others.cores, "rounds": options.rounds}
        print(json.dumps(heading | {"figures": medians, "of_the_bound": shares}, indent=2))
        return
    print(f"{Path(task.folder).name}, threads {task.threads or 'all'}, {options.rounds} rounds")
    print(f"{machine()}; reads {speed / 1e9:.1f} GB/s")
    print(f"other programs took {others.cores or 0:.2f} cores meanwhile\n")
    for name, bound in bounds.items():
        print(f"{name}: {_needs(bound)}")
    print(*absent, sep="\n")
    print(*table(medians, bounds, task), sep="\n")
    large = bounds[OURS].reading.weight_bytes > _LARGE_BYTES
    print("", *goals(medians, shares[OURS], large=large), sep="\n")


def _turn(run: Callable[[], Figures], *, patient: bool) -> Figures:
    """One contestant's round; a patient one waits for a quiet machine, and takes none else."""
    while True:
        if patient:
            _wait_for_quiet()
        others, figures = Others(), run()
        if not patient or _is_quiet(others):
            return figures


def _wait_for_quiet() -> None:
    quiet = 0
    while quiet < 3:
        others = Others()
        time.sleep(2)
        quiet = quiet + 1 if _is_quiet(others) else 0


def _is_quiet(others: Others) -> bool:
    return (others.cores or 0.0) < _DISTURBED_CORES


def _needs(bound: Bound) -> str:
    reading = bound.reading
    return (
        f"a token reads {reading.weight_bytes / 1e6:,.1f} MB and "
        f"{reading.kv_bytes_per_token / 1e3:,.1f} KB for each before it: "
        f"at most {bound.rate(0):.1f} tokens/s"
    )


def _task(options: argparse.Namespace) -> Task:
    if options.phi3 is not None:
        return full_phi3.task(options.phi3.resolve(), options.threads)
    spec = installed.choose("generate", Settings().models_folder, options.decoder).spec
    return Task(folder=str(spec.folder), onnx_file=str(spec.onnx_file), threads=options.threads)


def _contestants(
    options: argparse.Namespace, task: Task
) -> tuple[dict[str, Callable[[], Figures]], list[str]]:
    """What can run, and sentences about what cannot."""
    found: dict[str, Callable[[], Figures]] = {OURS: lambda: _child("own_decoder.py", task)}
    absent: list[str] = []
    if reason := genai_loop.unavailable():
        absent.append(f"{GENAI} is left out: {reason}.")
    else:
        found[GENAI] = lambda: _child("genai_loop.py", task)
    if options.llama_bench and options.gguf:
        found[LLAMA] = lambda: llama_cpp.measure(task, options.llama_bench, options.gguf)
    else:
        absent.append(f"{LLAMA} is left out: --llama-bench and --gguf tell where it is.")
    return found, absent


def _child(program: str, task: Task) -> Figures:
    """One contestant's round in a process of its own."""
    command = [sys.executable, str(_HERE / program), *task.arguments()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decoder", help="a model's id or folder; default: the best installed")
    parser.add_argument("--llama-bench", type=Path, help="llama.cpp's program of that name")
    parser.add_argument("--gguf", type=Path, help="the file that the weights were converted from")
    parser.add_argument("--phi3", type=Path, help="write a full-size Phi-3 here and take it")
    parser.add_argument("--kv-float16", action="store_true", help="ours with such a cache, once")
    parser.add_argument("--patient", action="store_true", help="repeat rounds others disturbed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: every physical core")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
