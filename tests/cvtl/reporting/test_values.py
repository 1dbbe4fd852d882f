"""Figures and sections as plain values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cvtl.data import Sample
from cvtl.reporting.sections import Bars, Cell, Curves, Figure, Gallery, Matrix, Section, Shape, Table, Thumbnail
from cvtl.reporting.values import is_number_column, most_confused, show, to_json

NAN = float("nan")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (NAN, "-"),
        (float("inf"), "-"),
        (0.0, "0.0000"),
        (-0.25, "-0.2500"),
        (12.3456, "12.35"),
        (-1234.56, "-1234.6"),
        (4e-6, "4.0e-06"),
        (7, "7"),
        ("name", "name"),
    ],
)
def test_a_cell_is_shown_with_as_many_digits_as_are_read(cell: Cell, text: str) -> None:
    assert show(cell) == text


def test_a_column_with_text_in_it_is_no_number_column() -> None:
    table = Table(title="", columns=("a", "b"), rows=((1, 0.5), ("x", None)))
    assert [is_number_column(table, column) for column in (0, 1)] == [False, True]


def test_all_sections_become_json_without_nan() -> None:
    sample = Sample("a\udcff.jpg", lambda: np.zeros((1, 1, 3), np.uint8))
    sections: list[Section] = [
        Table(title="t", columns=("a", "b"), rows=(("x", NAN), ("y", 2)), note="n"),
        Curves(title="c", x_label="x", y_label="y", lines={"l": (np.array([0.0, 1]), np.array([NAN, 0.5]))}),
        Bars(title="b", label="l", values={"v": NAN, "w": 1.0}),
        Shape(
            title="s", label="l", names=("a", "b"), points=np.array([[1, 2], [NAN, NAN]]), values=np.array([0.5, NAN])
        ),
        Matrix(title="m", row_label="r", column_label="c", rows=("a",), columns=("b",), values=np.array([[NAN]])),
        Gallery(title="g", thumbnails=(Thumbnail(sample=sample, caption="seen"),)),
    ]
    found = to_json([Figure(name="AP", value=NAN)], sections)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["figures"] == {"AP": {"value": None, "low": None, "high": None}}
    table, curves, bars, shape, matrix, gallery = found["sections"]
    assert table == {"kind": "table", "title": "t", "note": "n", "columns": ["a", "b"], "rows": [["x", None], ["y", 2]]}
    assert curves["lines"] == {"l": {"x": [0.0, 1.0], "y": [None, 0.5]}}
    assert bars["values"] == {"v": None, "w": 1.0}
    assert shape["points"] == [
        {"name": "a", "x": 1.0, "y": 2.0, "value": 0.5},
        {"name": "b", "x": None, "y": None, "value": None},
    ]
    assert shape["edges"] == []
    assert matrix["values"] == [[None]]
    assert gallery["thumbnails"] == [{"sample": "a\udcff.jpg", "caption": "seen"}]


def test_a_small_matrix_stays_as_it_is() -> None:
    matrix = Matrix(title="", row_label="", column_label="", rows=("a",), columns=("a", "b"), values=np.ones((1, 2)))
    assert most_confused(matrix, 2) is matrix


def test_of_a_large_matrix_the_names_with_the_most_mistakes_are_kept_in_their_order() -> None:
    random = np.random.default_rng(3)
    rows, columns = tuple(f"r{i}" for i in range(60)), (*(f"r{i}" for i in range(60)), "nothing")
    values = random.poisson(2, (60, 61)).astype(float)
    values[np.arange(60), np.arange(60)] = 1000
    kept = most_confused(Matrix(title="", row_label="", column_label="", rows=rows, columns=columns, values=values), 9)
    mistakes = dict.fromkeys(columns, 0.0)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if row != column:
                mistakes[row] += values[i, j]
                mistakes[column] += values[i, j]
    worst = sorted(columns, key=lambda name: (-mistakes[name], columns.index(name)))[:9]
    assert kept.columns == tuple(name for name in columns if name in worst)
    assert kept.rows == tuple(name for name in rows if name in worst)
    for i, row in enumerate(kept.rows):
        for j, column in enumerate(kept.columns):
            assert kept.values[i, j] == values[rows.index(row), columns.index(column)]
    assert "9 most confused of 61" in kept.note
