"""Tables on a terminal: nothing in them is ever cut, however narrow it is.

Rule: a row is one line. Where a terminal is too narrow for that, it is a block with a line for each
cell; a pipe is never too narrow.
"""

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_GAP = "  "


def show(
    console: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[str] = (),
) -> None:
    """Prints rows below the names of their columns.

    Args:
        console: Where to.
        names: The columns.
        rows: Texts of a line each, one a column.
        right: The columns that end at one place, as numbers do.
    """
    widths = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    if console.is_terminal and sum(widths) + len(_GAP) * (len(widths) - 1) > console.width:
        for row in rows:
            _show_block(console, names, row)
        return
    for number, row in enumerate([names, *rows]):
        cells = [
            _padded(text, width, to_the_right=name in right)
            for text, width, name in zip(row, widths, names, strict=True)
        ]
        console.print(Text(_GAP.join(cells).rstrip(), "" if number else "bold"), soft_wrap=True)


def _show_block(console: Console, names: Sequence[str], row: Sequence[str]) -> None:
    console.print(Text(row[0], "bold"), soft_wrap=True)
    for name, text in zip(names[1:], row[1:], strict=True):
        console.print(Text(f"{_GAP}{name}: {text}"), soft_wrap=True)


def _padded(text: str, width: int, *, to_the_right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if to_the_right else text + blank
