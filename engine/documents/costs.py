"""Counts what texts cost an embedder, a bounded amount at a time.

Rule: what is certainly too long for a chunk is not counted at all.
"""

from collections.abc import Callable, Generator, Iterator, Sequence

CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text, special tokens left out."""

Counting = Generator[None, None, list[int]]
"""Yields now and then, so that whoever waits can stop, and returns a number for each text."""

# A text counts as one token for this many characters at least, however few the model sees in it:
# a word of 1 MB is a single unknown token to WordPiece.
_CHARACTERS_PER_TOKEN = 10

# Given to the tokenizer at once, whose encodings are in memory together: with all 300,000 lines of
# a file of 2 MB, indexing it took 486 MB; 1,000 lines at a time, 134 MB.
_TEXTS_COUNTED = 1000
_CHARACTERS_COUNTED = 100_000


class Costs:
    """How many tokens texts take, by the counts of one embedder."""

    def __init__(self, count_tokens: CountTokens, most: int) -> None:
        """Args:
        count_tokens: How the embedder counts.
        most: Tokens of the longest chunk.
        """
        self._count_tokens = count_tokens
        self._longest = most * _CHARACTERS_PER_TOKEN

    def of_each(self, texts: Sequence[str]) -> Counting:
        """Tokens that each text fills in a chunk, white space at its ends left out.

        0 for a text without words. What is too long for a chunk has a cost that no chunk has room
        for.
        """
        words = [text.strip() for text in texts]
        counted = list(dict.fromkeys(text for text in words if 0 < len(text) <= self._longest))
        counts = dict(zip(counted, (yield from self.tokens(counted)), strict=True))
        return [_cost(text, counts.get(text)) for text in words]

    def tokens(self, texts: Sequence[str]) -> Counting:
        """Tokens of each text as it stands."""
        counts: list[int] = []
        for some in _slices(texts):
            if counts:
                yield
            counts += self._count_tokens(some)
        return counts


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = characters = 0
    for number, text in enumerate(texts):
        characters += len(text)
        if number > start and (
            number - start >= _TEXTS_COUNTED or characters > _CHARACTERS_COUNTED
        ):
            yield texts[start:number]
            start, characters = number, len(text)
    if start < len(texts):
        yield texts[start:]


def _cost(words: str, tokens: int | None) -> int:
    """Tokens that words fill; None for what was not counted because it is blank or too long."""
    if not words or tokens == 0:
        return 0
    return max(tokens or 0, len(words) // _CHARACTERS_PER_TOKEN + 1)
