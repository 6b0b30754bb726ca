"""Patterns for files match as git means them, and quickly."""

import re
from random import Random

import pathspec
import pytest

from engine.documents.ignoring import Globs
from engine.documents.matching import quick
from engine.errors import InvalidInput

ATOMS = [
    "a",
    "b",
    "*",
    "?",
    "**",
    "[ab]",
    "[!a]",
    "/",
    "/",
    "/**/",
    "*a*",
    "\\*",
    ".",
    "x",
    "(",
    "$",
]
NAMES = ["a", "b", "aa", "ab", "aba", "bab", "x", "a.b", "*", "(", "abx", "xb"]


def _found(expression: str, name: str):
    places = re.finditer(expression, name)
    return [(match.span(), match.groupdict().get("ps_d")) for match in places]


def test_a_quick_expression_matches_what_the_slow_one_does():
    random = Random(5)
    quickened = 0
    for _ in range(3000):
        pattern = "".join(random.choices(ATOMS, k=random.randint(1, 9)))
        try:
            (read,) = pathspec.GitIgnoreSpec.from_lines([pattern]).patterns
            expression = quick(read.regex.pattern if read.regex else "")
        except ValueError:
            continue
        if read.regex is None or expression == read.regex.pattern:
            continue
        quickened += 1
        for _ in range(20):
            name = "/".join(random.choices(NAMES, k=random.randint(1, 6))) + random.choice(
                ["", "/"]
            )
            assert _found(expression, name) == _found(read.regex.pattern, name), (pattern, name)
    assert quickened > 300


@pytest.mark.parametrize(
    "pattern",
    ["*a*a*a*a*a*a*a*a*b", "**/a/**/a/**/a/**/a/**/a/**/b", "*a?*a?*a?*a?*a?*[ab]*c"],
)
def test_a_pattern_of_many_wildcards_takes_no_time(pattern):
    globs = Globs("/root", [pattern])
    for name in ("a" * 250, "a/" * 300 + "c", ("a" * 200 + "/") * 15 + "z"):
        assert not globs.match(f"/root/{name}")


def test_a_pattern_that_cannot_be_made_quick_is_refused():
    with pytest.raises(InvalidInput, match="is no pattern"):
        Globs("/root", ["*[!b]" * 9])
