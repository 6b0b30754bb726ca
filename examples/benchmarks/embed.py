"""Our embedder and others on the same weights: bulk, single queries, 16 callers, memory.

    python examples/benchmarks/embed.py [--embedder MODEL] [--peers-python PYTHON --published DIR
        [--gguf FILE]] [--peers NAMES] [--rounds 5] [--threads 0] [--json]

Without a model (an id or a folder) the best installed embedder is ours. Each engine has a process
of its own; in every round each takes its turn, so that a busy machine slows all of them alike.
Medians over the rounds are shown, and of the ratio to ours in the same round. The bulk is 200 texts
of log-normal length (median 90 tokens, a tenth above 250, none longer than `max_tokens`), tokens
are the model's own without padding, a query has 5 to 15 words, and 16 callers ask query after
query. The peak is what ONNX Runtime or numpy reaches with a product of 2048 x 2048 float32 matrices
in the same run; "of the peak" counts an engine's products with weights and nothing else.

Peers are used as embed_peers.py says, by an interpreter of their own:

    python -m venv peers
    peers/bin/pip install torch sentence-transformers "optimum-onnx[onnxruntime]" fastembed gguf
    peers/bin/pip install llama-cpp-python     # CMAKE_ARGS as llama_cpp.py says of AMX

DIR is a folder as on the hub: model.safetensors, tokenizer.json, config files, and onnx/model.onnx,
which `optimum-cli export onnx --library transformers --task feature-extraction -m DIR DIR/onnx`
makes. FILE is made from it by llama.cpp's convert_hf_to_gguf.py with `--outtype f32`. What is
absent is left out and said.

What it said of all-MiniLM-L6-v2 on Linux x86-64 with 2 cores, ONNX Runtime 1.32, 3 rounds, nothing
else running (medians; in brackets the median ratio to ours in the same round):

                  tokens/s   query p50, p95         16 callers: p95, queries/s     RSS
    ours            11,896   1.76, 2.23 ms           36 ms     581               262 MB
    plain      7,888 (.66)   1.86, 3.02 (1.1, 1.4)   65 (1.7)  489 (.87)         683
    st-onnx    7,506 (.63)   2.46, 4.14 (1.4, 1.7)  119 (3.1)  348 (.62)       1,133
    torch      7,044 (.62)   6.14, 7.59 (3.4, 3.7)  713 (20)    83 (.14)         788
    llama.cpp  2,470 (.21)   2.38, 4.01 (1.4, 1.5)  430 (12)   125 (.22)         236
    fastembed  2,312 (.19)   1.92, 3.24 (1.1, 1.5)  109 (3.0)  459 (.80)       4,374

The peak was 354 to 364 GFLOP/s, of which ours reached 69 %, plain 46 % and torch 41 %.
A budget of 512 tokens pads 1.8 % of this bulk, and all but 1.6 % of the processor time is spent in
the graph, so neither reading nor pooling has anything left to give.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from embed_own import Peak
from embed_task import Figures, Task
from machine import Others, machine

from engine.models import installed
from engine.models.spec import EmbedderSpec
from mcp_server.settings import Settings

_HERE = Path(__file__).parent
_OURS = "ours"
_PEERS = ("plain", "st-onnx", "torch", "fastembed", "llama.cpp")

# Figure, heading, what one of it is shown as, digits.
_COLUMNS = (
    ("bulk", "tokens/s", 1, 0),
    ("of_peak", "of peak %", 100, 0),
    ("query_p50", "query p50 ms", 1, 2),
    ("query_p95", "p95 ms", 1, 2),
    ("callers_rate", "16: queries/s", 1, 0),
    ("callers_p95", "p95 ms", 1, 1),
    ("peak_bytes", "RSS MB", 1e-6, 0),
)


class Engine:
    """One engine's process."""

    def __init__(self, command: Sequence[str], task: Task) -> None:
        self._process = subprocess.Popen(
            [*command, *task.arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if task.engine != _OURS else None,
            text=True,
        )
        self.vectors = np.array(self._answer())
        """Of the first texts, to see that the weights are the same."""

    def round(self) -> Figures:
        """Lets it measure once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        figures: Figures = json.loads(json.dumps(self._answer()))
        return figures

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            errors = self._process.stderr.read() if self._process.stderr else ""
            raise RuntimeError((errors.strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(line)


def main() -> None:
    """Measures and prints."""
    options = _options()
    spec = installed.choose("embed", Settings().models_folder, options.embedder).spec
    assert isinstance(spec, EmbedderSpec)
    task = Task(
        engine=_OURS,
        model=options.embedder or "",
        gguf=str(options.gguf or ""),
        pooling=spec.pooling,
        dimensions=spec.dimensions,
        max_tokens=spec.max_tokens,
        threads=options.threads or os.cpu_count() or 1,
    )
    engines, absent = _opened(task, options)
    peak, others = Peak(task.threads), Others()
    rounds: dict[str, list[Figures]] = {name: [] for name in engines}
    best: Figures = {"runtime": 0.0, "numpy": 0.0}
    for _ in range(options.rounds):
        best = {name: max(best[name], value) for name, value in peak.measure().items()}
        for name, engine in engines.items():
            rounds[name].append(engine.round())
    cosines = {name: _cosine(engine, engines[_OURS]) for name, engine in engines.items()}
    for engine in engines.values():
        engine.close()
    published = options.published / "onnx" / "model.onnx" if options.published else None
    work = flops_per_token(published or spec.onnx_file)
    for figures in (figures for name in rounds for figures in rounds[name]):
        figures["of_peak"] = figures["bulk"] * work / max(best.values())
    heading = {
        "model": spec.model_id,
        "threads": task.threads,
        "machine": machine(),
        "rounds": options.rounds,
        "peak_flops": best,
        "others_cores": others.cores,
        "cosines": cosines,
    }
    if options.json:
        print(json.dumps(heading | {"figures": rounds}, indent=2))
        return
    print(f"{spec.model_id}, {task.threads} threads, {options.rounds} rounds; {machine()}")
    print(f"peak {best['runtime'] / 1e9:.0f} GFLOP/s (runtime), {best['numpy'] / 1e9:.0f} (numpy)")
    print(f"other programs took {others.cores or 0:.2f} cores meanwhile")
    print(*absent, sep="\n")
    print(*_table(rounds, cosines), sep="\n")


def _opened(task: Task, options: argparse.Namespace) -> tuple[dict[str, Engine], list[str]]:
    """What can run, and sentences about what cannot."""
    engines = {_OURS: Engine([sys.executable, str(_HERE / "embed_own.py")], task)}
    if not (options.peers_python and options.published):
        return engines, ["Peers are left out: --peers-python and --published tell where they are."]
    absent: list[str] = []
    command = [str(options.peers_python), str(_HERE / "embed_peers.py")]
    for name in options.peers.split(","):
        try:
            if name == "llama.cpp" and not task.gguf:
                raise RuntimeError("--gguf tells where its file is")
            own = replace(task, engine=name, model=str(options.published.resolve()))
            engines[name] = Engine(command, own)
        except RuntimeError as error:
            absent.append(f"{name} is left out: {error}.")
    return engines, absent


def flops_per_token(onnx_file: Path) -> float:
    """Of an encoder's products with weights: two for each number of a matrix."""
    graph = onnx.load(str(onnx_file), load_external_data=False).graph
    sizes = {t.name: int(np.prod(t.dims)) for t in graph.initializer if len(t.dims) == 2}
    multiplied = {name for node in graph.node if _multiplies(node) for name in node.input}
    return 2.0 * sum(sizes[name] for name in multiplied if name in sizes)


def _multiplies(node: onnx.NodeProto) -> bool:
    return node.op_type in ("MatMul", "Gemm", "Attention")


def _cosine(one: Engine, other: Engine) -> float:
    return float((one.vectors * other.vectors).sum(axis=1).min())


def _table(rounds: Mapping[str, Sequence[Figures]], cosines: Mapping[str, float]) -> list[str]:
    """One line an engine; behind a rate or a time, how many times ours it is."""
    headings = "".join(f"{heading:>21}" for _, heading, _, _ in _COLUMNS)
    lines = ["", f"{'':<11}{headings}{'cosine':>10}"]
    for name, figures in rounds.items():
        cells = "".join(
            _cell(figures, rounds[_OURS], key, scale, digits) for key, _, scale, digits in _COLUMNS
        )
        lines.append(f"{name:<11}{cells}{cosines[name]:>10.6f}")
    return lines


def _cell(
    rounds: Sequence[Figures], ours: Sequence[Figures], key: str, scale: float, digits: int
) -> str:
    value = statistics.median(one[key] for one in rounds) * scale
    ratio = statistics.median(one[key] / own[key] for one, own in zip(rounds, ours, strict=True))
    return f"{value:>12,.{digits}f} x {ratio:>5.2f} "


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--embedder", help="a model's id or folder; default: the best installed")
    parser.add_argument("--peers-python", type=Path, help="an interpreter that has the peers")
    parser.add_argument("--published", type=Path, help="the weights as on the hub, with ONNX file")
    parser.add_argument("--gguf", type=Path, help="the same weights for llama.cpp")
    parser.add_argument("--peers", default=",".join(_PEERS), help="which, joined by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: every core")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
