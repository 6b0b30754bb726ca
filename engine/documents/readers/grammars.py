"""Parses source code with tree-sitter, as far as the grammar of its language is installed.

Nothing is loaded before the first file of a language is parsed, and nothing is ever fetched: each
grammar is a compiled part of its package.
Rule: parsing ends after so many steps for the length of a text; the clock ends it only where steps
are slow beyond reason, so that the same text is read alike at any time.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false
# The library is loaded by name.

import importlib
from functools import cache
from time import monotonic
from typing import Any

_LONGEST = 500_000

# Ordinary code takes 2 to 6 steps of 100 operations for 1,000 bytes; calls nested without end 30 to
# 140, and 700 MB of memory for half a megabyte.
_STEPS, _BYTES_PER_STEP = 100, 66
# Ordinary code is parsed at 10 MB/s; 10,000 brackets within each other, in the grammar of Lua, take
# 6 s although their steps are few.
_SECONDS = 2.0

_SLICE = 1 << 16

PACKAGES = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "java": ("tree_sitter_java", "language"),
    "go": ("tree_sitter_go", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "c_sharp": ("tree_sitter_c_sharp", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "bash": ("tree_sitter_bash", "language"),
    "kotlin": ("tree_sitter_kotlin", "language"),
    "lua": ("tree_sitter_lua", "language"),
    "scala": ("tree_sitter_scala", "language"),
    "swift": ("tree_sitter_swift", "language"),
}
"""By language, the package that its grammar comes in, and the function there that gives it."""


def root_of(language: str, content: bytes) -> Any | None:
    """The outermost node of a text in UTF-8.

    Args:
        language: One of the grammars that are known here.
        content: The text; what it has of errors is in the tree too.

    Returns:
        None where the grammar is not installed, or where parsing would take too long.
    """
    known = grammar(language)
    if known is None or len(content) > _LONGEST:
        return None
    steps = iter(range(_STEPS + len(content) // _BYTES_PER_STEP))
    end = monotonic() + _SECONDS
    parser = importlib.import_module("tree_sitter").Parser(known)
    try:
        tree = parser.parse(
            lambda start, _: content[start : start + _SLICE],
            progress_callback=lambda *_: next(steps, None) is None or monotonic() > end,
        )
    except ValueError:  # The library's word for a parser that was stopped.
        return None
    return tree.root_node


@cache
def grammar(language: str) -> Any | None:
    """The grammar of a language, or None where it is not installed."""
    package, function = PACKAGES[language]
    try:
        library = importlib.import_module("tree_sitter")
        return library.Language(getattr(importlib.import_module(package), function)())
    except (ImportError, ValueError):  # Not installed, or for another version of the library.
        return None
