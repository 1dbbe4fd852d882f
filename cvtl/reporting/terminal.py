"""Figures and sections on the terminal; curves and pictures are left to the page."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from math import isfinite
from textwrap import fill

from rich.console import Console

from cvtl.reporting.sections import Bars, Figure, Matrix, Section, Shape, Table
from cvtl.reporting.values import NOTHING, count, is_number_column, most_confused, show
from cvtl.terminal import printable, table

_MOST_COLUMNS = 10
_LEAST_TEXT = 12
_LEAST_NUMBER = 8


def print_figures(console: Console, figures: Sequence[Figure]) -> None:
    """Print measured figures, each with its 95 % interval."""
    intervals = ("" if show(each.low) == NOTHING else f"{show(each.low)} to {show(each.high)}" for each in figures)
    rows = tuple((each.name, each.value, interval) for each, interval in zip(figures, intervals, strict=True))
    made = Table(title="", columns=("figure", "value", "95 % interval"), rows=rows)
    print_section(console, made, most_rows=len(rows))


def print_section(console: Console, section: Section, *, most_rows: int = 30) -> None:
    """Print a section as a table, up to `most_rows` of it; of curves and galleries nothing."""
    match section:
        case Table():
            _print_table(console, section, most_rows)
        case Bars():
            rows = tuple(section.values.items())
            bars = Table(title=section.title, columns=("", section.label), rows=rows, note=section.note)
            _print_table(console, bars, most_rows)
        case Shape():
            _print_table(console, _highest_first(section), most_rows)
        case Matrix():
            _print_table(console, _as_table(most_confused(section, _MOST_COLUMNS)), most_rows)


def _highest_first(shape: Shape) -> Table:
    rows = [row for row in zip(shape.names, shape.values.tolist(), strict=True) if isfinite(row[1])]
    rows.sort(key=lambda row: -row[1])
    return Table(title=shape.title, columns=("", shape.label), rows=tuple(rows))


def _as_table(matrix: Matrix) -> Table:
    rows = tuple((name, *map(count, row)) for name, row in zip(matrix.rows, matrix.values.tolist(), strict=True))
    corner = f"{matrix.row_label} / {matrix.column_label}"
    return Table(title=matrix.title, columns=(corner, *matrix.columns), rows=rows, note=matrix.note)


def _print_table(console: Console, section: Table, most_rows: int) -> None:
    shown = [[printable(show(cell)) for cell in row] for row in section.rows[:most_rows]]
    made = table()
    made.padding = (0, 1, 0, 0)
    for number, heading in enumerate(map(printable, section.columns)):
        cells = [row[number] for row in shown]
        if is_number_column(section, number):
            widest = max(_LEAST_NUMBER, _longest(cells), _longest(heading.split()))
            heading = fill(heading, widest, break_on_hyphens=False)
            made.add_column(heading, justify="right", no_wrap=True)
        else:
            least = min(_LEAST_TEXT, _longest(word for cell in cells for word in cell.split()))
            made.add_column(heading, overflow="fold", min_width=least)
    for row in shown:
        made.add_row(*row)
    # Broken digits cannot be read: columns that do not fit are left to the page.
    unlimited = console.options.update(max_width=sys.maxsize)
    while console.measure(made, options=unlimited).minimum > console.width and len(made.columns) > 1:
        made.columns.pop()
    if section.title:
        console.print(printable(section.title), style="bold")
    console.print(made)
    for left, what in (
        (len(section.columns) - len(made.columns), "columns"),
        (len(section.rows) - len(shown), "rows"),
    ):
        if left:
            console.print(f"... and {left} more {what}")
    if section.note:
        console.print(printable(section.note), style="dim")


def _longest(words: Iterable[str]) -> int:
    return max(map(len, words), default=0)
