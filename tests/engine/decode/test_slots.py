"""Answers that grow together: each is what it would be alone, whoever comes and goes."""

import errno
import mmap
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import Form, write_decoder

from engine.decode.answer import Answer
from engine.decode.decoder import Decoder, DecoderOptions
from engine.decode.forward import Forward
from engine.decode.loop import Loop
from engine.decode.prefix_cache import PrefixCache
from engine.decode.sampling import SamplingParams
from engine.decode.sequence import Piece, Sequence
from engine.decode.slots import Slots, part_size
from engine.errors import ModelBroken, PromptTooLong, Unavailable
from engine.models.spec import DecoderSpec
from engine.runtime.session import Session, Stop
from engine.text.chat import Message
from engine.text.tokenizer import Tokenizer

Asked = tuple[list[Message], SamplingParams]
ASK = [Message("user", "the thing in 中")]
LONG = [Message("user", "the thing in there, " * 20)]
WORDS = ("the", "thing", "in", "there", "and", "a", "few", "more", "words,", "中", "ã", "differ")


def _ids(pieces: list[Piece]) -> list[int]:
    return [piece.token_id for piece in pieces if piece.token_id is not None]


def _asked(random: random.Random, longest: int, max_tokens: int) -> Asked:
    text = " ".join(random.choices(WORDS, k=random.randint(1, longest)))
    warm = {"temperature": 1.3, "seed": random.randint(0, 9)} if random.random() < 0.3 else {}
    params = SamplingParams(max_tokens=random.randint(1, max_tokens), **warm)  # type: ignore[arg-type]
    return [Message("user", text)], params


def _together(
    decoder: Decoder, asked: list[Asked], random: random.Random
) -> dict[int, list[Piece]]:
    """Pieces of all requests, joining at random moments and fetched in random turns."""
    waiting, pieces = list(enumerate(asked)), {index: list[Piece]() for index in range(len(asked))}
    running: dict[int, Answer] = {}
    while waiting or running:
        if waiting and (not running or random.random() < 0.2):
            index, (messages, params) = waiting.pop(0)
            running[index] = decoder.generate(messages, params)
        index = random.choice(list(running))
        piece = next(running[index], None)
        if piece is None:
            del running[index]
        else:
            pieces[index].append(piece)
    return pieces


@pytest.fixture(scope="module")
def tiny8(tiny_spec: DecoderSpec) -> Decoder:
    return Decoder.open(tiny_spec, DecoderOptions(threads=1, slots=8, prefill_chunk=16))


@pytest.fixture(scope="module")
def pair(either_spec: DecoderSpec) -> tuple[Decoder, Decoder]:
    """One that answers alone, and one that gives up to eight answers at once."""
    alone = DecoderOptions(threads=1, slots=1, prefix_cache_bytes=0, speculate=False)
    eight = DecoderOptions(threads=1, slots=8, prefill_chunk=16)
    return Decoder.open(either_spec, alone), Decoder.open(either_spec, eight)


@pytest.mark.parametrize("seed", range(6))
def test_answers_that_join_and_leave_at_random_are_what_each_is_alone(
    pair: tuple[Decoder, Decoder], seed: int
) -> None:
    alone, eight = pair
    turns = random.Random(seed)
    asked = [_asked(turns, 40, 60) for _ in range(12)]
    together = _together(eight, asked, turns)
    for index, (messages, params) in enumerate(asked):
        assert _ids(together[index]) == _ids(list(alone.generate(messages, params)))
    assert eight.status().kv_bytes == 0


def test_smollm2_answers_together_are_what_each_is_alone(smollm2: Decoder) -> None:
    turns = random.Random(0)
    questions = ["What is the capital of Japan?", "Why is the sky blue?", "Name three birds.", "Hi"]
    asked = [
        ([Message("user", text)], SamplingParams(max_tokens=24 + 4 * index))
        for index, text in enumerate(questions)
    ]
    together = _together(smollm2, asked, turns)
    for index, (messages, params) in enumerate(asked):
        assert _ids(together[index]) == _ids(list(smollm2.generate(messages, params)))


def test_answers_fetched_in_threads_are_what_each_is_alone(tiny: Decoder, tiny8: Decoder) -> None:
    turns = random.Random(7)
    asked = [_asked(turns, 30, 50) for _ in range(10)]
    got: dict[int, list[Piece]] = {}

    def fetch(index: int) -> None:
        got[index] = list(tiny8.generate(*asked[index]))

    threads = [threading.Thread(target=fetch, args=(index,)) for index in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, request in enumerate(asked):
        assert _ids(got[index]) == _ids(list(tiny.generate(*request)))


def test_a_long_prompt_lets_a_running_answer_go_on(tiny_spec: DecoderSpec) -> None:
    options = DecoderOptions(threads=1, prefill_chunk=16, speculate=False)
    decoder = Decoder.open(tiny_spec, options)
    answer = decoder.generate(ASK, SamplingParams(max_tokens=200))
    while next(answer).token_id is None:
        pass
    before = decoder.status().kv_tokens
    late = decoder.generate(LONG, SamplingParams(max_tokens=1))
    parts = 0
    while (last := next(late)).token_id is None:
        parts += 1
    assert last.usage is not None
    assert parts > 10
    # While the last of the parts were read the other got a token after each: it alone is left.
    assert parts - 1 <= decoder.status().kv_tokens - before <= parts
    answer.close()


def _sequence(spec: DecoderSpec, text: str, max_tokens: int) -> Sequence:
    tokenizer = Tokenizer.open(spec.tokenizer_file)
    return Sequence(
        tokenizer.encode_parts([text]),
        SamplingParams(max_tokens=max_tokens),
        stop=Stop(),
        stop_token_ids=(),
        room=400,
        tokenizer=tokenizer,
        draft_cost=None,
        constraint=None,
    )


def _loop(spec: DecoderSpec, slots: int) -> Loop:
    session = Session.open(spec.onnx_file, threads=1)
    return Loop(Forward(session, 512, 2**30), Slots(slots, 16), PrefixCache(2**20))


@pytest.mark.parametrize("slots", [1, 2])
def test_answers_begin_in_the_order_in_which_they_came(tiny_spec: DecoderSpec, slots: int) -> None:
    loop = _loop(tiny_spec, slots)
    sequences = [_sequence(tiny_spec, "the thing in there", 5) for _ in range(5)]
    for sequence in sequences:
        loop.add(sequence)
    begun: list[Sequence] = []
    while len(begun) < len(sequences):
        begun += [each for each in sequences if each.pieces and each not in begun]
        loop.step_for(next((each for each in sequences if not each.pieces), sequences[-1]))
        assert len(loop.slots.working) <= slots
    assert begun == sequences


def test_who_cannot_be_given_a_place_gets_the_error_and_nobody_else(
    tiny_spec: DecoderSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(*_: int, **flags: int) -> mmap.mmap:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    loop = _loop(tiny_spec, 2)
    first, second = (_sequence(tiny_spec, "the thing in there", 5) for _ in range(2))
    loop.add(first)
    for _ in range(2):
        loop.step_for(first)
        first.pieces.clear()
    loop.add(second)
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", mapped)
        loop.step_for(first)
    assert isinstance(second.error, MemoryError)
    assert len(first.pieces) == 1
    while not first.has_ended:
        first.pieces.clear()
        loop.step_for(first)
    assert first.error is None
    assert loop.forward.cache.bytes == 0


def test_a_closed_loop_keeps_no_prefix_and_nobody_waiting(tiny_spec: DecoderSpec) -> None:
    loop = _loop(tiny_spec, 1)
    for max_tokens in (1, 50):
        sequence = _sequence(tiny_spec, f"{max_tokens} is the thing that is in there", max_tokens)
        loop.add(sequence)
        loop.step_for(sequence)
        sequence.pieces.clear()
        loop.step_for(sequence)
    waiting = _sequence(tiny_spec, "the thing in there", 5)
    loop.add(waiting)
    assert (len(loop.prefixes), list(loop.slots.waiting)) == (1, [waiting])
    loop.close(Unavailable("closed"))
    assert (len(loop.prefixes), loop.slots.everyone) == (0, [])
    assert isinstance(waiting.error, Unavailable)


def test_more_answers_than_slots_are_all_answered(tiny_spec: DecoderSpec) -> None:
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1, slots=2))
    expected = _ids(list(decoder.generate(ASK, SamplingParams(max_tokens=30))))
    got: list[list[int]] = []

    def fetch() -> None:
        got.append(_ids(list(decoder.generate(ASK, SamplingParams(max_tokens=30)))))

    threads = [threading.Thread(target=fetch) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [expected] * 5
    status = decoder.status()
    assert (status.active, status.waiting, status.kv_bytes) == (0, 0, 0)


def test_a_cache_limit_makes_answers_wait_and_refuses_what_never_fits(
    tiny_spec: DecoderSpec,
) -> None:
    token_bytes = 256
    limit = DecoderOptions(threads=1, slots=4, kv_limit_bytes=300 * token_bytes)
    decoder = Decoder.open(tiny_spec, limit)
    first = decoder.generate(ASK, SamplingParams(max_tokens=200))
    next(first)
    second = decoder.generate(ASK, SamplingParams(max_tokens=200))
    alone = _ids(list(decoder.generate(ASK, SamplingParams(max_tokens=1))))
    assert _ids(list(second))[:1] == alone
    assert decoder.status().active == 0
    assert decoder.status().kv_bytes == 0
    with pytest.raises(PromptTooLong, match="the cache has room for 300 with its answer"):
        next(decoder.generate([Message("user", "x" * 300)], SamplingParams(max_tokens=1)))


def test_an_interrupted_answer_ends_and_leaves_the_others(tiny8: Decoder) -> None:
    expected = _ids(list(tiny8.generate(ASK, SamplingParams(max_tokens=20))))
    kept = tiny8.generate(ASK, SamplingParams(max_tokens=20))
    pieces = [next(kept), next(kept)]
    gone = tiny8.generate(LONG, SamplingParams(max_tokens=20))
    next(gone)
    gone.interrupt()
    assert list(gone) == []
    assert tiny8.status().active == 1
    assert _ids([*pieces, *kept]) == expected


def test_closing_a_decoder_ends_the_answers_in_work_with_a_sentence(tiny_spec: DecoderSpec) -> None:
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1))
    answer = decoder.generate(ASK, SamplingParams(max_tokens=100))
    next(answer)
    next(answer)
    decoder.close()
    with pytest.raises(Unavailable, match="has been closed"):
        list(answer)
    assert list(answer) == []


def test_a_failing_run_ends_those_who_took_part_and_the_next_is_right(tmp_path: Path) -> None:
    spec = write_decoder(tmp_path, Form(context=256))
    options = DecoderOptions(threads=1, speculate=False)
    decoder = Decoder.open(replace(spec, max_tokens=512), options)
    doomed = [decoder.generate(ASK, SamplingParams(max_tokens=500)) for _ in range(2)]
    for answer in doomed:
        next(answer)
    errors: list[ModelBroken] = []
    for answer in doomed:
        with pytest.raises(ModelBroken, match=r"failed on \d+ tokens") as failed:
            list(answer)
        errors.append(failed.value)
    assert errors[0] is not errors[1]
    assert decoder.status().kv_bytes == 0
    assert len(_ids(list(decoder.generate(ASK, SamplingParams(max_tokens=5))))) == 5


@pytest.mark.parametrize("size", [2, 3, 16, 128])
def test_no_token_of_a_prompt_is_ever_read_alone(size: int) -> None:
    for prompt in range(2, 300):
        unread, parts = prompt, list[int]()
        while unread:
            parts.append(part_size(unread, size))
            unread -= parts[-1]
        assert min(parts) >= 2
        assert max(parts) <= size + 1
