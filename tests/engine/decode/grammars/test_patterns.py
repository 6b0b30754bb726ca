"""Patterns: what is refused, what a short match is, and whether matches can be made longer."""

import re

import pytest

from engine.decode.grammars.patterns import Pattern
from engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("source", "sample"),
    [
        ("abc", "abc"),
        (r"^\d{4}-\d{2}$", "0000-00"),
        (r".*\.json", ".json"),
        ("a|bcd", "a"),
        ("(?:long|no)[^a-z0-9]+x?", "noA"),
        (r"[éж]\W\S\s", "é 0 "),
    ],
)
def test_a_sample_is_a_short_text_that_matches(source: str, sample: str) -> None:
    assert Pattern.read(source).samples[0] == sample
    assert re.search(source, sample)


@pytest.mark.parametrize(
    ("source", "extends"),
    [
        ("^x-", True),
        ("^[a-z]+$", True),
        ("^[a-z]*$", True),
        (r"^a\d{2,}$", True),
        ("^[a-z]{2,5}$", False),
        ("^(a|b)+$", False),
        ("^a$|^b", False),
        ("a$", False),
    ],
)
def test_a_pattern_extends_if_every_match_can_surely_be_made_longer(
    source: str, extends: bool
) -> None:
    assert Pattern.read(source).extends == extends


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("(?=a)", "look-around, name or flag"),
        ("(?i)a", "look-around, name or flag"),
        ("(?P<n>a)(?P=n)", "look-around, name or flag"),
        (r"(a)\1", r"has \\1"),
        (r"\bx", r"has \\b"),
        (r"\p{L}", r"has \\p"),
        ("a++", "a possessive repeat"),
        ("(^a|b)c", "where it has no fixed meaning"),
        ("(a$)", "holds an anchor"),
        ("a$b", "in the middle"),
        ("[[a]", r"\[ in a set"),
        ("[a&&b]", "& in a set"),
        ("[+--]", "-- in a set"),
        ("[--a]", "-- in a set"),
        ("[a--b]", "-- in a set"),
        ("[]a]", r"\] in a set"),
        ("[z-a]", "the wrong way round"),
        ("x{2", "has {"),
        ("x{,3}", "has {"),
        ("a{5000}", "more than 4096 repeats"),
        ("a**", "where it has no fixed meaning"),
        ("[a", "an end where something must follow"),
        ("a\\", "an end where something must follow"),
        (")", "in the middle"),
        ("\x00", "a control character"),
        (r"\ud800", "half of a UTF-16 pair"),
        ("a{3,2}", "is not valid"),
        ("a" * 2_001, "2001 characters"),
    ],
)
def test_a_pattern_that_dialects_read_differently_is_refused(source: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Pattern.read(source)
