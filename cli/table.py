"""Rows of a query as a table for people, or row by row where a table would be too wide."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forgetless.curator.plain import plain
from forgetless.curator.report.visible import one_line

SHOWN_ROWS = 200
"""Rows printed on a terminal; elsewhere all are."""
NARROWEST = 12
"""Text columns are not cut below this many characters: the rows are printed one under another instead."""
PADDING = 3
"""Characters between two columns."""


def print_rows(rows: pa.Table, complete: str = "--format csv") -> None:
    """Print rows to stdout: cut to the terminal's width, in full width and without colours elsewhere.

    `complete` is the option that prints them all.
    """
    console = Console(highlight=False)
    shown = rows.slice(0, SHOWN_ROWS) if console.is_terminal else rows
    names = rows.column_names
    cells = [[cell(value) for value in row.values()] for row in shown.to_pylist()]
    numeric = [_is_number(field.type) for field in rows.schema]
    widths = [max(cell_len(text.plain) for text in column) for column in _columns(names, cells)]
    if not console.is_terminal:
        console.width = sum(widths) + PADDING * (len(widths) - 1)
    fitted = fit(widths, numeric, console.width)
    if fitted is None:
        _print_blocks(console, names, cells)
    else:
        console.print(_table(names, cells, numeric, fitted))
    if len(shown) < len(rows):
        print(f"{len(rows) - len(shown):,} more rows: {complete} prints all", file=sys.stderr)


def fit(widths: Sequence[int], numeric: Sequence[bool], room: int) -> list[int] | None:
    """Column widths that fit `room` characters, the widest text columns cut first; None if none do."""
    fitted = list(widths)
    excess = sum(fitted) + PADDING * (len(fitted) - 1) - room
    while excess > 0:
        cuttable = [i for i, width in enumerate(fitted) if not numeric[i] and width > NARROWEST]
        if not cuttable:
            return None
        fitted[max(cuttable, key=fitted.__getitem__)] -= 1
        excess -= 1
    return fitted


def cell(value: Any) -> Text:
    """One value: floats to 4 significant digits, NULL dim, everything on one line."""
    if value is None:
        return Text("NULL", "dim")
    value = value if isinstance(value, float) else plain(value)
    if isinstance(value, float):
        return Text(_figure(value))
    if isinstance(value, list | dict):
        return Text(one_line(json.dumps(_rounded(value), ensure_ascii=False)))
    return Text(one_line(str(value)) if not isinstance(value, bool) else str(value).lower())


def _figure(value: float) -> str:
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(_figure(value)) if isinstance(value, float) else value


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _columns(names: Sequence[str], cells: Sequence[Sequence[Text]]) -> list[list[Text]]:
    return [[Text(name), *(row[i] for row in cells)] for i, name in enumerate(names)]


def _table(
    names: Sequence[str], cells: Sequence[Sequence[Text]], numeric: Sequence[bool], widths: Sequence[int]
) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, right, width in zip(names, numeric, widths, strict=True):
        table.add_column(
            Text(name), justify="right" if right else "left", width=width, no_wrap=True, overflow="ellipsis"
        )
    for row in cells:
        table.add_row(*row)
    return table


def _print_blocks(console: Console, names: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    """One block per row, one line per value."""
    for number, row in enumerate(cells, 1):
        console.rule(f"row {number}", align="left", style="dim")
        block = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        block.add_column(style="bold", no_wrap=True, min_width=max(map(cell_len, names)))
        block.add_column(no_wrap=True, overflow="ellipsis")
        for name, text in zip(names, row, strict=True):
            block.add_row(name, text)
        console.print(block)
