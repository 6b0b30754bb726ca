"""Raw texts as prompts, and what a decoder says of tokens: counts, ids, texts and bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

import pytest

from engine.decode.completion import completed
from engine.decode.decoder import Decoder, DecoderOptions, Piece
from engine.decode.output_forms import Choices
from engine.decode.sampling import SamplingParams
from engine.errors import EmptyInput, InvalidInput, PromptTooLong
from engine.models.spec import DecoderSpec
from engine.text.chat import Message
from engine.text.prompts import RawText

SHORT = SamplingParams(max_tokens=12)
WARM = SamplingParams(max_tokens=12, temperature=1.5, seed=2)


@pytest.fixture(scope="module")
def growing(growing_spec: DecoderSpec) -> Iterator[Decoder]:
    """Its tokenizer is of SentencePiece's kind."""
    decoder = Decoder.open(replace(growing_spec, stop_token_ids=(2,)), DecoderOptions(threads=1))
    yield decoder
    decoder.close()


@pytest.fixture(params=["tiny", "growing"])
def either(request: pytest.FixtureRequest) -> Decoder:
    return request.getfixturevalue(request.param)


def _text(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _ids(pieces: Iterable[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces if piece.token_id is not None]


def test_smollm2_goes_on_from_a_text(smollm2: Decoder) -> None:
    pieces = list(smollm2.complete("The capital of France is", SamplingParams(max_tokens=4)))
    assert _text(pieces).startswith(" Paris")
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.prompt_tokens == smollm2.count(RawText("The capital of France is")) == 5


def test_a_text_that_is_far_too_long_is_refused_unread(tiny: Decoder) -> None:
    text = RawText("Hi " * 1_000_000)
    with pytest.raises(PromptTooLong, match="has over"):
        tiny.check(text)
    with pytest.raises(PromptTooLong, match="has over"):
        next(tiny.generate(text, SHORT))
    assert not tiny.is_within(text, tiny.context)
    short = RawText("Hi")
    tiny.check(short)
    assert tiny.is_within(short, tiny.count(short))
    assert not tiny.is_within(short, tiny.count(short) - 1)


def test_prompt_and_answer_joined_are_the_text_of_their_tokens(either: Decoder) -> None:
    for seed in range(8):
        params = SamplingParams(max_tokens=20, temperature=1.5, seed=seed)
        pieces = list(either.complete("Hi the", params))
        ids = _ids(pieces)
        ids = ids[:-1] if pieces[-1].finish_reason == "stop" else ids
        tokenizer_text = either._tokenizer.decode([*either.tokenize("Hi the"), *ids])
        assert "Hi the" + _text(pieces) == tokenizer_text


def test_a_raw_text_of_a_set_form_begins_as_the_form_says(either: Decoder) -> None:
    form = Choices(("in there", "nowhere"))
    assert _text(list(either.complete("Hi the", WARM, form))) in form.texts


def test_several_answers_to_a_raw_text_have_seeds_of_their_own(tiny: Decoder) -> None:
    prompt = RawText("the thing in")
    texts = [_text(answer) for answer in tiny.choices(prompt, WARM, 3)]
    assert len(set(texts)) == 3
    assert texts[0] == _text(tiny.complete(prompt.text, WARM))


@pytest.mark.parametrize(
    ("text", "error"), [("", EmptyInput), ("\ud83d", InvalidInput), ("x" * 600, PromptTooLong)]
)
def test_a_raw_text_that_cannot_be_gone_on_from_is_refused(
    tiny: Decoder, text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        next(tiny.complete(text, SHORT))


def test_a_prompt_is_counted_as_usage_counts_it(either: Decoder) -> None:
    for prompt in (RawText("Hi the 中"), [Message("system", "Be."), Message("user", "the 中")]):
        usage = list(either.generate(prompt, SHORT))[-1].usage
        assert usage is not None
        assert either.count(prompt) == usage.prompt_tokens == len(either.prompt_ids(prompt))


def test_a_prompt_that_is_too_long_to_be_answered_is_counted(tiny: Decoder) -> None:
    assert tiny.count(RawText("x" * 600)) == 600
    with pytest.raises(EmptyInput):
        tiny.count([Message("user", " ")])


def test_a_text_survives_its_tokens(either: Decoder) -> None:
    for text in ("", "the <|im_end|> <|user|> in", "中🌧 é", "  two "):
        ids = either.tokenize(text)
        assert either.detokenize(ids) == text
        assert b"".join(map(either.token_bytes, ids)).decode() in (text, f" {text}")


def test_control_tokens_are_shown_in_the_text_of_ids(tiny: Decoder) -> None:
    ids = tiny.prompt_ids([Message("user", "Hi")])
    shown = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tiny.detokenize(ids) == shown
    assert b"".join(map(tiny.token_bytes, ids)).decode() == shown


def test_the_bytes_of_an_answers_tokens_joined_are_its_text(smollm2: Decoder) -> None:
    params = SamplingParams(max_tokens=24, logprobs=2)
    pieces = list(smollm2.complete("Rain in Japanese, with emoji: 雨 🌧", params))
    assert pieces[-1].finish_reason == "length"
    assert b"".join(map(smollm2.token_bytes, _ids(pieces))).decode(errors="replace") == _text(
        pieces
    )
    told = [piece.logprob.top for piece in pieces if piece.logprob is not None]
    assert all(smollm2.token_bytes(token_id) for token_id, _ in chain.from_iterable(told))


def test_a_completion_has_the_logprobs_of_the_tokens_of_its_text(smollm2: Decoder) -> None:
    ask = [Message("user", "What is the capital of Japan?")]
    for params in (SamplingParams(logprobs=1), SamplingParams(logprobs=0, max_tokens=3)):
        found = completed(list(smollm2.generate(ask, params)))
        ids = [logprob.token_id for logprob in found.logprobs]
        assert smollm2.detokenize(ids) == found.text
        assert len(ids) == found.usage.completion_tokens - (found.finish_reason == "stop")
    assert completed(list(smollm2.generate(ask, SHORT))).logprobs == ()


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63 - 1, 2**64 - 1])
def test_any_seed_of_64_bits_repeats_its_answers(tiny: Decoder, seed: int) -> None:
    params = replace(WARM, seed=seed)
    texts = [_text(answer) for answer in tiny.choices(RawText("the"), params, 2)]
    assert [_text(answer) for answer in tiny.choices(RawText("the"), params, 2)] == texts


@pytest.mark.parametrize("ids", [[-1], [3, 100_000], [2**70]])
def test_ids_that_the_model_does_not_have_are_refused(either: Decoder, ids: list[int]) -> None:
    with pytest.raises(InvalidInput, match="its ids are 0 to"):
        either.detokenize(ids)
    with pytest.raises(InvalidInput, match="its ids are 0 to"):
        either.token_bytes(ids[-1])
