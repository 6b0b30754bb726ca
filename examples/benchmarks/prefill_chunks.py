"""In parts of which size a prompt is read: how fast, and how long a caller who leaves waits.

    python examples/benchmarks/prefill_chunks.py [--decoder MODEL] [--rounds 5] [--threads 0]
        [--json]

Without a model (an id or a folder) the best installed decoder is taken. The prompt has about 512
tokens and goes through `Decoder.generate`. Each round tries every size of part once, so that a busy
machine slows all of them alike; medians over the rounds are shown. "Longest wait" is the longest
time between two pieces: what someone waits for at most whose turn comes after the running part.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from contest import words
from machine import machine

from engine.decode.decoder import Decoder, DecoderOptions, prefill_chunk_for
from engine.decode.sampling import SamplingParams
from engine.models import installed
from engine.models.spec import DecoderSpec
from engine.text.chat import Message
from mcp_server.settings import Settings

PROMPT_TOKENS = 512
CHUNKS = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Reading:
    """One prompt's times, in seconds."""

    prompt_tokens: int
    seconds: float
    longest_wait: float
    """Between two pieces."""


@dataclass(frozen=True)
class Figure:
    """Medians of one size of part over the rounds."""

    chunk: int
    used: bool
    tokens_per_second: float
    longest_wait_ms: float


def main() -> None:
    """Measures and prints."""
    options = _options()
    spec = installed.choose("generate", Settings().models_folder, options.decoder).spec
    assert isinstance(spec, DecoderSpec)
    rounds = [
        {chunk: _read(spec, chunk, number, options.threads) for chunk in CHUNKS}
        for number in range(options.rounds)
    ]
    figures = [_figure(chunk, prefill_chunk_for(spec), rounds) for chunk in CHUNKS]
    if options.json:
        heading = {"model": spec.model_id, "threads": options.threads, "machine": machine()}
        print(json.dumps(heading | {"parts": [asdict(figure) for figure in figures]}, indent=2))
        return
    print(f"{spec.model_id}, threads {options.threads or 'all'}; {machine()}\n")
    heading = f"reading {rounds[0][CHUNKS[0]].prompt_tokens} tokens in parts of"
    print(f"{heading:<32}{'tokens/s':>9}{'longest wait':>15}")
    for figure in figures:
        name = f"{figure.chunk}" + (" (used)" if figure.used else "")
        print(f"{name:<32}{figure.tokens_per_second:>9,.0f}{figure.longest_wait_ms:>12.0f} ms")


def _read(spec: DecoderSpec, chunk: int, seed: int, threads: int) -> Reading:
    """Reads the prompt once, in a decoder of its own, after a short one to warm it up."""
    options = DecoderOptions(threads=threads, prefill_chunk=chunk)
    decoder = Decoder.open(spec, options)
    for _ in decoder.generate([Message("user", "Hello.")], SamplingParams(max_tokens=2)):
        pass
    started = time.perf_counter()
    times, usage = [started], None
    prompt = [Message("user", words(PROMPT_TOKENS, seed))]
    for piece in decoder.generate(prompt, SamplingParams(max_tokens=1)):
        usage = piece.usage
        if piece.token_id is None:
            times.append(time.perf_counter())
    decoder.close()
    assert usage is not None
    waits = [after - before for before, after in pairwise(times)]
    return Reading(usage.prompt_tokens, times[-1] - started, max(waits))


def _figure(chunk: int, used: int, rounds: Sequence[dict[int, Reading]]) -> Figure:
    readings = [one[chunk] for one in rounds]
    return Figure(
        chunk=chunk,
        used=chunk == used,
        tokens_per_second=statistics.median(r.prompt_tokens / r.seconds for r in readings),
        longest_wait_ms=1000 * statistics.median(r.longest_wait for r in readings),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decoder", help="a model's id or folder; default: the best installed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: every physical core")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
