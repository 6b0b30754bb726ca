"""Made-up texts and vectors of any number, the same ones every time, for `search_scale`.

Needs numpy only, so that programs without this project can be given the same. Words follow Zipf's
law (200,000 of them); vectors lie about subjects, 200 to each, and off zero in all dimensions, as
models' vectors do. Or the subjects are rows of a file: vectors a real model made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

DIMENSIONS = 384
BLOCK = 10_000

_WORDS = 200_000
_STOP_WORDS = 100
_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwz", "aeiou"


@dataclass(frozen=True)
class Subjects:
    """What vectors lie about."""

    centres: np.ndarray
    """float32[subjects, dimensions]."""
    spread: float
    """Of what is added in each dimension."""

    def vectors(self, chunks: int) -> Iterator[np.ndarray]:
        """Unit vectors, float32[up to 10,000, dimensions] at a time."""
        for start in range(0, chunks, BLOCK):
            yield self._about(np.random.default_rng([1, start]), min(BLOCK, chunks - start))

    def questions(self, count: int) -> np.ndarray:
        """Unit vectors that are none of those."""
        return self._about(np.random.default_rng(2), count)

    def _about(self, random: np.random.Generator, count: int) -> np.ndarray:
        rows = self.centres[random.integers(0, len(self.centres), count)]
        rows = rows + self.spread * random.standard_normal((count, DIMENSIONS), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def subjects(chunks: int, file: Path | None = None) -> Subjects:
    """Made-up ones, or the rows of a .npy file with a little noise."""
    if file is not None:
        return Subjects(np.load(file).astype(np.float32), 0.02)
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(20, chunks // 200), DIMENSIONS), np.float32) + 0.25
    return Subjects(centres / np.linalg.norm(centres, axis=1, keepdims=True), 0.05)


def nearest(made: Subjects, chunks: int, limit: int, every: int = 1) -> list[set[int]]:
    """The numbers of the nearest vectors of each question, by comparing with all.

    Args:
        made: What vectors lie about.
        chunks: How many there are.
        limit: So many for each question.
        every: Only those whose number is a multiple.
    """
    asked = made.questions(QUESTIONS)
    best = np.full((len(asked), limit), -2.0, np.float32)
    numbers = np.zeros((len(asked), limit), np.int64)
    for start, block in zip(range(0, chunks, BLOCK), made.vectors(chunks), strict=True):
        places = np.arange(start, start + len(block))
        chosen = places % every == 0
        scores = np.concatenate([best, asked @ block[chosen].T], axis=1)
        names = np.concatenate(
            [numbers, np.broadcast_to(places[chosen], (len(asked), chosen.sum()))], axis=1
        )
        order = np.argpartition(-scores, limit, axis=1)[:, :limit]
        best = np.take_along_axis(scores, order, 1)
        numbers = np.take_along_axis(names, order, 1)
    return [set(row) for row in numbers.tolist()]


QUESTIONS = 100


class Vocabulary:
    """Words by how common they are."""

    def __init__(self) -> None:
        self._words = np.array([_word(number) for number in range(_WORDS)])
        shares = 1 / np.arange(1, _WORDS + 1)
        self._cumulated = np.cumsum(shares / shares.sum())

    def texts(self, chunks: int) -> Iterator[list[str]]:
        """Texts of 80 to 240 words, up to 10,000 at a time."""
        for start in range(0, chunks, BLOCK):
            random = np.random.default_rng([3, start])
            lengths = random.integers(80, 240, min(BLOCK, chunks - start))
            words = self._drawn(random, int(lengths.sum()), 0)
            ends = np.cumsum(lengths).tolist()
            starts = [0, *ends[:-1]]
            yield [" ".join(words[a:b]) for a, b in zip(starts, ends, strict=True)]

    def questions(self) -> list[str]:
        """Of two to six words as common as a text's, the 100 most common left out."""
        random = np.random.default_rng(4)
        lengths = random.integers(2, 7, QUESTIONS)
        return [" ".join(self._drawn(random, int(length), _STOP_WORDS)) for length in lengths]

    def _drawn(self, random: np.random.Generator, count: int, above: int) -> list[str]:
        lowest = self._cumulated[above - 1] if above else 0.0
        ranks = np.searchsorted(self._cumulated, lowest + (1 - lowest) * random.random(count))
        return self._words[np.minimum(ranks, _WORDS - 1)].tolist()


def memory(name: Literal["VmRSS", "VmHWM"]) -> float:
    """Megabytes this process has now, or had at most since `forget_peak`; 0 off Linux."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0.0
    line = next(one for one in status.read_text().splitlines() if one.startswith(name))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Lets `memory` tell the peak from now on."""
    file = Path("/proc/self/clear_refs")
    if file.is_file():
        file.write_text("5")


def _word(number: int) -> str:
    letters = ""
    number += 1
    while number:
        letters += _CONSONANTS[number % 19] + _VOWELS[number // 19 % 5]
        number //= 95
    return letters
