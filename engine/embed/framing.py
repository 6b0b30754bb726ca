"""Framing: texts to the rows of token ids that a model reads.

Knows the tokenizer and how long a row may be. Knows nothing of runs or vectors.
Rule: a row begins and ends with the model's special tokens, however much of its text was cut.
"""

from collections.abc import Sequence

import numpy as np

from engine.embed.calls import Row
from engine.errors import EmptyInput, InvalidInput, TextTooLong
from engine.text.counting import TokenCounts
from engine.text.tokenizer import Tokenizer


class Framing:
    """How one model's texts become rows."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        """
        Args:
            tokenizer: The model's.
            max_tokens: Of a row, special tokens included.

        Raises:
            ModelBroken: A text does not stand between the special tokens.
        """
        self._tokenizer = tokenizer
        self._counts = TokenCounts(tokenizer)
        self._before, self._after = tokenizer.frame
        self.special_tokens = len(self._before) + len(self._after)
        """Of every row."""
        self.text_tokens = max_tokens - self.special_tokens
        """Of a row at most, special tokens left out."""
        self.padding_id = _padding_id(tokenizer)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special tokens left out.

        Raises:
            InvalidInput: Not a string, or not Unicode text; the message names its index.
        """
        _refuse_other_types(texts)
        return self._counts.of_each(texts)

    def whole_row(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """A text's ids, between the special tokens or without them, nothing cut.

        Raises:
            InvalidInput: Not Unicode text.
        """
        (content,) = self._tokenizer.encode_batch([text])
        return [*self._before, *content, *self._after] if special_tokens else content

    def text(self, ids: Row) -> str:
        """The text of ids, special tokens as they are spelled.

        Raises:
            InvalidInput: The vocabulary lacks one of them.
        """
        return self._tokenizer.decode_all(ids)

    def contents(self, texts: Sequence[str], prefix: str = "") -> list[list[int]]:
        """The same for texts to be embedded, a prefix put before each.

        Raises:
            EmptyInput: No text, or a blank one; the message names its index.
            InvalidInput: Not a string, or not Unicode text; the message names its index.
        """
        _refuse_other_types(texts)
        _refuse_empty(texts)
        return self._tokenizer.encode_batch([prefix + text for text in texts])

    def refuse_longer(self, contents: Sequence[Row]) -> None:
        """Raises TextTooLong for the first text that would be cut, naming its index."""
        for index, content in enumerate(contents):
            if len(content) > self.text_tokens:
                raise TextTooLong(
                    f"Text {index} has {len(content):,} tokens, the model reads "
                    f"{self.text_tokens:,}; shorten or divide it, or let it be cut."
                )

    def row(self, content: Row) -> list[int]:
        """A text's ids between the special tokens, cut to what the model reads."""
        return [*self._before, *content[: self.text_tokens], *self._after]

    def canary(self, tokens: int, seed: int) -> list[int]:
        """A row of any tokens of the vocabulary, of that length."""
        length = max(1, tokens - self.special_tokens)
        drawn = np.random.default_rng(seed).integers(0, self._tokenizer.vocabulary_size, length)
        return self.row([int(token) for token in drawn])

    def extremes(self) -> list[list[int]]:
        """The shortest and the longest row, of the vocabulary's last token."""
        last = self._tokenizer.vocabulary_size - 1
        return [self.row([last]), self.row([last] * self.text_tokens)]


def _padding_id(tokenizer: Tokenizer) -> int:
    """BERT's or RoBERTa's; padding is masked, so any id serves where there is neither."""
    return tokenizer.token_id("[PAD]") or tokenizer.token_id("<pad>") or 0


def _refuse_other_types(texts: Sequence[object]) -> None:
    if isinstance(texts, str):
        raise InvalidInput("Give a list of texts, not one text.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"Text {index} is a {type(text).__name__}; give a string.")


def _refuse_empty(texts: Sequence[str]) -> None:
    if not texts:
        raise EmptyInput("There is nothing to embed; give at least one text.")
    for index, text in enumerate(texts):
        if not text.strip():
            raise EmptyInput(f"Text {index} is empty; leave it out or give it some text.")
