"""Our own decoder, through `Decoder.generate`, as one of decode.py's contestants.

Everything is greedy and without stop tokens, so that every answer has its full length. Where
several answers run at once each has its thread, as in the server; their rate is that of the time in
which all of them are writing. Speculation is off but for the copy-heavy task and for the text that
repeats nothing, where it must not cost anything.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from contest import SLOTS, Figures, Stopwatch, Task, peak_bytes, play, words

from engine.decode.decoder import Decoder, DecoderOptions
from engine.decode.sampling import SamplingParams
from engine.models import installed
from engine.models.spec import DecoderSpec
from engine.text.chat import Message
from engine.text.tokenizer import Tokenizer

# The answer is a copy of what stands in the prompt, to the last of its 128 tokens. Shown once and
# asked for twice, SmolLM2 wrote a short function of its own and then prose: half of that answer was
# in the prompt.
_LISTING = """\
def total_price(orders, customer, discount):
    result = 0
    for order in orders:
        if order.customer != customer:
            continue
        for line in order.lines:
            price = line.quantity * line.unit_price
            if line.product in discount:
                price = price * (1 - discount[line.product])
            result = result + price
    return round(result, 2)


def customers_of(orders, year):
    found = set()
    for order in orders:
        if order.date.year == year:
            found.add(order.customer)
    return sorted(found)
"""
_REQUEST = Message("user", f"Repeat this program exactly:\n\n{_LISTING}")
_COPY = [_REQUEST, Message("assistant", _LISTING), _REQUEST]


@dataclass(frozen=True)
class Answer:
    """When the tokens of one answer came, in seconds since it was asked for."""

    prompt_tokens: int
    prefilled: float
    times: list[float]
    cpu_seconds_per_token: float

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


class Asked:
    """Questions of given lengths, none of which begins like another."""

    def __init__(self, task: Task) -> None:
        chosen = installed.choose("generate", Path(task.folder).parent, task.folder)
        assert isinstance(chosen.spec, DecoderSpec)
        self.spec = replace(chosen.spec, stop_token_ids=())
        self._tokenizer = Tokenizer.open(chosen.spec.tokenizer_file)

    def text(self, tokens: int, seed: int) -> str:
        """About so many tokens."""
        (ids,) = self._tokenizer.encode_batch([words(tokens, seed)])
        return words(round(tokens * tokens / len(ids)), seed)

    def question(self, tokens: int, seed: int) -> list[Message]:
        """A conversation of about so many tokens and the template's."""
        return [Message("user", self.text(tokens, seed))]


def measure(task: Task) -> Figures:
    """All figures of one round; with a cache in 16 bits only what that changes."""
    asked, started = Asked(task), Stopwatch()
    plain = DecoderOptions(threads=task.threads, slots=1, prefix_cache_bytes=0, speculate=False)
    if task.kv_float16:
        with _opened(asked, replace(plain, kv_dtype="float16")) as decoder:
            figures = _one_answer(decoder, task, asked) | {"peak_bytes": float(peak_bytes())}
        return {f"{name}_fp16": figure for name, figure in figures.items()}
    with _opened(asked, plain) as decoder:
        figures = {"load_seconds": started.wall} | _one_answer(decoder, task, asked)
        figures["peak_bytes"] = peak_bytes()
        figures["copy_off"] = _answer(decoder, _COPY, task.answer_tokens).rate
    with _opened(asked, replace(plain, slots=max(SLOTS), kv_limit_bytes=4 << 30)) as decoder:
        figures |= {f"slots_{count}": _together(decoder, task, asked, count) for count in SLOTS}
    cached = replace(plain, prefix_cache_bytes=2 << 30, speculate=True)
    with _opened(asked, cached) as decoder:
        figures |= _first_tokens(decoder, task, asked)
        figures["copy_on"] = _answer(decoder, _COPY, task.answer_tokens).rate
        unlike = asked.question(task.question_tokens, 2)
        figures["unlike_on"] = _answer(decoder, unlike, task.answer_tokens).rate
    return figures


@contextmanager
def _opened(asked: Asked, options: DecoderOptions) -> Iterator[Decoder]:
    """A decoder that has answered once."""
    decoder = Decoder.open(asked.spec, options)
    try:
        _answer(decoder, asked.question(20, 1), 3)
        yield decoder
    finally:
        decoder.close()


def _one_answer(decoder: Decoder, task: Task, asked: Asked) -> Figures:
    """Reading, and writing after a long prompt and after a short one."""
    long = _answer(decoder, asked.question(task.prompt_tokens, 3), task.answer_tokens)
    short = _answer(decoder, asked.question(task.question_tokens, 2), task.answer_tokens)
    return {
        "prefill": long.prompt_tokens / long.prefilled,
        "decode_long": long.rate,
        "decode_short": short.rate,
        "cpu_seconds_per_token": short.cpu_seconds_per_token,
    }


def _first_tokens(decoder: Decoder, task: Task, asked: Asked) -> Figures:
    """Seconds to the first token, without and with a common prefix that was read before."""
    system = Message("system", asked.text(task.prefix_tokens, 4))
    figures: Figures = {}
    for seed, name in enumerate(("first_token_cold", "first_token_cached"), 5):
        question = Message("user", asked.text(task.question_tokens, seed))
        figures[name] = _answer(decoder, [system, question], 2).times[0]
    return figures


def _together(decoder: Decoder, task: Task, asked: Asked, count: int) -> float:
    """Tokens a second of so many answers, while all of them are writing."""
    clock, times = Stopwatch(), [list[float]() for _ in range(count)]

    def write(slot: int) -> None:
        params = SamplingParams(max_tokens=task.slot_tokens)
        for piece in decoder.generate(asked.question(task.question_tokens, 10 + slot), params):
            if piece.token_id is not None:
                times[slot].append(clock.wall)

    threads = [threading.Thread(target=write, args=[slot]) for slot in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    start, end = max(slot[0] for slot in times), min(slot[-1] for slot in times)
    return sum(start < time <= end for slot in times for time in slot) / (end - start)


def _answer(decoder: Decoder, messages: Sequence[Message], tokens: int) -> Answer:
    clock, prefilled, times = Stopwatch(), 0.0, list[float]()
    writing, usage = clock, None
    for piece in decoder.generate(messages, SamplingParams(max_tokens=tokens)):
        if piece.token_id is None:
            prefilled = clock.wall
            continue
        times.append(clock.wall)
        if len(times) == 1:
            writing = Stopwatch()
        usage = piece.usage
    assert usage is not None
    return Answer(usage.prompt_tokens, prefilled, times, writing.cpu / (len(times) - 1))


if __name__ == "__main__":
    sys.exit(play(measure))
