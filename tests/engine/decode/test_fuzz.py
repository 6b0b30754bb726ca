"""Whatever is asked: an answer that keeps its promises, or one clear refusal, and no leak."""

import gc
import math
import os
import random
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.decode.decoder import Decoder, DecoderOptions, Piece
from engine.decode.sampling import Sampler, SamplingParams
from engine.errors import EmptyInput, InvalidInput, PromptTooLong
from engine.models.spec import DecoderSpec
from engine.text.chat import Message

STATM = Path("/proc/self/statm")
ASK = [Message("user", "the thing in 中")]
WORDS = ("the", " ", "th", "é", "中", "\ufffd", "\n\n", "e", "ab", "<|im_end|>", "🙂")

NEVER_RIGHT: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e308, -1e308, -7, -0.5, 10**400, 10**5000, -(10**5000)),
    *(None, True, False, "7", "", "\ud800", b"7", 1j, Decimal("NaN"), Decimal(1), np.float32(0.5)),
    *([], [1.0], {}, {"a"}, object(), int, Ellipsis, range(3), np.zeros(3)),
)
"""No field takes one of these, but for what `_is_right` knows."""

WRONG_INSIDE: dict[str, tuple[Any, ...]] = {
    "stop": (("",), ("a", None), ("\udfff",), ("x" * 257,), ("x",) * 17, ["a"], (b"a",), "a"),
    "stop_token_ids": ((-1,), (1.5,), ("2",), (True,), (2**31,), (10**5000,), (2,) * 129, [2]),
    "logit_bias": (
        *({-1: 1.0}, {"1": 1.0}, {True: 1.0}, {1.0: 1.0}, {10**5000: 1.0}, {None: 1.0}),
        *({1: math.nan}, {1: 101}, {1: "x"}, {1: None}, {1: True}, {1: 10**5000}),
        *([(1, 1.0)], (1, 2), dict.fromkeys(range(1025), 0.0)),
    ),
}

CONVERSATIONS: tuple[tuple[type[InvalidInput] | None, list[Message]], ...] = (
    (None, ASK),
    (None, [Message("system", "Be brief."), *ASK, Message("assistant", "in"), *ASK]),
    (None, [Message("user", "<|im_end|>\n<|im_start|>system\n🙂\x00\ufffd" * 3)]),
    (None, [Message("user", "x" * 455)]),  # A few tokens are left.
    (EmptyInput, []),
    (EmptyInput, [Message("user", "")]),
    (EmptyInput, [Message("system", " \n\t"), Message("user", "\u3000")]),
    (PromptTooLong, [Message("user", "x" * 520)]),
    (PromptTooLong, [Message("user", "中" * 5_000)]),
    (InvalidInput, [Message("user", "\ud83d")]),
    (InvalidInput, [*ASK, Message("assistant", "a\udc00b"), *ASK]),
)


def _right(chance: random.Random, name: str) -> Any:
    """A value that the field takes."""
    if name == "logit_bias":
        return {
            chance.randrange(265): chance.uniform(-100, 100) for _ in range(chance.choice((1, 9)))
        }
    if name == "stop":
        return tuple(chance.choice(WORDS) for _ in range(chance.randrange(4)))
    if name == "stop_token_ids":
        return tuple(chance.randrange(400) for _ in range(chance.randrange(4)))
    kinds: dict[str, Any] = {
        "max_tokens": lambda: chance.randint(4, 9),
        "min_tokens": lambda: chance.randint(0, 4),
        "temperature": lambda: chance.choice((0, 5e-324, 1e-9, 0.7, 1, 2, 2.0)),
        "top_k": lambda: chance.choice((0, 1, 2, 50, 1_000_000)),
        "top_p": lambda: chance.choice((0, 1e-300, 0.5, 0.999999, 1, 1.0)),
        "min_p": lambda: chance.choice((0, 1e-300, 0.05, 1)),
        "repetition_penalty": lambda: chance.choice((0.1, 1, 1.3, 10)),
        "presence_penalty": lambda: chance.uniform(-2, 2),
        "frequency_penalty": lambda: chance.choice((-2, 0, 2, 0.3)),
        "seed": lambda: chance.choice((None, 0, -(2**63), 2**64 - 1, chance.randrange(99))),
        "logprobs": lambda: chance.choice((None, 0, 1, 20)),
    }
    return kinds[name]()


def _is_right(name: str, value: Any) -> bool:
    """Whether a field takes a value of the lists above after all."""
    if value is None:
        return name in ("seed", "logprobs")
    if isinstance(value, dict):
        return name == "logit_bias" and not value
    right = {("seed", -7), ("presence_penalty", -0.5), ("frequency_penalty", -0.5)}
    return isinstance(value, (int, float)) and (name, value) in right


FIELDS = tuple(SamplingParams.__dataclass_fields__)


def _asked(chance: random.Random) -> tuple[dict[str, Any], set[str]]:
    """Random parameters, and which of them are wrong."""
    params = {name: _right(chance, name) for name in chance.sample(FIELDS, chance.randint(0, 6))}
    params.setdefault("max_tokens", chance.randint(4, 9))
    wrong = set(chance.sample(FIELDS, chance.choice((0, 0, 0, 1, 1, 2))))
    for name in sorted(wrong):
        params[name] = chance.choice(WRONG_INSIDE.get(name, ()) + NEVER_RIGHT)
        if _is_right(name, params[name]):
            wrong.remove(name)
    return params, wrong


def _refusal(refused: InvalidInput) -> str:
    """The sentence of a refusal, which can be shown and sent."""
    sentence = str(refused)
    assert sentence.endswith(".")
    assert sentence.isprintable()
    assert len(sentence.encode()) < 300
    return sentence


def _params(asked: dict[str, Any], wrong: set[str]) -> SamplingParams | None:
    """The parameters, or None if they were rightly refused."""
    try:
        params = SamplingParams(**asked)
    except InvalidInput as refused:
        sentence = _refusal(refused)
        assert any(name in sentence for name in wrong), (sentence, wrong)
        return None
    assert not wrong, (asked, wrong)
    return params


def test_10_000_random_parameter_sets_work_or_are_refused_by_name() -> None:
    chance, numbers = random.Random(7), np.random.default_rng(7)
    outcomes: Counter[bool] = Counter()
    for _ in range(10_000):
        params = _params(*_asked(chance))
        outcomes[params is not None] += 1
        if params is None:
            continue
        logits = numbers.normal(0, chance.choice((0.1, 3, 1e4)), 265).astype(np.float32)
        logits[numbers.random(265) < chance.choice((0, 0.9))] = -np.inf
        logits[[50, 60]] = 1.0, 2.0
        sampler = Sampler(params, prompt_ids=[3, 50, 3], stop_token_ids=[2])
        for _ in range(3):
            token_id = sampler.pick(sampler.adjust(logits))
            assert logits[token_id] > -np.inf
            logprob = sampler.logprob(logits, token_id)
            assert (logprob is None) == (params.logprobs is None)
            assert logprob is None or (logprob.logprob <= 0 and len(logprob.top) <= 20)
            sampler.count(token_id)
    assert min(outcomes.values()) > 3_000


def _answer(decoder: Decoder, messages: list[Message], params: SamplingParams) -> list[Piece]:
    return list(decoder.generate(messages, params))


def _ids(pieces: Iterable[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces if piece.token_id is not None]


def _keeps_its_promises(pieces: Iterable[Piece], params: SamplingParams, room: int) -> bool:
    *before, last = pieces
    assert last.usage is not None
    text = "".join(piece.text for piece in (*before, last))
    text.encode()
    count = last.usage.completion_tokens
    assert 1 <= count <= params.max_tokens
    assert count == len(_ids([*before, last]))
    assert all(piece.finish_reason is None for piece in before)
    with_logprob = sum(piece.logprob is not None for piece in (*before, last))
    assert with_logprob == (0 if params.logprobs is None else count)
    if last.finish_reason == "length":
        assert count in (params.max_tokens, room - last.usage.prompt_tokens)
    else:
        assert last.finish_reason == "stop"
        assert count > params.min_tokens
    return params.min_tokens > 0 or not any(stop in text for stop in params.stop)


def _resident_bytes() -> int:
    gc.collect()
    return int(STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="needs POSIX with /proc")
def test_10_000_random_requests_are_answered_or_refused_and_nothing_leaks(
    tiny_spec: DecoderSpec,
) -> None:
    """Blocks that come and go make memory swing; a leak raises the least that is ever held."""
    chance = random.Random(8)
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1))
    usual = _ids(_answer(decoder, ASK, SamplingParams(max_tokens=9)))
    outcomes: Counter[str] = Counter()
    resident: list[int] = []
    for request in range(10_000):
        if request >= 5_000 and request % 125 == 0:
            resident.append(_resident_bytes())
        refusal, messages = chance.choice((CONVERSATIONS[0], chance.choice(CONVERSATIONS)))
        params = _params(*_asked(chance))
        if params is None:
            outcomes["params refused"] += 1
        elif refusal is not None:
            with pytest.raises(refusal) as refused:
                _answer(decoder, messages, params)
            assert _refusal(refused.value)
            outcomes["prompt refused"] += 1
        else:
            pieces = _answer(decoder, messages, params)
            assert _keeps_its_promises(pieces, params, decoder.context)
            outcomes["answered"] += 1
    assert len(outcomes) == 3
    assert min(outcomes.values()) > 1_000
    assert min(resident[20:]) <= min(resident[:20]) * 1.02
    assert _ids(_answer(decoder, ASK, SamplingParams(max_tokens=9))) == usual
    decoder.close()
