"""What the fields of SamplingParams may be; whatever else they are is refused by name.

Knows numbers, texts and token ids, and no field's meaning. Rule: whatever a caller gives, be it
NaN, a number of ten thousand digits or a list where a number is due, ends in one InvalidInput
sentence that names the field, and never in another exception.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from engine.errors import InvalidInput

Limits = tuple[type[int | float], float, float]
"""Kind, least and greatest; both may be taken."""

_KINDS: dict[type, str] = {int: "a whole number", float: "a number"}
_SURROGATE = re.compile("[\ud800-\udfff]")

# The highest token id there can be: graphs take ids as int64, vocabularies have a few 100,000.
_HIGHEST_ID = 2**31 - 1
_SPELLED_BELOW = 10**30
_SPELLED_CHARACTERS = 40


def check_number(name: str, value: object, limits: Limits) -> None:
    """Refuses what is no number of this kind within these limits."""
    kind, least, greatest = limits
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise InvalidInput(f"{name} must be {_KINDS[kind]}, but is {_spelled(value)}.")
    if not least <= value <= greatest:
        raise InvalidInput(
            f"{name} must be between {least} and {greatest}, but is {_spelled(value)}."
        )


def check_texts(name: str, value: object, most: int, characters: int) -> None:
    """Refuses what is no tuple of at most so many texts of 1 to so many characters each."""
    for text in _entries(name, value, "strings", most):
        if not isinstance(text, str):
            raise InvalidInput(f"{name} must hold strings, but holds a {type(text).__name__}.")
        if not 1 <= len(text) <= characters:
            raise InvalidInput(
                f"Each string of {name} must have 1 to {characters} characters, "
                f"but one has {len(text)}."
            )
        if _SURROGATE.search(text):
            raise InvalidInput(
                f"A string of {name} holds a lone surrogate (half of a UTF-16 pair), which is no "
                "character; remove it."
            )


def check_ids(name: str, value: object, most: int) -> None:
    """Refuses what is no tuple of at most so many token ids."""
    for token_id in _entries(name, value, "token ids", most):
        check_number(f"Each token id of {name}", token_id, (int, 0, _HIGHEST_ID))


def frozen_numbers(
    name: str, value: object, most: int, limits: Limits
) -> MappingProxyType[int, float]:
    """A copy that cannot be changed of a mapping of at most so many token ids to such numbers."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} must map token ids to numbers, but is {_spelled(value)}.")
    numbers = cast(Mapping[object, object], value)
    if len(numbers) > most:
        raise InvalidInput(f"{name} must have at most {most} entries, but has {len(numbers)}.")
    for token_id, number in numbers.items():
        check_number(f"Each token id of {name}", token_id, (int, 0, _HIGHEST_ID))
        check_number(f"Each number of {name}", number, limits)
    return MappingProxyType(dict(cast(Mapping[int, float], numbers)))


def _entries(name: str, value: object, kind: str, most: int) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise InvalidInput(f"{name} must be a tuple of {kind}, but is a {type(value).__name__}.")
    entries = cast(tuple[object, ...], value)
    if len(entries) > most:
        raise InvalidInput(f"{name} must be at most {most} {kind}, but is {len(entries)}.")
    return entries


def _spelled(value: object) -> str:
    """A value in a message: never long, and never an error to spell."""
    if isinstance(value, int) and abs(value) >= _SPELLED_BELOW:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        cut = value[:_SPELLED_CHARACTERS]
        return repr(cut) + ("…" if len(cut) < len(value) else "")
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return f"a {type(value).__name__}"
