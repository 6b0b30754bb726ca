"""Streamed pieces are the whole text, cut only between characters."""

import random
from collections.abc import Sequence

import pytest

from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer

TEXTS = [
    " leading and  double spaces ",
    "東京では雨です。 中中中",
    "👩‍👩‍👧‍👦🌧️ and é, e\u0301, ﷽",
    "line\nbreaks\n\n\ttabs\r\n",
    "a real \ufffd stands here \ufffd\ufffd",
    "\ufeff",
]
NAMES = ["byte_level", "phi3_like", "smollm2"]


@pytest.fixture(params=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*map(detokenizer.push, ids), detokenizer.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_joined_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode_parts([text])
    assert "".join(_pieces(tokenizer, ids)) == tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", [text for text in TEXTS if "\ufffd" not in text])
def test_no_piece_holds_part_of_a_character(tokenizer: Tokenizer, text: str) -> None:
    assert not any(
        "\ufffd" in piece for piece in _pieces(tokenizer, tokenizer.encode_parts([text]))
    )


def test_any_ids_at_all_give_the_text_of_the_whole(tokenizer: Tokenizer) -> None:
    chance = random.Random(7)
    for _ in range(300):
        ids = [chance.randrange(tokenizer.vocabulary_size) for _ in range(chance.randrange(1, 40))]
        assert "".join(_pieces(tokenizer, ids)) == tokenizer.decode(ids)


def test_any_bytes_at_all_give_the_text_of_the_whole(phi3_like: Tokenizer) -> None:
    chance = random.Random(8)
    for _ in range(300):
        raw = bytearray("aé中🌧\n \ufffd".encode() * 2)
        for _ in range(chance.randrange(4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        ids = [phi3_like.token_id(f"<0x{byte:02X}>") for byte in raw]
        ids.insert(chance.randrange(len(ids)), phi3_like.token_id("the"))
        known = [token_id for token_id in ids if token_id is not None]
        assert len(known) == len(ids)
        assert "".join(_pieces(phi3_like, known)) == phi3_like.decode(known)


def test_a_character_cut_short_is_replaced_as_in_the_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_parts(["rain 𓀀"])
    for end in range(1, len(ids)):
        pieces = _pieces(tokenizer, ids[:end])
        assert "".join(pieces) == tokenizer.decode(ids[:end])
    assert pieces[-1].startswith("\ufffd")


def test_text_comes_as_soon_as_it_is_certain(byte_level: Tokenizer) -> None:
    ids = byte_level.encode_parts(["é the中!"])
    assert _pieces(byte_level, ids) == ["", "é", " the", "", "", "中", "!", ""]


def test_special_tokens_have_no_text(byte_level: Tokenizer) -> None:
    a, b = byte_level.encode_parts(["ab"])
    assert _pieces(byte_level, [1, a, 2, 0, b]) == ["", "a", "", "", "b", ""]
