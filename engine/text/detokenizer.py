"""A stream of token ids to text, never splitting a character.

Rule: the pieces joined are exactly what decoding all ids at once gives, for every sequence of ids,
also one that is no valid UTF-8. Each piece is the difference of two decodings of the last few ids.

The library's own DecodeStream fails on a run of byte tokens that turns out to be invalid, since it
has shown the valid beginning by then; here such a run waits for its end.
"""

from engine.text.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """The text of one sequence, token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []
        """The ids whose text was given out last: context that later ids are decoded in."""
        self._waiting: list[int] = []
        """The ids after them, whose text is not given out yet."""

    def push(self, token_id: int) -> str:
        """Text that is certain now that this token is known; empty inside a character."""
        if token_id in self._tokenizer.special_ids:
            return ""
        self._waiting.append(token_id)
        if token_id in self._tokenizer.byte_ids:
            return ""
        text = self._text_of_waiting()
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self._shown, self._waiting = self._waiting, []
        return text

    def finish(self) -> str:
        """The rest: a character cut short becomes U+FFFD, as in a decoding of the whole."""
        text = self._text_of_waiting()
        self._shown, self._waiting = self._waiting, []
        return text

    def _text_of_waiting(self) -> str:
        before = self._tokenizer.decode(self._shown)
        return self._tokenizer.decode(self._shown + self._waiting)[len(before) :]
