"""Draws how long runs take: median and tail over the tokens of a run, a colour a provider.

Alone imports matplotlib, which is the extra `plot`.
"""
# matplotlib's types leave keyword arguments open; they end at this door.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

_INCHES, _DOTS_PER_INCH = (8.0, 5.0), 120


class Measured(Protocol):
    """What is drawn of a shape."""

    @property
    def provider(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def median_ms(self) -> float | None: ...
    @property
    def tail_ms(self) -> float | None: ...


def draw(shapes: Sequence[Measured], title: str, file: Path) -> None:
    """Writes a PNG.

    Args:
        shapes: Measured ones, each provider's together.
        title: Stands above.
        file: Is written over.

    Raises:
        OSError: The file cannot be written.
    """
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.add_subplot()
    for number, (provider, own) in enumerate(groupby(shapes, lambda shape: shape.provider)):
        _add(axes, provider, sorted(own, key=_size), f"C{number}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted({_size(shape) for shape in shapes}))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="tokens of a run (texts x tokens)", ylabel="milliseconds")
    axes.set_title(title.replace("$", r"\$"), wrap=True)
    axes.grid(visible=True, which="both", alpha=0.3)
    if shapes:
        axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)


def _add(axes: Axes, provider: str, shapes: Sequence[Measured], colour: str) -> None:
    sizes = [_size(shape) for shape in shapes]
    medians = [shape.median_ms or 0.0 for shape in shapes]
    tails = [shape.tail_ms or 0.0 for shape in shapes]
    axes.plot(sizes, medians, color=colour, marker="o", label=f"{provider}, median")
    axes.plot(sizes, tails, color=colour, linestyle="--", label=f"{provider}, 95th percentile")
    axes.fill_between(sizes, medians, tails, color=colour, alpha=0.15)


def _size(shape: Measured) -> int:
    return shape.rows * shape.tokens
