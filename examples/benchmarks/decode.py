"""How fast answers come: reading the prompt, the first token, and each token after it.

    python examples/benchmarks/decode.py [--decoder MODEL] [--rounds 5] [--threads 0] [--json]

Without a model (an id or a folder) the best installed decoder is taken. Everything goes through
`Decoder.generate`, greedily, with stop tokens switched off so that every answer has the same
length. The long prompt has about 512 tokens. Each round tries every size of prefill part once, so
that a busy machine slows all of them alike; medians over the rounds are shown. "Longest wait" is
the longest time between two pieces while the prompt is read: what closing the generator waits for
at most.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from machine import machine

from engine.decode.decoder import Decoder, prefill_chunk_for
from engine.decode.sampling import SamplingParams
from engine.models import installed
from engine.models.spec import DecoderSpec
from engine.text.chat import Message
from mcp_server.settings import Settings

PROMPT_TOKENS = 512
ANSWER_TOKENS = 128
CHUNKS = (32, 64, 128, 256, 512)
SENTENCE = "The river runs past the old mill and on to the sea, and nobody asks it why. "
SHORT = [Message("user", "What is the capital of Germany?")]


@dataclass(frozen=True)
class Answer:
    """One answer's times, in seconds."""

    prompt_tokens: int
    to_prefilled: float
    """From the call to the end of the prompt."""
    to_first_token: float
    longest_wait: float
    """Between two pieces while the prompt is read."""
    per_token: float
    """Median time from one token to the next."""


@dataclass(frozen=True)
class PrefillFigure:
    """Medians of one size of prefill part over the rounds."""

    chunk: int
    used: bool
    tokens_per_second: float
    longest_wait_ms: float


@dataclass(frozen=True)
class Figures:
    """All medians."""

    prompt_tokens: int
    prefill: list[PrefillFigure]
    decode_tokens_per_second: float
    """In the context of the long prompt."""
    first_token_ms: float
    """After the long prompt."""
    short_prompt_tokens: int
    short_first_token_ms: float
    short_decode_tokens_per_second: float


def main() -> None:
    options = _options()
    spec = installed.choose("generate", Settings().models_folder, options.decoder).spec
    assert isinstance(spec, DecoderSpec)
    spec = replace(spec, stop_token_ids=())
    long = _long_prompt(spec)
    rounds = [_round(spec, long, options.threads) for _ in range(options.rounds)]
    _show(spec, _figures(rounds, prefill_chunk_for(spec)), options.threads, as_json=options.json)


def _round(
    spec: DecoderSpec, long: Sequence[Message], threads: int
) -> tuple[dict[int, Answer], Answer]:
    """One answer to the long prompt for each size of part, and one to the short prompt."""
    used = prefill_chunk_for(spec)
    answers: dict[int, Answer] = {}
    for chunk in CHUNKS:
        decoder = Decoder.open(spec, threads=threads, prefill_chunk=chunk)
        answer_tokens = ANSWER_TOKENS if chunk == used else 1
        _timed(decoder, SHORT, 2)
        answers[chunk] = _timed(decoder, long, answer_tokens)
        if chunk == used:
            short = _timed(decoder, SHORT, ANSWER_TOKENS)
        decoder.close()
    return answers, short


def _timed(decoder: Decoder, messages: Sequence[Message], max_tokens: int) -> Answer:
    started = time.perf_counter()
    reading, answering = [started], list[float]()
    usage = None
    for piece in decoder.generate(messages, SamplingParams(max_tokens=max_tokens)):
        (reading if piece.token_id is None else answering).append(time.perf_counter())
        usage = piece.usage
    assert usage is not None
    gaps = [after - before for before, after in pairwise(answering)]
    return Answer(
        prompt_tokens=usage.prompt_tokens,
        to_prefilled=reading[-1] - started,
        to_first_token=answering[0] - started,
        longest_wait=max(b - a for a, b in pairwise(reading)),
        per_token=statistics.median(gaps) if gaps else 0.0,
    )


def _figures(rounds: Sequence[tuple[dict[int, Answer], Answer]], used: int) -> Figures:
    long, short = [r[0][used] for r in rounds], [r[1] for r in rounds]
    prompt_tokens = long[0].prompt_tokens
    prefill = [
        PrefillFigure(
            chunk=chunk,
            used=chunk == used,
            tokens_per_second=prompt_tokens
            / statistics.median(r[0][chunk].to_prefilled for r in rounds),
            longest_wait_ms=1000 * statistics.median(r[0][chunk].longest_wait for r in rounds),
        )
        for chunk in CHUNKS
    ]
    return Figures(
        prompt_tokens=prompt_tokens,
        prefill=prefill,
        decode_tokens_per_second=1 / statistics.median(answer.per_token for answer in long),
        first_token_ms=1000 * statistics.median(answer.to_first_token for answer in long),
        short_prompt_tokens=short[0].prompt_tokens,
        short_first_token_ms=1000 * statistics.median(answer.to_first_token for answer in short),
        short_decode_tokens_per_second=1 / statistics.median(answer.per_token for answer in short),
    )


def _long_prompt(spec: DecoderSpec) -> list[Message]:
    """A conversation of about PROMPT_TOKENS tokens."""
    decoder = Decoder.open(spec)
    one, two = (_timed(decoder, [Message("user", SENTENCE * n)], 1).prompt_tokens for n in (1, 2))
    sentences = 1 + (PROMPT_TOKENS - one) // (two - one)
    decoder.close()
    return [Message("user", SENTENCE * sentences)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decoder", help="a model's id or folder; default: the best installed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: every physical core")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _show(spec: DecoderSpec, figures: Figures, threads: int, *, as_json: bool) -> None:
    if as_json:
        heading = {"model": spec.model_id, "threads": threads, "machine": machine()}
        print(json.dumps(heading | asdict(figures), indent=2))
        return
    print(f"{spec.model_id}, threads {threads or 'all'}; {machine()}\n")
    heading = f"reading {figures.prompt_tokens} tokens in parts of"
    print(f"{heading:<32}{'tokens/s':>9}{'longest wait':>15}")
    for part in figures.prefill:
        name = f"{part.chunk}" + (" (used)" if part.used else "")
        print(f"{name:<32}{part.tokens_per_second:>9,.0f}{part.longest_wait_ms:>12.0f} ms")
    print(f"\n{'after a prompt of':<32}{'tokens/s':>9}{'first token':>15}")
    for tokens, rate, first in (
        (figures.prompt_tokens, figures.decode_tokens_per_second, figures.first_token_ms),
        (
            figures.short_prompt_tokens,
            figures.short_decode_tokens_per_second,
            figures.short_first_token_ms,
        ),
    ):
        print(f"{f'{tokens} tokens':<32}{rate:>9.1f}{first:>12.0f} ms")


if __name__ == "__main__":
    main()
