"""The words of a text as keyword search knows them: where each is, and its stem."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.store.connection import WordTokenizer


@dataclass(frozen=True, slots=True)
class Word:
    """A word in a text."""

    start: int
    """Index of its first character."""
    end: int
    """Exclusive."""
    stem: str
    """What it is found by: folded, without accents and endings."""


def words_of(text: str, tokenizer: WordTokenizer) -> Iterator[Word]:
    """Every word in order."""
    if text.isascii():
        for start, end, stem in tokenizer.spans(text.encode()):
            yield Word(start, end, stem)
        return
    place = character = 0
    encoded = text.encode("utf-8", "replace")
    for start, end, stem in tokenizer.spans(encoded):
        character += len(encoded[place:start].decode())
        length = len(encoded[start:end].decode())
        yield Word(character, character + length, stem)
        character, place = character + length, end
