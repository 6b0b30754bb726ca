"""Answers cancelled at any moment, from any thread, leave nothing behind and change no other."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tiny_models import Form, write_decoder

from engine.decode.decoder import Answer, Decoder, DecoderOptions, Piece
from engine.decode.sampling import SamplingParams
from engine.errors import Unavailable
from engine.models.spec import DecoderSpec
from engine.text.chat import Message

LONG = "The ferry leaves at nine and comes back before the evening tide. "


def ids(answer: Iterable) -> list[int]:
    return [piece.token_id for piece in answer if piece.token_id is not None]


def asked(decoder: Decoder, text: str, max_tokens: int) -> Answer:
    return decoder.generate([Message("user", text)], SamplingParams(max_tokens=max_tokens))


class Victim:
    """An answer that a thread of its own fetches until it is cancelled."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.pieces: list[Piece] = []
        self.thread = threading.Thread(target=self._fetch)
        self.thread.start()

    def _fetch(self) -> None:
        try:
            self.pieces.extend(self.answer)
        finally:
            self.answer.close()

    def cancel(self) -> None:
        """As the server does: again and again until the fetch has ended."""
        while self.thread.is_alive():
            self.answer.interrupt()
            self.thread.join(0.01)

    @property
    def is_cut(self) -> bool:
        """Whether the answer ended before its end."""
        return not self.pieces or self.pieces[-1].finish_reason is None


def cancel_beside(decoder: Decoder, cancels: int, *, prompts: int, max_tokens: int) -> None:
    """Cancels so many answers, each a random number of another answer's steps after its start."""
    turns = random.Random(cancels)
    texts = [f"Note {number}. {LONG * 2}" for number in range(4)]
    alone = [ids(asked(decoder, text, max_tokens)) for text in texts]
    done = cut = 0
    while done < cancels:
        victims = [
            Victim(asked(decoder, LONG * turns.randint(1, prompts), 1000))
            for _ in range(turns.randint(1, 4))
        ]
        number = turns.randrange(len(texts))
        companion = asked(decoder, texts[number], max_tokens)
        pieces = [next(companion) for _ in range(turns.randint(0, max_tokens // 2))]
        turns.shuffle(victims)
        for victim in victims:
            victim.cancel()
            pieces += [piece for piece in [next(companion, None)] if piece]
        assert ids([*pieces, *companion]) == alone[number]
        status = decoder.status()
        assert (status.active, status.waiting) == (0, 0)
        assert (status.kv_bytes, status.kv_tokens) == (0, 0)
        done += len(victims)
        cut += sum(victim.is_cut for victim in victims)
    assert cut > done / 10


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_two_hundred_cancels_change_no_answer_and_hold_no_memory(
    tiny_spec: DecoderSpec, slots: int
) -> None:
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1, slots=slots, prefill_chunk=16))
    cancel_beside(decoder, 200, prompts=5, max_tokens=30)
    decoder.close()


def test_cancelling_the_real_model_while_it_reads_and_writes_changes_no_answer(
    smollm2: Decoder,
) -> None:
    cancel_beside(smollm2, 10, prompts=20, max_tokens=12)


def test_what_is_cancelled_before_it_begins_never_begins(tiny: Decoder) -> None:
    answer = asked(tiny, "the thing", 5)
    answer.interrupt()
    answer.close()
    assert list(answer) == []
    assert tiny.status().kv_bytes == 0


@pytest.fixture
def endless(tmp_path: Path) -> Decoder:
    """One place, and room for answers of thousands of tokens."""
    spec = write_decoder(tmp_path, Form(context=8192))
    return Decoder.open(spec, DecoderOptions(threads=1, slots=1, speculate=False))


def _wait_for(condition: Callable[[], object], thread: threading.Thread) -> None:
    while not condition():
        assert thread.is_alive()


@pytest.mark.parametrize("end", [Answer.close, Answer.interrupt])
def test_ending_an_answer_cuts_the_fetch_in_another_thread_short(
    endless: Decoder, end: Callable[[Answer], None]
) -> None:
    victim = Victim(asked(endless, LONG, 8000))
    _wait_for(lambda: len(victim.pieces) > 3, victim.thread)
    end(victim.answer)
    victim.thread.join()
    assert victim.is_cut
    assert endless.status().kv_bytes == 0


def test_an_answer_that_waits_for_its_place_ends_when_it_is_interrupted(endless: Decoder) -> None:
    first = asked(endless, LONG, 8000)
    next(first)
    victim = Victim(asked(endless, LONG, 5))
    _wait_for(lambda: endless.status().waiting, victim.thread)
    victim.answer.interrupt()
    victim.thread.join()
    assert victim.pieces == []
    assert (endless.status().active, endless.status().waiting) == (1, 0)
    first.close()


class _Slow(list[Message]):
    """A conversation that takes its time to be read."""

    def __init__(self) -> None:
        super().__init__([Message("user", LONG)])
        self.is_read, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Message]:
        self.is_read.set()
        self.go_on.wait()
        return super().__iter__()


@pytest.mark.parametrize("end", [Answer.close, Answer.interrupt])
def test_an_answer_that_is_ended_while_it_begins_gives_nothing(
    tiny: Decoder, end: Callable[[Answer], None]
) -> None:
    conversation = _Slow()
    victim = Victim(tiny.generate(conversation, SamplingParams(max_tokens=400)))
    conversation.is_read.wait()
    end(victim.answer)
    conversation.go_on.set()
    victim.thread.join()
    assert victim.pieces == []
    assert (tiny.status().active, tiny.status().kv_bytes) == (0, 0)


@pytest.mark.parametrize("pieces", [1, *range(2, 30, 3)])
def test_closing_a_decoder_ends_a_fetch_in_another_thread_with_a_sentence(
    endless: Decoder, pieces: int
) -> None:
    answer = asked(endless, "the thing in there", 8000)
    got: list[Piece] = []
    ends: list[Unavailable] = []

    def fetch() -> None:
        try:
            got.extend(answer)
        except Unavailable as error:
            ends.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    _wait_for(lambda: len(got) > pieces, thread)
    endless.close()
    thread.join()
    assert ["has been closed" in str(end) for end in ends] == [True]
    assert got[-1].finish_reason is None
