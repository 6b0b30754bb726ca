"""How the server answers other calls while it writes, and how soon a cancelled answer has ended.

    python examples/benchmarks/responsiveness.py [--models-dir DIR] [--calls 60] [--cancels 200]
        [--json]

First `npu-gateway serve` is driven as a host drives it, with a small folder indexed: each call is
made again and again while 0, 1 and 4 answers are being written, all of them with prompts of some
500 tokens, so that prompts are read meanwhile too. Shown are p50 and p95 in milliseconds.

Then, without a server, answers are cancelled at random moments from another thread, half of them
while a long prompt is read, half while text is written: from the call of `interrupt` until the
fetch that was under way has ended and the answer is closed. Everything is seeded but time itself.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import anyio
from machine import machine
from mcp import Client, StdioServerParameters

from engine.decode.decoder import Answer, Decoder
from engine.decode.sampling import SamplingParams
from engine.models import installed
from engine.models.spec import DecoderSpec
from engine.text.chat import Message
from mcp_server.settings import Settings

DOCUMENTS = Path(__file__).parents[2] / "mcp_server" / "sample_documents"
CALLS: dict[str, dict[str, Any]] = {
    "status": {},
    "list_documents": {},
    "semantic_search": {"query": "The radiators stay cold. What should I look at first?"},
    "embed": {"texts": ["The moon pulls at the sea."]},
}
LONG_TEXT = "The ferry leaves at nine and comes back before the evening tide. " * 36
ANSWERS = (0, 1, 4)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": 1000 * statistics.median(ordered),
        "p95": 1000 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    }


async def time_calls(client: Client, calls: int) -> dict[str, dict[str, float]]:
    """Each call in turn, so often."""
    figures: dict[str, list[float]] = {"tools/list": [], **{name: [] for name in CALLS}}
    for _ in range(calls):
        start = time.perf_counter()
        await client.list_tools(cache_mode="bypass")
        figures["tools/list"].append(time.perf_counter() - start)
        for name, arguments in CALLS.items():
            start = time.perf_counter()
            result = await client.call_tool(name, arguments)
            figures[name].append(time.perf_counter() - start)
            if result.is_error:
                raise SystemExit(f"{name} failed: {result.content}")
    return {name: percentiles(seconds) for name, seconds in figures.items()}


async def write_forever(client: Client, number: int) -> None:
    """One answer after the other, each to a prompt of its own."""
    while True:
        number += 100
        prompt = f"Note {number}. {LONG_TEXT} Tell a long story about it."
        await client.call_tool("generate", {"prompt": prompt, "max_tokens": 300})


async def serve_and_time(models_dir: Path, calls: int) -> dict[int, dict[str, dict[str, float]]]:
    """All calls beside so many answers."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as data_dir:
        flags = ["--data-dir", data_dir, "--models-dir", str(models_dir), "--root", str(DOCUMENTS)]
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "mcp_server", "serve", *flags]
        )
        async with Client(command, read_timeout_seconds=600) as client:
            await client.call_tool("index_documents", {"path": str(DOCUMENTS)})
            await client.call_tool("generate", {"prompt": "Hi", "max_tokens": 1})
            for answers in ANSWERS:
                async with anyio.create_task_group() as tasks:
                    for number in range(answers):
                        tasks.start_soon(write_forever, client, number)
                    found[answers] = await time_calls(client, calls)
                    tasks.cancel_scope.cancel()
    return found


def cancelled(answer: Answer, pieces: int, delay: float) -> float:
    """Seconds from the interruption of a fetch until the answer is closed.

    Args:
        answer: Not begun.
        pieces: How many are fetched before.
        delay: Seconds into the next fetch.
    """
    for _ in range(pieces):
        next(answer)
    ended = threading.Event()

    def fetch() -> None:
        try:
            for _ in answer:
                pass
        finally:
            answer.close()
            ended.set()

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(delay)
    start = time.perf_counter()
    answer.interrupt()
    ended.wait()
    seconds = time.perf_counter() - start
    thread.join()
    return seconds


def time_cancels(models_dir: Path, cancels: int) -> dict[str, dict[str, float]]:
    """Answers ended in the middle of a prompt, and in the middle of a text."""
    spec = installed.choose("generate", models_dir, None).spec
    assert isinstance(spec, DecoderSpec)
    chance = random.Random(0)
    decoder = Decoder.open(spec)
    params = SamplingParams(max_tokens=400)
    figures: dict[str, list[float]] = {"reading": [], "writing": []}
    for number in range(cancels // 2):
        long = decoder.generate([Message("user", f"Note {number}. {LONG_TEXT * 2}")], params)
        figures["reading"].append(cancelled(long, 0, chance.uniform(0.01, 0.3)))
        short = decoder.generate([Message("user", f"Tell {number} stories.")], params)
        figures["writing"].append(cancelled(short, 3, chance.uniform(0.0, 0.3)))
    left = decoder.status()
    assert (left.active, left.kv_bytes, left.kv_tokens) == (0, 0, 0), left
    decoder.close()
    return {name: percentiles(seconds) for name, seconds in figures.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models-dir", type=Path, default=Settings().models_folder)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--cancels", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    served = anyio.run(serve_and_time, arguments.models_dir, arguments.calls)
    stopped = time_cancels(arguments.models_dir, arguments.cancels)
    if arguments.json:
        print(json.dumps({"machine": machine(), "calls_ms": served, "cancels_ms": stopped}))
        return
    print(f"{machine()}; milliseconds, p50 / p95 of {arguments.calls} calls\n")
    print(f"{'answers being written':<24}" + "".join(f"{number:>16}" for number in ANSWERS))
    for name in ("tools/list", *CALLS):
        cells = [f"{served[n][name]['p50']:.1f} / {served[n][name]['p95']:.1f}" for n in ANSWERS]
        print(f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"\ncancelled until ended, p50 / p95 of {arguments.cancels // 2}")
    for name, figures in stopped.items():
        print(f"while {name:<18}{figures['p50']:.1f} / {figures['p95']:.1f}")


if __name__ == "__main__":
    main()
