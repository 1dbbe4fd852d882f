"""Figures and sections as text for people and as plain values for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from cvtl.reporting.sections import Bars, Cell, Curves, Figure, Floats, Gallery, Matrix, Section, Shape, Table

NOTHING = "-"


def show(cell: Cell) -> str:
    """A cell as text: four digits behind the point below ten, fewer above.

    Example:
        >>> show(0.50461), show(37.25), show(1234), show("cat"), show(0.00001), show(float("nan"))
        ('0.5046', '37.25', '1234', 'cat', '1.0e-05', '-')
    """
    if not isinstance(cell, float):
        return NOTHING if cell is None else str(cell)
    size = abs(cell)
    if not isfinite(cell):
        return NOTHING
    if 0 < size < 0.00005:
        return f"{cell:.1e}"
    return f"{cell:.4f}" if size < 10 else f"{cell:.2f}" if size < 1000 else f"{cell:.1f}"


def count(value: float) -> Cell:
    """A whole number as one, to be shown without digits behind the point.

    Example:
        >>> count(3.0), count(2.5)
        (3, 2.5)
    """
    return int(value) if value.is_integer() else value


def is_number_column(table: Table, column: int) -> bool:
    """Whether a column holds no text, so that it is aligned on the right.

    Example:
        >>> is_number_column(Table(title="t", columns=("a", "b"), rows=(("x", 1), ("y", None))), 1)
        True
    """
    return not any(isinstance(row[column], str) for row in table.rows)


def most_confused(matrix: Matrix, most: int) -> Matrix:
    """Of a large matrix, the names with the largest counts off the diagonal, in their order; the note says so.

    Args:
        matrix: what is right stands where a row's and a column's name are the same.
        most: how many names to keep.

    Example:
        >>> names, values = ("a", "b", "c"), np.array([[9.0, 0, 0], [0, 9, 2], [0, 1, 9]])
        >>> most_confused(Matrix(title="", row_label="", column_label="", rows=names, columns=names, values=values), 2)
        Matrix(title='', row_label='', column_label='', rows=('b', 'c'), columns=('b', 'c'), values=array([[9., 2.],
               [1., 9.]]), note='The 2 most confused of 3 are shown.')
    """
    names = list(dict.fromkeys((*matrix.rows, *matrix.columns)))
    if len(names) <= most:
        return matrix
    wrong = np.where(is_right(matrix), 0.0, np.nan_to_num(matrix.values))
    confused = dict.fromkeys(names, 0.0)
    for axis, side in ((1, matrix.rows), (0, matrix.columns)):
        for name, mistakes in zip(side, wrong.sum(axis).tolist(), strict=True):
            confused[name] += mistakes
    kept = set(sorted(names, key=lambda name: -confused[name])[:most])
    rows = [i for i, name in enumerate(matrix.rows) if name in kept]
    columns = [i for i, name in enumerate(matrix.columns) if name in kept]
    return replace(
        matrix,
        rows=tuple(matrix.rows[i] for i in rows),
        columns=tuple(matrix.columns[i] for i in columns),
        values=matrix.values[np.ix_(rows, columns)],
        note=f"{matrix.note} The {most} most confused of {len(names)} are shown.".strip(),
    )


def is_right(matrix: Matrix) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Bool (R, C): where the row's name is the column's."""
    return np.array([[row == column for column in matrix.columns] for row in matrix.rows], bool).reshape(
        matrix.values.shape
    )


def to_json(figures: Sequence[Figure], sections: Sequence[Section]) -> dict[str, Any]:
    """All there is to say, as values that JSON has; what is not a number becomes None.

    Returns:
        `figures`: name to `value`, `low` and `high`. `sections`: for each its `kind` ("table", ...) and its fields; of
        a gallery the captions and the names of the samples.

    Example:
        >>> to_json([Figure(name="AP", value=0.5, low=0.4, high=0.6)], [])
        {'figures': {'AP': {'value': 0.5, 'low': 0.4, 'high': 0.6}}, 'sections': []}
    """
    listed = {
        each.name: {"value": _plain(each.value), "low": _plain(each.low), "high": _plain(each.high)} for each in figures
    }
    return {"figures": listed, "sections": [_section(section) for section in sections]}


def kind_of(section: Section) -> str:
    """What a section is called: "table", "curves", "bars", "shape", "matrix" or "gallery"."""
    return type(section).__name__.lower()


def _section(section: Section) -> dict[str, Any]:
    return {"kind": kind_of(section), "title": section.title, "note": section.note, **_content(section)}


def _content(section: Section) -> dict[str, Any]:
    match section:
        case Table():
            rows = [[_plain(cell) for cell in row] for row in section.rows]
            return {"columns": list(section.columns), "rows": rows}
        case Curves():
            lines = {name: {"x": _list(x), "y": _list(y)} for name, (x, y) in section.lines.items()}
            return {"x_label": section.x_label, "y_label": section.y_label, "lines": lines}
        case Bars():
            return {"label": section.label, "values": {name: _plain(each) for name, each in section.values.items()}}
        case Shape():
            columns = section.names, section.points.tolist(), _list(section.values)
            points = [
                {"name": name, "x": _plain(x), "y": _plain(y), "value": value}
                for name, (x, y), value in zip(*columns, strict=True)
            ]
            return {"label": section.label, "points": points, "edges": [list(pair) for pair in section.edges]}
        case Matrix():
            return {
                "row_label": section.row_label,
                "column_label": section.column_label,
                "rows": list(section.rows),
                "columns": list(section.columns),
                "values": [_list(row) for row in section.values],
            }
        case Gallery():
            thumbnails = [{"sample": each.sample.name, "caption": each.caption} for each in section.thumbnails]
            return {"thumbnails": thumbnails}


def _list(values: Floats) -> list[Cell]:
    return [_plain(value) for value in np.asarray(values, np.float64).tolist()]


def _plain(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not isfinite(cell) else cell
