"""Answers: repeatable, ended by themselves or a limit, cancelled by closing, and freed."""

import gc
import json
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import Form, write_decoder, write_encoder_like

from engine.decode.decoder import Decoder, DecoderOptions, Piece, prefill_chunk_for
from engine.decode.loop import Loop
from engine.decode.sampling import SamplingParams
from engine.errors import EmptyInput, InvalidInput, ModelBroken, PromptTooLong, Unavailable
from engine.models.spec import DecoderSpec
from engine.text.chat import Message
from engine.text.tokenizer import Tokenizer

ASK = [Message("user", "the thing in 中")]
LONG = [Message("user", "the thing in there, " * 20)]
PROMPTS = [
    "What is the capital of Germany?",
    "What is the capital of Japan?",
    "What is the capital of Italy?",
    "What is the capital of Egypt?",
    "What is the capital of England?",
    "Is water wet? Answer yes or no.",
    "Is fire hot? Answer yes or no.",
    "Finish the sentence: the cat sat on the",
    "Finish the sentence: the dog ran to the",
    "Good night.",
]


def _text(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _ids(pieces: Iterable[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces if piece.token_id is not None]


def _answer(decoder: Decoder, messages: list[Message], **params: object) -> list[Piece]:
    return list(decoder.generate(messages, SamplingParams(**params)))  # type: ignore[arg-type]


def _prompt_tokens(pieces: list[Piece]) -> int:
    usage = pieces[-1].usage
    assert usage is not None
    return usage.prompt_tokens


@pytest.fixture(scope="module")
def smollm2_answers(smollm2: Decoder) -> list[list[Piece]]:
    return [_answer(smollm2, [Message("user", prompt)]) for prompt in PROMPTS]


def test_smollm2_answers_end_by_themselves(smollm2_answers: list[list[Piece]]) -> None:
    assert [pieces[-1].finish_reason for pieces in smollm2_answers] == ["stop"] * len(PROMPTS)
    assert "Berlin" in _text(smollm2_answers[0])


def test_smollm2_answers_are_repeatable(
    smollm2: Decoder, smollm2_answers: list[list[Piece]]
) -> None:
    again = [_answer(smollm2, [Message("user", prompt)]) for prompt in PROMPTS]
    assert [_ids(pieces) for pieces in again] == [_ids(pieces) for pieces in smollm2_answers]
    assert [_text(pieces) for pieces in again] == [_text(pieces) for pieces in smollm2_answers]


def test_smollm2_pieces_joined_are_the_decoded_answer(
    smollm2_answers: list[list[Piece]], smollm2_folder: Path
) -> None:
    tokenizer = Tokenizer.open(smollm2_folder / "tokenizer.json")
    for pieces in smollm2_answers:
        assert _text(pieces) == tokenizer.decode(_ids(pieces))
        assert not any("\ufffd" in piece.text for piece in pieces)


def test_a_long_prompt_is_read_in_parts_as_in_one_run(smollm2: Decoder) -> None:
    messages = [Message("user", f"Here is a list. {'apples and pears, ' * 40} What is it about?")]
    in_parts = _answer(smollm2, messages, max_tokens=12)
    at_once = _answer(
        Decoder.open(smollm2.spec, DecoderOptions(threads=1, prefill_chunk=smollm2.context)),
        messages,
        max_tokens=12,
    )
    assert _ids(in_parts) == _ids(at_once)
    assert sum(piece.token_id is None for piece in at_once) == 1
    parts = -(-_prompt_tokens(in_parts) // prefill_chunk_for(smollm2.spec))
    assert sum(piece.token_id is None for piece in in_parts) == parts > 1


def test_a_large_model_reads_its_prompt_in_smaller_parts(tiny_spec: DecoderSpec) -> None:
    assert prefill_chunk_for(tiny_spec) == 128
    assert prefill_chunk_for(replace(tiny_spec, weight_bytes=1_000_000_001)) == 32


def test_the_last_piece_alone_says_how_it_ended_and_what_it_took(
    tiny: Decoder, tiny_spec: DecoderSpec
) -> None:
    *pieces, last = _answer(tiny, ASK, max_tokens=9)
    assert {(piece.finish_reason, piece.usage) for piece in pieces} == {(None, None)}
    assert last.finish_reason == "length"
    assert last.usage is not None
    prompt = f"<|im_start|>user\n{ASK[0].content}<|im_end|>\n<|im_start|>assistant\n"
    (ids,) = Tokenizer.open(tiny_spec.tokenizer_file).encode_batch([prompt])
    assert last.usage.prompt_tokens == len(ids)
    assert last.usage.completion_tokens == 9 == len(_ids([*pieces, last]))


def test_an_answer_is_the_whole_decoding_of_its_ids(tiny: Decoder, tiny_spec: DecoderSpec) -> None:
    tokenizer = Tokenizer.open(tiny_spec.tokenizer_file)
    for seed in range(10):
        pieces = _answer(tiny, ASK, max_tokens=40, temperature=2.0, seed=seed)
        ids = _ids(pieces)
        text_ids = ids[:-1] if pieces[-1].finish_reason == "stop" else ids
        assert _text(pieces) == tokenizer.decode(text_ids)


def test_greedy_answers_and_seeded_answers_repeat(tiny: Decoder) -> None:
    for params in (
        {},
        {"temperature": 1.5, "seed": 3},
        {"temperature": 1.0, "seed": 3, "top_k": 5},
    ):
        first = _answer(tiny, ASK, max_tokens=30, **params)
        assert _answer(tiny, ASK, max_tokens=30, **params) == first
    warm = [_ids(_answer(tiny, ASK, max_tokens=30, temperature=1.5, seed=s)) for s in (3, 4)]
    assert warm[0] != warm[1]


@pytest.mark.parametrize("chunk", [2, 7, 64])
def test_the_size_of_the_parts_makes_no_difference(
    tiny: Decoder, tiny_spec: DecoderSpec, chunk: int
) -> None:
    other = Decoder.open(tiny_spec, DecoderOptions(threads=1, prefill_chunk=chunk))
    assert _ids(_answer(other, LONG, max_tokens=12)) == _ids(_answer(tiny, LONG, max_tokens=12))


@pytest.mark.parametrize(
    "form",
    [
        Form(logits_rows=False),
        Form(position_ids=True),
        Form(kv_dtype=np.float16),
        Form(kv_dtype=np.float16, logits_rows=False),
    ],
)
def test_every_served_form_of_the_graph_answers_alike(
    tmp_path: Path, tiny: Decoder, form: Form
) -> None:
    other = Decoder.open(write_decoder(tmp_path, form), DecoderOptions(threads=1))
    assert _ids(_answer(other, LONG, max_tokens=8)) == _ids(_answer(tiny, LONG, max_tokens=8))


def test_an_answer_does_not_depend_on_the_room_it_is_given(tiny: Decoder) -> None:
    """A larger cache, of which more stays empty, changes nothing."""
    few, many = (_ids(_answer(tiny, ASK, max_tokens=n)) for n in (20, 400))
    assert many[:20] == few


def test_a_stop_string_across_tokens_is_never_shown(tiny: Decoder) -> None:
    pieces = _answer(tiny, ASK, max_tokens=40)
    text = _text(pieces)
    for start, length in ((3, 2), (8, 5), (12, 9)):
        stop = text[start : start + length]
        stopped = _answer(tiny, ASK, max_tokens=40, stop=("never said", stop))
        assert _text(stopped) == text[: text.index(stop)]
        assert stopped[-1].finish_reason == "stop"
        usage = stopped[-1].usage
        assert usage is not None
        assert usage.completion_tokens == len(_ids(stopped)) < 40


def test_text_that_might_have_become_a_stop_string_is_shown_at_the_end(tiny: Decoder) -> None:
    text = _text(_answer(tiny, ASK, max_tokens=10))
    held = _answer(tiny, ASK, max_tokens=10, stop=(text[-3:] + "never said",))
    assert _text(held) == text
    assert held[-1].finish_reason == "length"


def test_a_stop_token_ends_the_answer_without_text(tiny_spec: DecoderSpec, tiny: Decoder) -> None:
    pieces = _answer(tiny, ASK, max_tokens=40)
    ids = _ids(pieces)
    stop_id = ids[10]
    stopped = _answer(
        Decoder.open(replace(tiny_spec, stop_token_ids=(2, stop_id)), DecoderOptions(threads=1)),
        ASK,
        max_tokens=40,
    )
    first = ids.index(stop_id)
    assert _ids(stopped) == ids[: first + 1]
    assert stopped[-1].finish_reason == "stop"
    assert _text(stopped) == Tokenizer.open(tiny_spec.tokenizer_file).decode(ids[:first])


def test_max_tokens_is_cut_to_the_room_that_is_left(tmp_path: Path) -> None:
    small = Decoder.open(write_decoder(tmp_path, Form(context=48)), DecoderOptions(threads=1))
    *_, last = _answer(small, ASK, max_tokens=1000)
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.prompt_tokens + last.usage.completion_tokens == small.context == 48


def test_a_prompt_that_fills_the_context_is_refused_with_both_counts(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path, Form(context=256))
    count = _prompt_tokens(
        _answer(Decoder.open(spec, DecoderOptions(threads=1)), ASK, max_tokens=1)
    )
    exact = Decoder.open(replace(spec, max_tokens=count), DecoderOptions(threads=1))
    with pytest.raises(PromptTooLong, match=rf"has {count} tokens, and the model takes {count}"):
        _answer(exact, ASK)
    one_more = Decoder.open(replace(spec, max_tokens=count + 1), DecoderOptions(threads=1))
    assert len(_ids(_answer(one_more, ASK))) == 1


def test_ids_the_tokenizer_does_not_know_are_never_chosen(
    tiny: Decoder, tiny_spec: DecoderSpec
) -> None:
    known = Tokenizer.open(tiny_spec.tokenizer_file).vocabulary_size
    chosen: set[int] = set()
    for seed in range(10):
        chosen.update(_ids(_answer(tiny, ASK, max_tokens=60, temperature=2.0, seed=seed)))
    assert max(chosen) < known
    assert len(chosen) > known // 2


def test_closing_while_the_prompt_is_read_stops_and_the_next_answer_is_right(
    tiny_spec: DecoderSpec,
) -> None:
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1, prefill_chunk=16))
    expected = _ids(_answer(decoder, ASK, max_tokens=8))
    answer = decoder.generate(LONG, SamplingParams(max_tokens=8))
    assert next(answer) == Piece("")
    assert next(answer) == Piece("")
    answer.close()
    assert _ids(_answer(decoder, ASK, max_tokens=8)) == expected


def test_closing_between_tokens_stops_and_the_next_answer_is_right(tiny: Decoder) -> None:
    expected = _answer(tiny, ASK, max_tokens=8)
    answer = tiny.generate(LONG, SamplingParams(max_tokens=100))
    while next(answer).token_id is None:
        pass
    answer.close()
    assert _answer(tiny, ASK, max_tokens=8) == expected


@pytest.mark.parametrize("steps", [1, 4, None])
def test_the_cache_is_freed_by_closing_and_by_exhausting(tiny: Decoder, steps: int | None) -> None:
    answer = tiny.generate(ASK, SamplingParams(max_tokens=480))
    next(answer)
    held = tiny.status()
    for _ in answer if steps is None else range(steps):
        if steps is not None:
            next(answer)
    answer.close()
    left = tiny.status()
    assert (held.active, held.kv_tokens > 0, held.kv_bytes > 0) == (1, True, True)
    assert (left.active, left.kv_tokens, left.kv_bytes) == (0, 0, 0)


def test_an_answer_that_was_never_started_blocks_nothing(tiny: Decoder) -> None:
    waiting = tiny.generate(ASK, SamplingParams(max_tokens=5))
    assert len(_ids(_answer(tiny, ASK, max_tokens=5))) == 5
    waiting.close()


def test_steps_may_run_in_different_threads(tiny: Decoder) -> None:
    expected = _answer(tiny, ASK, max_tokens=4)
    answer = tiny.generate(ASK, SamplingParams(max_tokens=4))
    pieces: list[Piece] = []
    for _ in expected:
        thread = threading.Thread(target=lambda: pieces.append(next(answer)))
        thread.start()
        thread.join()
    answer.close()
    assert pieces == expected


def test_a_refused_conversation_leaves_the_decoder_usable(tiny: Decoder) -> None:
    with pytest.raises(EmptyInput):
        _answer(tiny, [])
    with pytest.raises(InvalidInput, match="lone surrogate"):
        _answer(tiny, [Message("user", "\ud800")])
    with pytest.raises(PromptTooLong):
        _answer(tiny, [Message("user", "x" * 600)])
    assert _answer(tiny, ASK, max_tokens=1)


def test_a_graph_without_a_cache_is_refused(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path)
    write_encoder_like(spec.onnx_file)
    with pytest.raises(ModelBroken, match="lacks attention_mask"):
        Decoder.open(spec, DecoderOptions(threads=1))


def test_a_graph_that_gives_back_more_than_past_and_new_is_refused_when_it_is_opened(
    tmp_path: Path,
) -> None:
    spec = write_decoder(tmp_path, Form(doubles_cache=True))
    with pytest.raises(ModelBroken, match="must come back with what is new at its end"):
        Decoder.open(spec, DecoderOptions(threads=1))


def _change_tokenizer(spec: DecoderSpec, words: dict[str, int], merges: list[list[str]]) -> None:
    described = json.loads(spec.tokenizer_file.read_text("utf-8"))
    described["model"]["vocab"] |= words
    described["model"]["merges"] += merges
    spec.tokenizer_file.write_text(json.dumps(described), "utf-8")


def test_a_tokenizer_of_another_model_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path)
    _change_tokenizer(spec, {"thin": 5000}, [["th", "in"]])
    with pytest.raises(ModelBroken, match=r"idx=5000 .* must belong together"):
        Decoder.open(spec, DecoderOptions(threads=1))


def test_a_tokenizer_that_cannot_shield_its_control_tokens_is_refused_when_it_is_opened(
    tmp_path: Path,
) -> None:
    spec = write_decoder(tmp_path)
    _change_tokenizer(spec, {"<|im_end|>i": 270}, [["<|im_end|>", "i"]])
    with pytest.raises(ModelBroken, match="builds words from control tokens"):
        Decoder.open(spec, DecoderOptions(threads=1))


def test_weights_that_are_not_numbers_are_refused_when_they_are_opened(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path)
    model = onnx.load(spec.onnx_file)
    (weight,) = (weight for weight in model.graph.initializer if weight.name == "final.weight")
    damaged = np.full(weight.dims, np.nan, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(damaged, weight.name))
    onnx.save(model, spec.onnx_file)
    with pytest.raises(ModelBroken, match="computed nan where a number was due"):
        Decoder.open(spec, DecoderOptions(threads=1))


def test_a_conversation_beyond_the_models_true_context_is_a_broken_model(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path, Form(context=256))
    decoder = Decoder.open(replace(spec, max_tokens=512), DecoderOptions(threads=1))
    with pytest.raises(ModelBroken, match=r"failed on \d+ tokens after 25\d others .*cos_cache"):
        _answer(decoder, ASK, max_tokens=500)
    assert _answer(decoder, ASK, max_tokens=1)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_a_broken_model(tmp_path: Path, name: str) -> None:
    spec = write_decoder(tmp_path)
    (tmp_path / name).write_bytes(b"not what it should be")
    with pytest.raises(ModelBroken, match=name):
        Decoder.open(spec, DecoderOptions(threads=1))


def test_a_decoder_states_its_facts(tiny: Decoder) -> None:
    assert (tiny.provider, tiny.context, tiny.options.threads) == ("cpu", 512, 1)


def test_a_closed_decoder_says_so(tiny_spec: DecoderSpec) -> None:
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1))
    decoder.close()
    decoder.close()
    with pytest.raises(Unavailable, match="has been closed"):
        _answer(decoder, ASK)
    assert decoder.provider == "cpu"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"threads": -1}, "threads must be a whole number, 0 or more, but is -1."),
        ({"slots": 0}, "slots must be a whole number, 1 or more, but is 0."),
        ({"slots": 1.5}, "slots must be a whole number, 1 or more, but is 1.5."),
        ({"kv_limit_bytes": -1}, "kv_limit_bytes must be a whole number, 0 or more, but is -1."),
        ({"prefix_cache_bytes": None}, "prefix_cache_bytes must be a whole number, 0 or more"),
        ({"prefill_chunk": 1}, "prefill_chunk must be a whole number, 2 or more, but is 1."),
        ({"kv_dtype": "bfloat16"}, "kv_dtype must be None or \"float16\", but is 'bfloat16'."),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(
    options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^{sentence}"):
        DecoderOptions(**options)  # type: ignore[arg-type]


def test_a_limit_that_holds_nothing_says_how_far_to_raise_it(either_spec: DecoderSpec) -> None:
    options = DecoderOptions(threads=1, kv_limit_bytes=300)
    with pytest.raises(InvalidInput, match=r"kv_limit_bytes is 300, .* raise it to \d+") as refused:
        Decoder.open(either_spec, options)
    enough = int(str(refused.value).split()[-3])
    decoder = Decoder.open(either_spec, replace(options, kv_limit_bytes=enough))
    with pytest.raises(PromptTooLong, match="the cache has room for 16 with its answer"):
        _answer(decoder, LONG)
    with pytest.raises(InvalidInput, match="holds 15 tokens"):
        Decoder.open(either_spec, replace(options, kv_limit_bytes=enough - 1))


def test_bias_for_an_unknown_token_is_refused_before_the_prompt_is_read(tiny: Decoder) -> None:
    with pytest.raises(InvalidInput, match="logit_bias names token 5000"):
        next(tiny.generate(ASK, SamplingParams(logit_bias={5000: 1.0})))


def _loops() -> int:
    gc.collect()
    return sum(isinstance(found, Loop) for found in gc.get_objects())


def test_a_closed_decoder_is_freed_though_its_answers_are_still_held(
    tiny_spec: DecoderSpec,
) -> None:
    before = _loops()
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1))
    answers = [decoder.generate(ASK, SamplingParams(max_tokens=n)) for n in (3, 40, 400, 400)]
    list(answers[0])
    for answer in answers[1:3]:
        next(answer)
    answers[1].close()
    decoder.close()
    assert _loops() == before + 1
    answers[2].close()
    assert _loops() == before
    assert list(answers[2]) == []
