"""The command calibrate: how long a run of each shape takes on each provider, measured now.

Pictures need the extra `plot`, which is loaded by name when one is asked for.
"""

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from engine.embed.embedder import Embedder, Placement
from engine.errors import InvalidInput, Unavailable
from mcp_server import placement
from mcp_server.commands import tables
from mcp_server.commands.opening import engine, notes, print_json, results
from mcp_server.results import PlacementEntry, ShapeEntry
from mcp_server.settings import Settings

_NUMBERS = ("median ms", "tail ms", "tokens/s", "error")


@dataclass(frozen=True, slots=True)
class Row:
    """One shape of one provider; nothing is measured of what does not serve."""

    provider: str
    rows: int
    tokens: int
    state: str
    reason: str
    median_ms: float | None
    tail_ms: float | None
    tokens_per_second: int | None
    """Padding included."""
    prediction_error: float | None
    """How far the median is from what was predicted before; None if nothing was known."""


Draw = Callable[[Sequence[Row], str, Path], None]
"""Draws rows under a title into a file; raises OSError if that cannot be written."""


def calibrate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints a row a shape, and draws them if that is asked for and can be done."""
    file = _writable(Path(arguments.plot).expanduser()) if arguments.plot else None
    draw = _drawing() if file else None
    with engine(settings) as opened, opened.embedder.lease() as embedder:
        before, now = _measured(embedder)
        entry, model = placement.placement(opened, now), embedder.spec.model_id
    rows = [_row(shape, before) for shape in entry.shapes]
    if arguments.json:
        facts = entry.model_dump(include={"policy", "npu"})
        print_json({"model": model, **facts, "shapes": [asdict(row) for row in rows]})
    else:
        _print(rows, entry, model)
    if file and draw:
        _draw(draw, rows, f"{model}, {_device(entry)}", file)
    return 0


def _measured(embedder: Embedder) -> tuple[dict[tuple[str, int, int], float], Placement]:
    """The medians that were known, in ms, and where texts are embedded after measuring anew."""
    with notes().status("making shapes ready and measuring them"):
        embedder.wait_until_prepared()
        known = embedder.placement()
        if not known.shapes:
            known = embedder.calibrate()
        medians = {_key(shape): shape.median_ms for shape in map(placement.shape, known.shapes)}
        return medians, embedder.calibrate()


def _key(shape: ShapeEntry) -> tuple[str, int, int]:
    return shape.provider, shape.rows, shape.tokens


def _row(shape: ShapeEntry, before: dict[tuple[str, int, int], float]) -> Row:
    measured = shape.median_ms if shape.state == "serving" else 0.0
    predicted = before.get(_key(shape))
    error = abs(measured / predicted - 1) if measured and predicted else None
    return Row(
        provider=shape.provider,
        rows=shape.rows,
        tokens=shape.tokens,
        state=shape.state,
        reason=shape.reason,
        median_ms=measured or None,
        tail_ms=shape.tail_ms if measured else None,
        tokens_per_second=round(1000 * shape.rows * shape.tokens / measured) if measured else None,
        prediction_error=None if error is None else round(error, 3),
    )


def _device(entry: PlacementEntry) -> str:
    return placement.facts(entry.npu) if entry.npu.provider else f"no NPU: {entry.npu.code}"


def _print(rows: Sequence[Row], entry: PlacementEntry, model: str) -> None:
    names = ("provider", "shape", "state", *_NUMBERS)
    tables.show(results(), names, [_cells(row) for row in rows], right=_NUMBERS)
    for line in _reasons(rows):
        results().print(line, markup=False)
    results().print(
        "shape: texts x tokens of a run; tail: 19 of 20 runs take no longer; error: of the median "
        "that was predicted"
    )
    results().print(
        f"{model}; {_device(entry)}; policy {entry.policy}: {entry.npu.why}", markup=False
    )


def _cells(row: Row) -> list[str]:
    return [
        row.provider,
        f"{row.rows}x{row.tokens}",
        row.state,
        _shown(row.median_ms, ".2f"),
        _shown(row.tail_ms, ".2f"),
        _shown(row.tokens_per_second, ",d"),
        _shown(row.prediction_error, ".0%"),
    ]


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Why shapes do not serve, a line for those that stand together and have one reason."""
    return [
        f"{provider} {', '.join(f'{row.rows}x{row.tokens}' for row in same)}: {reason}"
        for (provider, reason), same in groupby(rows, lambda row: (row.provider, row.reason))
        if reason
    ]


def _shown(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


def _drawing() -> Draw:
    """What draws.

    Raises:
        Unavailable: The extra is not installed.
    """
    try:
        draw: Draw = importlib.import_module("mcp_server.commands.latency_plot").draw
    except ImportError as error:
        raise Unavailable(
            f"Pictures need matplotlib ({error}): pip install 'npu-gateway[plot]'."
        ) from error
    return draw


def _writable(file: Path) -> Path:
    """The file, which is neither changed nor made yet.

    Raises:
        InvalidInput: It cannot be written.
    """
    try:
        was_there = file.exists()
        with file.open("ab"):
            pass
        if not was_there:
            file.unlink()
    except OSError as error:
        raise _unwritable(file, error) from error
    return file


def _draw(draw: Draw, rows: Sequence[Row], title: str, file: Path) -> None:
    try:
        draw([row for row in rows if row.median_ms], title, file)
    except OSError as error:
        raise _unwritable(file, error) from error
    notes().print(f"{file} is written.", markup=False)


def _unwritable(file: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{file} cannot be written ({error}): choose another --plot.")
