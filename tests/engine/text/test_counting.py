"""Counts by word are the counts of the tokenizer."""

import random
from collections.abc import Sequence

import pytest
import tokenizers
from tiny_models import byte_tokenizer
from tokenizers import AddedToken, models, normalizers, pre_tokenizers

from engine.errors import InvalidInput
from engine.text.counting import TokenCounts
from engine.text.tokenizer import Tokenizer

_VOCABULARY = [
    "[UNK]",
    "[MASK]",
    "a",
    "b",
    "word",
    "##s",
    "##a",
    "##1",
    "1",
    "(",
    ")",
    "_",
    "e",
    "語",
]
_SCRAPS = [
    *[
        "word",
        "words",
        "wordas1",
        "a",
        "A",
        "É",
        "e\u0301",
        "_",
        "()",
        ".",
        " ",
        "  ",
        "\n",
        "\r\n",
    ],
    *[
        "\t",
        "\x0b",
        "\x00",
        "\x7f",
        "\u00a0",
        "\u2028",
        "日本語",
        "\u200d",
        "[MASK]",
        "[mask]",
        "[MA",
    ],
    *["SK]", "x" * 70, "a" * 101, "\u0301", "İ", "ß", "1", "\U0001f468", "\ufeff"],
]


def _wordpiece(*, added: Sequence[AddedToken] = (), pre_tokenizer=None) -> Tokenizer:
    vocabulary = {text: number for number, text in enumerate(_VOCABULARY)}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False)])
    made.add_tokens(list(added))
    return Tokenizer(tokenizers.Tokenizer.from_str(made.to_str()), "test")


def _texts(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(_SCRAPS, k=chance.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize(
    "tokenizer",
    [
        _wordpiece(),
        _wordpiece(added=[AddedToken("words", normalized=True)]),
        _wordpiece(added=[AddedToken("a b", normalized=False)]),
        _wordpiece(pre_tokenizer=pre_tokenizers.Metaspace()),
        Tokenizer(byte_tokenizer(), "bytes"),
    ],
    ids=["wordpiece", "normalized token", "token with a space", "metaspace", "bytes"],
)
def test_counts_are_those_of_the_encoded_texts(tokenizer):
    counts = TokenCounts(tokenizer)
    for seed in range(20):
        texts = _texts(seed, 60)
        assert counts.of_each(texts) == [len(ids) for ids in tokenizer.encode_batch(texts)]
    assert counts.of_each([]) == []


def test_a_word_is_encoded_once(monkeypatch):
    tokenizer = _wordpiece()
    counts = TokenCounts(tokenizer)
    encoded: list[str] = []
    encode = tokenizer.encode_batch
    monkeypatch.setattr(
        tokenizer, "encode_batch", lambda texts: encoded.extend(texts) or encode(texts)
    )
    assert counts.of_each(["word (a)", "a word"]) == [4, 2]
    assert counts.of_each(["word\nwords"]) == [3]
    assert sorted(encoded) == ["(", ")", "a", "word", "words"]


def test_a_word_that_is_too_long_to_be_kept_is_counted_anew():
    counts = TokenCounts(_wordpiece())
    assert counts.of_each(["x" * 70]) == counts.of_each(["x" * 70]) == [1]


def test_a_lone_surrogate_is_refused_by_the_index_of_its_text():
    with pytest.raises(InvalidInput, match="Text 1 "):
        TokenCounts(_wordpiece()).of_each(["word word word", "a \ud800"])
