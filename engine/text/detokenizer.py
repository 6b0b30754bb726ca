"""A stream of token ids to text, never splitting a character.

Rule: the pieces joined are exactly what decoding all ids at once gives, for every sequence of ids,
also one that is no valid UTF-8. Each piece is the difference of two decodings of the last few ids.

The library's own DecodeStream fails on a run of byte tokens that turns out to be invalid, since it
has shown the valid beginning by then; here such a run waits for its end.
"""

from collections.abc import Sequence

from engine.text.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """The text of one sequence, token by token."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        """Nothing shown yet.

        Args:
            tokenizer: The model's.
            before: Ids of the text that this one goes on from. Without any it is a text by itself,
                and the space that some tokenizers put before a text is not shown.
        """
        self._tokenizer = tokenizer
        self._shown = self._end_of(before)
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

    def _end_of(self, ids: Sequence[int]) -> list[int]:
        """The last id that is no raw byte, and the bytes after it."""
        start = len(ids)
        while start > 0 and ids[start - 1] in self._tokenizer.byte_ids:
            start -= 1
        return list(ids[max(0, start - 1) :])

    def _text_of_waiting(self) -> str:
        before = self._tokenizer.decode(self._shown)
        return self._tokenizer.decode(self._shown + self._waiting)[len(before) :]
