"""The part of a passage that shows why it was found: whole lines around the evidence.

Pure. Words are compared by their stems, which are handed in, so that it sees the words that keyword
search saw. A snippet is exactly what stands at its lines; nothing is put in its place.
Rule: it holds a word of the question if the passage does, and never ends inside a character.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.corpus import Chunk
from engine.documents.graphemes import safe_cut
from engine.search.query import Query
from engine.search.verbatim import verbatim_patterns
from engine.store.lexical_text import SPACELESS_RUN, WORD, clean, identifier_parts

Stem = Callable[[str], str]
"""A word as the keyword index has it: its stems joined by spaces; empty if there are none."""

SHORTEST = 40
"""Characters; a smaller limit is raised to it."""

# A verbatim phrase outweighs some of the words it is made of.
_VERBATIM_WEIGHT = 4
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A run of a passage's text."""

    text: str
    start: int
    """Where it begins in the passage, in characters."""
    line_start: int
    """1-based, inclusive, in the document."""
    line_end: int
    highlights: tuple[tuple[int, int], ...]
    """Start and end of each word that was looked for, in characters of `text`, in order, apart."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Where a passage holds what is looked for."""

    start: int
    end: int
    key: str
    """Which word or phrase it is."""
    weight: int


def snippet(chunk: Chunk, query: Query, stem: Stem, limit: int) -> Snippet:
    """At most `limit` characters of a passage: the whole lines, or words of a line, that say most.

    Args:
        chunk: The passage.
        query: What was looked for; the beginning is shown where nothing of it is in the passage.
        stem: Gives a word as the keyword index has it.
        limit: Characters, at least 40.
    """
    limit = max(limit, SHORTEST)
    found = sorted(_evidence(chunk.text, query, stem), key=lambda one: (one.start, -one.end))
    start, end = _trimmed(chunk.text, *_window(chunk.text, found, limit))
    line_start = chunk.line_start + chunk.text.count("\n", 0, start)
    return Snippet(
        text=chunk.text[start:end],
        start=start,
        line_start=line_start,
        line_end=line_start + chunk.text.count("\n", start, max(start, end - 1)),
        highlights=tuple(_highlights(found, start, end)),
    )


def _evidence(text: str, query: Query, stem: Stem) -> Iterator[_Evidence]:
    """Every place of every word, part of an identifier, and verbatim phrase."""
    stems = {stemmed for word in query.words if (stemmed := stem(clean(word)))}
    known: dict[str, str] = {}
    for start, end in _words(text, query):
        word = text[start:end]
        if word not in known:
            known[word] = stem(clean(word))
        if known[word] in stems:
            yield _Evidence(start, end, known[word], 1)
    for pattern in verbatim_patterns(query.verbatim):
        for match in pattern.finditer(text):
            yield _Evidence(*match.span(), pattern.pattern, _VERBATIM_WEIGHT)


def _words(text: str, query: Query) -> Iterator[tuple[int, int]]:
    """Where words and parts of identifiers are; in scripts without spaces, where the question's
    words are."""
    for match in WORD.finditer(text):
        start, end = match.span()
        yield start, end
        for part in identifier_parts(match[0]):
            start = text.index(part, start)
            yield start, start + len(part)
            start += len(part)
    for word in query.words:
        if SPACELESS_RUN.fullmatch(word):
            yield from (match.span() for match in re.finditer(re.escape(word), text))


def _window(text: str, found: Sequence[_Evidence], limit: int) -> tuple[int, int]:
    """The run of whole lines with the most different evidence, and that in its middle."""
    if len(text) <= limit:
        return 0, len(text)
    starts = [one.start for one in found]

    def worth(run: tuple[int, int]) -> tuple[int, int, float]:
        inside = found[bisect_left(starts, run[0]) : bisect_left(starts, run[1])]
        inside = [one for one in inside if one.end <= run[1]]
        if not inside:
            return 0, 0, 0.0
        middle = (inside[0].start + inside[-1].end) / 2
        weight = sum({one.key: one.weight for one in inside}.values())
        return weight, len(inside), -abs(middle - (run[0] + run[1]) / 2)

    best = max(_runs(list(_units(text, limit)), limit), key=worth)
    if found and not worth(best)[0]:  # Longer than the limit.
        start = safe_cut(text, found[0].start)
        return start, safe_cut(text, min(start + limit, len(text)))
    return best


def _runs(units: Sequence[tuple[int, int]], limit: int) -> Iterator[tuple[int, int]]:
    """From each unit on, as many as fit."""
    last = 0
    for start, _ in units:
        while last < len(units) and units[last][1] - start <= limit:
            last += 1
        yield start, units[last - 1][1]


def _units(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """What is not cut: lines, and of lines beyond the limit a few words each."""
    for line in re.finditer(r"[^\n]*\n|[^\n]+", text):
        start, end = line.span()
        while end - start > limit:
            cut = _cut(text, start, start + limit // 4)
            yield start, cut
            start = cut
        yield start, end


def _cut(text: str, start: int, end: int) -> int:
    """Behind a space at or before the end, or where no character is split."""
    space = max(text.rfind(" ", start, end), text.rfind("\t", start, end))
    cut = space + 1 if space > start else safe_cut(text, end)
    return cut if cut > start else end


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without blank lines at its beginning and space at its end."""
    end = start + len(text[start:end].rstrip())
    blank = _BLANK_LINES.match(text, start, end)
    return (blank.end() if blank else start), end


def _highlights(found: Sequence[_Evidence], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the evidence is in a window; what overlaps is one."""
    first = last = start
    for one in found:
        if one.start > last or one.start >= end:
            if last > first:
                yield first - start, last - start
            first = max(one.start, start)
        last = max(last, min(one.end, end), first)
    if last > first:
        yield first - start, last - start
