"""Encodes and decodes with the model's tokenizer.json.

Knows nothing of chat roles or of models. Truncation and padding that a file asks for are switched
off: who encodes decides what is too long. Safe to use from several threads.

Rule: a control token (`<|im_end|>`, `[SEP]`, …) that must not be forged is written by
`encode_parts` as a `Control`; in every other part of that call its text is ordinary text.
"""

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from engine.errors import InvalidInput, ModelBroken

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Control:
    """A control token that the program itself puts into a sequence, by its text."""

    text: str


class Tokenizer:
    """The tokenizer of one model."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, name: str) -> None:
        self._tokenizer = tokenizer
        self.name = name
        """For messages: which file this is."""
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @classmethod
    def open(cls, tokenizer_file: Path) -> "Tokenizer":
        """Opens a `tokenizer.json`.

        Raises:
            ModelBroken: The file is missing, or is no tokenizer that this version reads.
        """
        name = f"{tokenizer_file.name} in {tokenizer_file.parent.name}"
        try:
            tokenizer = tokenizers.Tokenizer.from_buffer(tokenizer_file.read_bytes())
        except Exception as error:  # The library raises plain exceptions.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ModelBroken(
                f"{name} is not a tokenizer that can be read ({reason}); fetch the model again."
            ) from error
        return cls(tokenizer, name)

    def encode_batch(
        self, texts: Sequence[str], *, special_tokens: bool = False
    ) -> list[list[int]]:
        """Ids of each text, on all cores, with the interpreter lock released.

        Args:
            texts: A control token that one of them spells becomes that token.
            special_tokens: Adds what the model expects around a text ([CLS], [SEP]).

        Raises:
            InvalidInput: A text is no valid Unicode; the message names its index.
        """
        return _encode(self._tokenizer, texts, special_tokens)

    def encode_parts(self, parts: Iterable[str | Control]) -> list[int]:
        """Ids of the parts joined, as if the joined text were encoded at once.

        Only a `Control` becomes a control token; the strings are ordinary text.

        Raises:
            InvalidInput: A part is no valid Unicode.
        """
        marks, shielded = self._shield
        text = "".join(marks[part.text] if isinstance(part, Control) else part for part in parts)
        return _encode(shielded, [text], special_tokens=False)[0]

    def token_id(self, text: str) -> int | None:
        """Id of the token that is spelled so in the vocabulary, or None."""
        return self._tokenizer.token_to_id(text)

    def token_text(self, token_id: int) -> str:
        """How a token is spelled in the vocabulary.

        Raises:
            InvalidInput: The vocabulary has no such token.
        """
        known = 0 <= token_id < self.vocabulary_size
        text = self._tokenizer.id_to_token(token_id) if known else None
        if text is None:
            raise InvalidInput(
                f"The model has no token {token_id}; its ids are 0 to {self.vocabulary_size - 1}."
            )
        return text

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out; bytes that are no character become U+FFFD."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def decode_all(self, ids: Sequence[int]) -> str:
        """The same with special tokens, as they are spelled.

        Raises:
            InvalidInput: The vocabulary lacks one of them.
        """
        for token_id in set(ids):
            self.token_text(token_id)
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the model expects before and after a text.

        Raises:
            ModelBroken: A text does not stand between them.
        """
        (bare,) = self.encode_batch(["a"])
        (whole,) = self.encode_batch(["a"], special_tokens=True)
        starts = [i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare]
        if not starts:
            raise ModelBroken(
                f"{self.name} does not put its special tokens around the tokens of a text; fetch "
                "the model again."
            )
        return whole[: starts[0]], whole[starts[0] + len(bare) :]

    @property
    def json_text(self) -> str:
        """The tokenizer as tokenizer.json has it."""
        return self._tokenizer.to_str()

    @cached_property
    def vocabulary_size(self) -> int:
        """One more than the highest id."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def longest(self) -> int:
        """Characters of a text that one token stands for, at most."""
        return max(map(len, self._tokenizer.get_vocab(with_added_tokens=True)))

    @cached_property
    def last_text_id(self) -> int:
        """The highest id that a text may become, tokens added to the vocabulary left out."""
        return max(self._tokenizer.get_vocab(with_added_tokens=False).values())

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that `decode` leaves out."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """Ids that stand for one raw byte (`<0x0A>`) in vocabularies that fall back to bytes."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        return frozenset(i for text, i in vocabulary.items() if _BYTE_TOKEN.fullmatch(text))

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """Ids of tokens added to the vocabulary: those that are spelled as they are meant."""
        return frozenset(self._tokenizer.get_added_tokens_decoder())

    @cached_property
    def control_texts(self) -> frozenset[str]:
        """Spellings of the control tokens: all tokens added to the vocabulary but white space."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.content.strip())

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids of the control tokens."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(i for i, token in added.items() if token.content in self.control_texts)

    @cached_property
    def _shield(self) -> tuple[dict[str, str], tokenizers.Tokenizer]:
        """Secret spellings of the control tokens, and a tokenizer that knows them by those alone.

        Splitting, stripping and merging around a control token stay the model's own, and no text
        can spell one: neither as an added token nor as a word of the vocabulary.
        """
        nonce = secrets.token_hex(16)
        marks = {
            text: f"\U000f0000{nonce}{index}\U000f0001"
            for index, text in enumerate(sorted(self.control_texts))
        }
        described = json.loads(self._tokenizer.to_str())
        _respell(described, marks)
        try:
            shielded = tokenizers.Tokenizer.from_str(json.dumps(described))
        except Exception as error:  # The library raises plain exceptions.
            raise ModelBroken(
                f"{self.name} builds words from control tokens, so texts cannot be kept apart "
                "from them; use another model."
            ) from error
        if any(self.token_id(text) != shielded.token_to_id(mark) for text, mark in marks.items()):
            raise ModelBroken(f"{self.name} numbers its control tokens in a way that is not read.")
        return marks, shielded


def _respell(described: dict[str, Any], marks: dict[str, str]) -> None:
    """Spells control tokens by their marks in a parsed tokenizer.json, wherever they occur.

    A mark is found wherever it stands: neither normalised nor kept from the words beside it.
    """
    for token in described["added_tokens"]:
        if mark := marks.get(token["content"]):
            token |= {"content": mark, "normalized": False, "single_word": False}
    model = described["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [[marks.get(text, text), score] for text, score in model["vocab"]]
    else:
        model["vocab"] = {marks.get(text, text): i for text, i in model["vocab"].items()}
    if model.get("unk_token") is not None:
        model["unk_token"] = marks.get(model["unk_token"], model["unk_token"])
    described["post_processor"] = None


def _encode(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], special_tokens: bool
) -> list[list[int]]:
    try:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=special_tokens)
    except TypeError as error:
        index = next(i for i, text in enumerate(texts) if _SURROGATE.search(text))
        raise InvalidInput(
            f"{'The text' if len(texts) == 1 else f'Text {index}'} holds a lone surrogate (half of "
            "a UTF-16 pair), which is no character; remove it or decode the text again."
        ) from error
    return [encoding.ids for encoding in encodings]
