"""Tables that lose nothing."""

import io

import pytest
from rich.console import Console

from mcp_server.commands import tables

NAMES = ("id", "name", "tokens/s")
ROWS = [("key_e70d2fad", "Ann's [bold] laptop", "8,439"), ("key_3", "蜂蜜", "1")]


def shown(*, terminal: bool, width: int) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)
    tables.show(console, NAMES, ROWS, right=["tokens/s"])
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("terminal", "width"), [(True, 60), (False, 20)])
def test_a_row_is_a_line_on_a_wide_terminal_and_in_every_pipe(terminal, width):
    assert shown(terminal=terminal, width=width) == [
        "id            name                 tokens/s",
        "key_e70d2fad  Ann's [bold] laptop     8,439",
        "key_3         蜂蜜                        1",
    ]


def test_where_a_terminal_is_too_narrow_each_cell_has_a_line_and_none_is_cut():
    assert shown(terminal=True, width=20) == [
        "key_e70d2fad",
        "  name: Ann's [bold] laptop",
        "  tokens/s: 8,439",
        "key_3",
        "  name: 蜂蜜",
        "  tokens/s: 1",
    ]
