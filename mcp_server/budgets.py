"""Budgets: how large a result may be in either channel, so that every host shows all of it.

Claude Code 2.1 warns of a result of more than 10,000 tokens, refuses one of more than 25,000 and
puts one of more than 50,000 characters into a file that its model does not read. No other host is
known to take less. Rule: a result whose caller said nothing of its size stays below the first of
these, any other below the rest; what is left out is told, with the argument that leads on to it.
Tokens are those of `tokens`, rather too many than too few: of English 9,500 are 28,500 characters,
which are 6,500 in fact, and no text of as many tokens has more characters.
"""

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Any, TypeVar

from pydantic_core import to_json

from mcp_server.tokens import estimated_tokens

RESULT_TOKENS = 9_500
"""Of a result whose size its caller did not choose."""

SEARCH_TOKENS, LARGEST_SEARCH_TOKENS = 4_000, 16_000
"""Of a search, by itself and where its caller wants as much as there may be: 48,000 characters."""

QUESTION_CHARACTERS = 4_000
"""Of what is looked for."""

PROMPT_TOKENS = 8_000
"""Of the passages in a prompt."""

LARGEST_CHARACTERS = 50_000
"""Of vectors, which programs read, and of a written answer, whose tokens may be mere spaces."""

ANSWER_TOKENS = 8_192
"""Of a written answer, as its model counts them: the context window of the default model."""

FILES_TOKENS = 2_000
"""Of each list of files in what a run of indexing tells."""

COLLECTIONS_TOKENS, FOLDERS_TOKENS = 2_000, 1_000
"""Of the collections and of the allowed folders, in one result."""

SHAPES, REASON_CHARACTERS = 40, 300
"""Of runs on a device that status shows; and of a sentence in status, why something is so."""

FAILURE_CHARACTERS = 1_000
"""Of the sentence that says what was wrong, which may quote what was sent."""

NAME_CHARACTERS = 80
"""Of a word of the caller's that such a sentence quotes."""

PATH_TOKENS = 1_500
"""Of a path that is shown: any of 4,096 letters, but not of as many signs that JSON escapes."""

_ENTRY_TOKENS = 12
"""Around an entry of a list, in the words of `rendering` or in JSON."""

EntryT = TypeVar("EntryT")


def first(entries: Sequence[EntryT], tokens: int, least: int = 0) -> list[EntryT]:
    """The first of some entries, as many as have so many tokens together, but some at least."""
    sums = accumulate(map(_tokens, entries))
    fitting = sum(1 for _ in takewhile(lambda sum: sum <= tokens, sums))
    return list(entries[: max(fitting, least)])


def tokens_of(entries: Sequence[Any]) -> int:
    """What entries count of a list."""
    return sum(map(_tokens, entries))


def briefly(text: str, characters: int) -> str:
    """A text without its middle, if it is longer: advice stands in the end."""
    if len(text) <= characters:
        return text
    end = characters // 3
    return f"{text[: characters - end - 7]} [...] {text[-end:]}"


def shown_path(path: str) -> str:
    """A path without its middle, if it is too long to be shown."""
    shown, characters = path, len(path)
    while _tokens(shown) > PATH_TOKENS:
        characters = characters * 3 // 4
        shown = briefly(path, characters)
    return shown


def _tokens(entry: Any) -> int:
    return estimated_tokens(to_json(entry).decode()) + _ENTRY_TOKENS
