"""Ranges of numbers as regular expressions: exactly the decimals within the bounds."""

import json
import random
import re
from decimal import Decimal

import pytest

from engine.decode.grammars.numbers import Range


def _number(chance: random.Random) -> Decimal:
    greatest = 10 ** chance.choice([0, 1, 2, 3, 5, 9, 14])
    places = chance.choice([0, 0, 1, 3, 7])
    return Decimal(chance.randrange(-greatest, greatest + 1)).scaleb(-places)


def _range(chance: random.Random) -> Range:
    low, high = sorted([_number(chance), _number(chance)])
    bounds = {
        chance.choice(["low", "above", "no"]): low,
        chance.choice(["high", "below", "no"]): high,
    }
    bounds.pop("no", None)
    return Range(**bounds, whole=chance.random() < 0.4)


def _writes(written: Range, text: str) -> bool:
    return all(re.fullmatch(pattern, text) for pattern in written.pattern())


def test_the_numbers_written_are_those_in_the_range() -> None:
    chance = random.Random(1)
    for _ in range(1_000):
        numbers = _range(chance)
        written = numbers.written()
        if written is None:
            continue
        near = [bound for bound in (written.low, written.high) if bound is not None]
        steps = [Decimal(n).scaleb(-chance.randrange(9)) for n in range(-3, 4)]
        tried = [bound + step for bound in near for step in steps]
        for number in (*near, *tried, *(_number(chance) for _ in range(10))):
            text = f"{number:f}"
            inside = (
                (written.low is None or number >= written.low)
                and (written.high is None or number <= written.high)
                and (not written.whole or "." not in text)
            )
            assert _writes(written, text) == inside or text == "-0", (numbers, text)
            if inside:
                assert numbers.holds(number)
                _as_doubles(numbers, json.loads(text))


def _as_doubles(numbers: Range, value: float) -> None:
    """The value keeps to the bounds as other programs compare them: in double precision."""
    assert numbers.low is None or value >= float(numbers.low)
    assert numbers.high is None or value <= float(numbers.high)
    assert numbers.above is None or value > float(numbers.above)
    assert numbers.below is None or value < float(numbers.below)


@pytest.mark.parametrize(
    ("numbers", "empty"),
    [
        (Range(), False),
        (Range(low=Decimal(2), high=Decimal(2)), False),
        (Range(low=Decimal(2), below=Decimal(2)), True),
        (Range(above=Decimal(2), below=Decimal("2.0001")), False),
        (Range(above=Decimal(2), below=Decimal(3), whole=True), True),
        (Range(low=Decimal(10), high=Decimal(13), whole=True, multiple=7), True),
        (Range(low=Decimal(10), high=Decimal(14), whole=True, multiple=7), False),
        (Range(low=Decimal(10) ** 20, whole=True, multiple=7), False),
    ],
)
def test_a_range_is_empty_if_no_number_is_in_it(numbers: Range, empty: bool) -> None:
    assert numbers.is_empty == empty


@pytest.mark.parametrize("text", ["1e5", "01", "+1", ".5", "5.", "1.", "-", "", "--1", "Infinity"])
def test_only_plain_decimals_are_written(text: str) -> None:
    for numbers in (Range(), Range(low=Decimal(-5)), Range(high=Decimal(10**9))):
        written = numbers.written()
        assert written is not None
        assert not _writes(written, text)
