"""Row: what a run of the gate came to, and the table of all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

_HEAD = ("run", "scenarios", "passed", "failed", "warned", "skipped", "seconds", "verdict")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run: how many scenarios, and of their checks how many came to what."""

    run: str
    scenarios: int
    passed: int
    failed: int
    """Expected failures, too."""
    warned: int = 0
    skipped: int = 0
    seconds: float
    faults: tuple[str, ...] = ()
    """Why the gate stays shut; none if this run opens it."""
    notes: tuple[str, ...] = ()
    """What a reader should know besides."""

    def judged(self, faults: Iterable[str], notes: Iterable[str] = ()) -> "Row":
        return replace(self, faults=(*self.faults, *faults), notes=(*self.notes, *notes))


def table(rows: Sequence[Row]) -> str:
    """All runs, in columns; below what is to be said on each."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    told = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    for row in rows:
        told += [f"  {row.run}: {note}" for note in row.notes]
        told += [f"! {row.run}: {fault}" for fault in row.faults]
    return "\n".join(told)


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.scenarios, row.passed, row.failed, row.warned, row.skipped)
    verdict = "FAILS" if row.faults else "ok"
    return (row.run, *map(str, counts), f"{row.seconds:.1f}", verdict)


def _aligned(line: tuple[str, ...], widths: list[int]) -> list[str]:
    last = len(line) - 1
    return [
        cell.rjust(width) if 0 < column < last else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
