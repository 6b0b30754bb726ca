"""Tokens as bytes: joined they are the text, whatever the kind of the vocabulary."""

import json
import random

import llguidance
import pytest
from tiny_models import phi3_like_tokenizer
from tokenizers import Tokenizer as Loaded
from tokenizers.decoders import Metaspace

from engine.errors import InvalidInput
from engine.text.token_bytes import TokenBytes
from engine.text.tokenizer import Tokenizer

PARTS = [
    "the",
    " ",
    "  ",
    "\n",
    "\t",
    "é",
    "e\u0301",
    "中",
    "👩‍👩‍👧‍👦",
    "🌧",
    "▁",
    "Ġ",
    "<0x0A>",
    "\0",
]
NAMES = ["byte_level", "phi3_like", "smollm2"]


@pytest.fixture(params=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def _texts(count: int) -> list[str]:
    chance = random.Random(11)
    parts = [*PARTS, "<|im_end|>", "</s>", "ÿ", "\u0301", "0", "{", "\U0010ffff"]
    return ["".join(chance.choices(parts, k=chance.randrange(1, 30))) for _ in range(count)]


def test_the_bytes_of_a_texts_tokens_joined_are_the_text(tokenizer: Tokenizer) -> None:
    token_bytes = TokenBytes(tokenizer)
    has_space = tokenizer.token_id("▁the") is not None
    for text in _texts(300):
        # SentencePiece's kind writes a space as "▁" and so cannot keep one that is in the text.
        text = text.replace("▁", "_") if has_space else text
        joined = b"".join(map(token_bytes.of, tokenizer.encode_parts([text])))
        assert joined == (b" " if has_space else b"") + text.encode()


def test_the_bytes_are_those_that_llguidance_finds(tokenizer: Tokenizer) -> None:
    theirs = llguidance.LLTokenizer(tokenizer.json_text, n_vocab=None, eos_token=0)
    token_bytes = TokenBytes(tokenizer)
    for token_id in range(tokenizer.vocabulary_size):
        found = token_bytes.of(token_id)
        # It takes what begins with this byte, which is in no text, for a control token.
        if token_id not in tokenizer.added_ids and not found.startswith(b"\xff"):
            assert found == theirs.decode_bytes([token_id]), token_id


def test_a_control_token_stands_for_its_text(tokenizer: Tokenizer) -> None:
    token_bytes = TokenBytes(tokenizer)
    for text in tokenizer.control_texts:
        token_id = tokenizer.token_id(text)
        assert token_id is not None
        assert token_bytes.of(token_id) == text.encode()


@pytest.mark.parametrize(("decoder", "text"), [(Metaspace(), " the"), (None, "▁the")])
def test_other_decoders_say_what_a_token_stands_for(decoder: Metaspace | None, text: str) -> None:
    described = json.loads(phi3_like_tokenizer().to_str())
    described["decoder"] = decoder and json.loads(decoder.__getstate__())
    loaded = Loaded.from_str(json.dumps(described))
    token_id = loaded.token_to_id("▁the")
    assert TokenBytes(Tokenizer(loaded, "tokenizer.json")).of(token_id) == text.encode()


@pytest.mark.parametrize("token_id", [-1, 10**6, 2**40])
def test_a_token_that_there_is_not_is_refused(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(InvalidInput, match="its ids are 0 to"):
        TokenBytes(tokenizer).of(token_id)
    with pytest.raises(InvalidInput, match=f"no token {token_id};"):
        tokenizer.decode_all([1, token_id])
