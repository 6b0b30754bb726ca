"""Which documents a `Filter` lets through, in SQL; resolved to keys before anything is ranked."""

import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import paths
from engine.corpus import Filter
from engine.errors import InvalidInput
from engine.store.connection import View

DocumentKeys = NDArray[np.int64]

Condition = tuple[str, list[Any]]
"""An expression over the table documents, and its bindings."""

# No path is as long; SQLite compares none with longer patterns than 50,000 bytes.
_LONGEST_PATTERN = 10_000

# SQLite's integers end at 64 bits.
_LARGEST = 2**63 - 1

_MOST_ROWS = 2**31


def rows_of(limit: int) -> int:
    """A number of rows that SQLite can count to; none where a negative one was asked for."""
    return max(0, min(limit, _MOST_ROWS))


def in_64_bits(number: int) -> int:
    """The nearest number that SQLite knows."""
    return max(-_LARGEST, min(number, _LARGEST))


def condition(where: Filter) -> Condition:
    """What must be true of a document.

    Raises:
        InvalidInput: A pattern is too long.
    """
    parts = list(_parts(where))
    sql = " AND ".join(f"({part})" for part, _ in parts) or "TRUE"
    return sql, [value for _, bindings in parts for value in bindings]


def document_keys(view: View, where: Filter) -> DocumentKeys:
    """The keys of the documents that match, in any order."""
    sql, bindings = condition(where)
    rows = view.rows(f"SELECT document_key FROM documents WHERE {sql}", bindings)
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def under(path: str) -> Condition:
    """At an absolute path, or below it."""
    folder = path.rstrip(os.sep) + os.sep
    behind = folder[:-1] + chr(ord(os.sep) + 1)
    return "path = ? OR (path >= ? AND path < ?)", [path, folder, behind]


def _parts(where: Filter) -> Iterator[Condition]:
    if where.roots:
        yield _any([under(root) for root in where.roots])
    if where.path_globs:
        yield _any([glob(pattern) for pattern in where.path_globs])
    if where.kinds:
        yield _any([("kind = ?", [kind]) for kind in where.kinds])
    if where.modified_after_ns:
        yield "modified_ns >= ?", [in_64_bits(where.modified_after_ns)]
    if where.modified_before_ns:
        yield "modified_ns < ?", [in_64_bits(where.modified_before_ns)]
    for name, value in where.metadata:
        yield _said(name, value)
    if where.named:
        yield _named(where.named.casefold())


def _any(conditions: list[Condition]) -> Condition:
    """Halved again and again, since SQLite reads no expression of 1,000 levels."""
    if len(conditions) == 1:
        return conditions[0]
    middle = len(conditions) // 2
    (first, values), (second, more) = _any(conditions[:middle]), _any(conditions[middle:])
    return f"({first}) OR ({second})", [*values, *more]


def glob(pattern: str, rules: ModuleType = os.path) -> Condition:
    """SQLite's GLOB, in which * also passes over folders; a bare folder means what is in it.

    Where /**/ stands, it may be that there is no folder at all. Case counts where it does for the
    system.

    Args:
        pattern: As a caller writes it, with slashes on every system.
        rules: See `engine.paths`.

    Raises:
        InvalidInput: It is too long.
    """
    sep = rules.sep
    if len(pattern) > _LONGEST_PATTERN:
        raise InvalidInput(
            f"A pattern for paths is {len(pattern):,} characters long; "
            f"{_LONGEST_PATTERN:,} are the most."
        )
    native = pattern.replace("/", sep).removeprefix("**" + sep).removeprefix("." + sep)
    if not paths.is_absolute(native, rules):
        native = f"*{sep}{native}"
    bare = native.rstrip(sep)
    without_folders = bare.replace(f"{sep}**{sep}", sep)
    patterns, sql = dict.fromkeys((bare, without_folders)), "path GLOB ?"
    if rules.normcase("A") != "A":
        # SQLite's own lower() knows ASCII alone, Windows all letters.
        patterns, sql = dict.fromkeys(map(str.casefold, patterns)), "casefold(path) GLOB ?"
    return _any([(sql, [one + end]) for one in patterns for end in ("", f"{sep}*")])


def _said(name: str, value: str) -> Condition:
    """What a document says of itself, whole or as one of a list."""
    wanted = f", {value.casefold()}, "
    return (
        "EXISTS (SELECT 1 FROM json_each(metadata) AS said WHERE casefold(said.key) = ? "
        "AND instr(', ' || casefold(said.value) || ', ', ?))",
        [name.casefold(), wanted],
    )


def _named(name: str) -> Condition:
    """Whose id begins with a folded name, or whose path or title holds it."""
    return (
        "instr(document_id, ?) = 1 OR instr(casefold(path), ?) OR instr(casefold(title), ?)",
        [name] * 3,
    )
