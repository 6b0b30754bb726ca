"""Whatever makes answers faster changes none of them: prefixes, drafts, neighbours, parts."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.decode.decoder import Decoder, DecoderOptions
from engine.decode.forward import Forward
from engine.decode.sampling import SamplingParams
from engine.decode.sequence import Piece
from engine.models.spec import DecoderSpec
from engine.runtime.session import Session
from engine.text.chat import ChatTemplate, Message
from engine.text.tokenizer import Tokenizer

SYSTEM = "You are a careful clerk. Answer with the text that is asked for and nothing else. " * 3
LETTER = (
    "Dear Mr. Green, the order of 14 chairs (number 5521-B) left our house in Hamburg on Monday "
    "and will reach you on Thursday before noon. Please have someone ready to sign for it."
)
PLAIN = ["Write a short story about a fox.", "Name ten animals.", "Explain how rain forms."]
COPYING = [
    f"Repeat this text word for word: {LETTER}",
    f"Repeat this text twice, word for word: {LETTER[:90]}",
    "Continue: one two three one two three one two three one two",
]
ANSWER = 32
"""Tokens of an answer that repeats what was asked: drafts are taken within them, see below."""
BARE = DecoderOptions(prefix_cache_bytes=0, speculate=False, slots=1)


def _ids(pieces: list[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces if piece.token_id is not None]


def _cached(pieces: list[Piece]) -> int:
    usage = pieces[-1].usage
    assert usage is not None
    return usage.cached_tokens


@pytest.fixture(scope="module")
def bare(smollm2: Decoder) -> Iterator[Decoder]:
    decoder = Decoder.open(smollm2.spec, replace(BARE, threads=1, speculate=True))
    yield decoder
    decoder.close()


@pytest.mark.parametrize("text", COPYING)
def test_drafted_answers_repeat(smollm2: Decoder, text: str) -> None:
    messages, params = [Message("user", text)], SamplingParams(max_tokens=ANSWER)
    first, again = (_ids(list(smollm2.generate(messages, params))) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("text", [PLAIN[1], COPYING[0]])
def test_a_drafted_token_is_the_most_probable_one_within_what_runs_round(
    smollm2: Decoder, text: str
) -> None:
    """Judged by runs of one token over the same answer: SmolLM2 rounds activations to 8 bits."""
    spec = smollm2.spec
    tokenizer = Tokenizer.open(spec.tokenizer_file)
    template = ChatTemplate(spec.chat_template, tokenizer, spec.bos_token, spec.eos_token)
    messages = [Message("user", text)]
    answer = _ids(list(smollm2.generate(messages, SamplingParams(max_tokens=ANSWER))))
    forward = Forward(Session.open(spec.onnx_file, threads=1), 1024, 2**30)
    row = forward.cache.open_row(1)
    logits = forward.extend(row, template.render_ids(messages))[0]
    for token_id in answer:
        assert logits[token_id] > logits.max() - 1.0
        logits = forward.extend(row, [token_id])[0]


def test_drafts_are_taken_where_text_repeats(smollm2: Decoder) -> None:
    """Fewer runs than tokens: a piece that was checked along with others is there at once."""
    answer = smollm2.generate([Message("user", COPYING[0])], SamplingParams(max_tokens=ANSWER))
    tokens, steps = 0, 0
    for piece in answer:
        tokens += piece.token_id is not None
        steps += not answer.has_ready
    assert tokens > 1.5 * steps


def test_a_prompt_that_begins_like_an_earlier_one_is_answered_alike(
    smollm2: Decoder, bare: Decoder
) -> None:
    params = SamplingParams(max_tokens=16)
    for text in ("What is your task?", "What is your name?", "What is your task, in one word?"):
        messages = [Message("system", SYSTEM), Message("user", text)]
        cached, fresh = (list(each.generate(messages, params)) for each in (smollm2, bare))
        assert _ids(cached) == _ids(fresh)
        assert _cached(fresh) == 0
    assert _cached(cached) > 50


def test_a_conversation_that_goes_on_takes_over_what_was_read(
    smollm2: Decoder, bare: Decoder
) -> None:
    params = SamplingParams(max_tokens=24)
    messages = [Message("system", SYSTEM), Message("user", "Name a colour.")]
    for question in ("And another one?", "Which of the two is brighter?"):
        first, fresh = (list(each.generate(messages, params)) for each in (smollm2, bare))
        assert _ids(first) == _ids(fresh)
        text = "".join(piece.text for piece in first)
        messages += [Message("assistant", text), Message("user", question)]
    assert _cached(list(smollm2.generate(messages, params))) > 80


def _random_text(random: random.Random) -> str:
    words = ["the", "thing", "in", "there", "and", "more", "中", "ã"]
    beginning = " ".join(words[: random.randint(1, 8)] * random.randint(1, 4))
    return beginning + " " + " ".join(random.choices(words, k=random.randint(0, 12)))


Asked = tuple[list[Message], SamplingParams]


@pytest.fixture(scope="module", params=range(4))
def asked_alone(
    request: pytest.FixtureRequest, either_spec: DecoderSpec
) -> list[tuple[Asked, list[int]]]:
    """Random requests, each with what a bare decoder answers."""
    turns = random.Random(request.param)
    bare = Decoder.open(either_spec, replace(BARE, threads=1))
    answers: list[tuple[Asked, list[int]]] = []
    for _ in range(12):
        messages = [Message("user", _random_text(turns))]
        warm = {"temperature": 0.9, "seed": 5} if turns.random() < 0.3 else {}
        params = SamplingParams(max_tokens=turns.randint(1, 80), **warm)  # type: ignore[arg-type]
        answers.append(((messages, params), _ids(list(bare.generate(messages, params)))))
    bare.close()
    return answers


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix_cache_bytes": 0},
        {"speculate": False},
        {"prefill_chunk": 7},
        {"prefill_chunk": 2, "slots": 1},
        {"prefix_cache_bytes": 20_000},
    ],
)
def test_random_answers_do_not_depend_on_the_options(
    either_spec: DecoderSpec,
    asked_alone: list[tuple[Asked, list[int]]],
    changes: dict[str, int],
) -> None:
    decoder = Decoder.open(either_spec, replace(DecoderOptions(threads=1), **changes))
    for asked, alone in asked_alone:
        assert _ids(list(decoder.generate(*asked))) == alone
    assert decoder.status().kv_bytes == 0
    assert decoder.status().prefix_bytes <= decoder.options.prefix_cache_bytes
