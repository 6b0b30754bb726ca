"""Answers cancelled at any moment, from any thread, leave nothing behind and change no other."""

import random
import threading
from collections.abc import Iterable

import pytest

from engine.decode.decoder import Answer, Decoder, DecoderOptions
from engine.decode.sampling import SamplingParams
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
        self.thread = threading.Thread(target=self._fetch)
        self.thread.start()

    def _fetch(self) -> None:
        try:
            for _ in self.answer:
                pass
        finally:
            self.answer.close()

    def cancel(self) -> None:
        """As the server does: again and again until the fetch has ended."""
        while self.thread.is_alive():
            self.answer.interrupt()
            self.thread.join(0.01)


def cancel_beside(decoder: Decoder, cancels: int, *, prompts: int, max_tokens: int) -> None:
    """Cancels so many answers, each a random number of another answer's steps after its start."""
    turns = random.Random(cancels)
    texts = [f"Note {number}. {LONG * 2}" for number in range(4)]
    alone = [ids(asked(decoder, text, max_tokens)) for text in texts]
    done = 0
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
    cancel_beside(smollm2, 40, prompts=60, max_tokens=12)


def test_what_is_cancelled_before_it_begins_never_begins(tiny: Decoder) -> None:
    answer = asked(tiny, "the thing", 5)
    answer.interrupt()
    answer.close()
    assert list(answer) == []
    assert tiny.status().kv_bytes == 0
