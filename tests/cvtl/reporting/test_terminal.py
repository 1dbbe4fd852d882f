"""Figures and sections on the terminal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from cvtl.reporting.sections import Bars, Cell, Curves, Figure, Gallery, Matrix, Section, Shape, Table
from cvtl.reporting.terminal import print_figures, print_section


def said(section: Section, width: int = 80) -> str:
    stream = io.StringIO()
    print_section(Console(file=stream, width=width, markup=False), section)
    return stream.getvalue()


def test_figures_are_printed_with_their_intervals() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    nan = float("nan")
    figures = [
        Figure(name="AP", value=0.5, low=0.41, high=0.62),
        Figure(name="AR", value=0.25),
        Figure(name="AP small", value=nan, low=nan, high=nan),
    ]
    print_figures(console, figures)
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert "AP 0.5000 0.4100 to 0.6200" in lines
    assert "AR 0.2500" in lines
    assert "AP small -" in lines


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_numbers_are_never_broken_whatever_the_width(width: int) -> None:
    columns = ("name", *(f"a rather long heading {i}" for i in range(9)))
    row: tuple[Cell, ...] = ("some long name of a class", *[0.1234] * 9)
    table = Table(title="t", columns=columns, rows=(row,) * 3)
    text = said(table, width)
    assert max(map(len, text.splitlines())) <= width
    shown = text.count("0.1234") // 3
    assert shown >= 1
    assert shown == 9 or f"... and {9 - shown} more columns" in text


def test_long_tables_are_cut_and_say_so() -> None:
    text = said(Table(title="", columns=("n",), rows=tuple((i,) for i in range(45))))
    assert "29" in text
    assert "30" not in text.replace("... and", "")
    assert "... and 15 more rows" in text


def test_names_cannot_move_the_cursor() -> None:
    text = said(Table(title="\x1b[2J", columns=("a\nb",), rows=(("\x1b[31mred",),), note="\x07"))
    assert "\x1b" not in text
    assert "\x07" not in text


def test_of_a_matrix_the_most_confused_are_printed() -> None:
    names = tuple(f"c{i:02}" for i in range(40))
    values = np.eye(40) * 5
    values[33, 34] = 7
    text = said(
        Matrix(title="m", row_label="true", column_label="found", rows=names, columns=names, values=values), 120
    )
    assert "c33" in text
    assert "c34" in text
    assert "c30" not in text
    assert "10 most confused of 40" in text


def test_bars_are_a_table() -> None:
    lines = said(Bars(title="cost", label="AP", values={"missed": 0.21}, note="lost")).split("\n")
    assert any(line.split() == ["missed", "0.2100"] for line in lines)
    assert "lost" in lines


def test_of_a_shape_the_highest_values_come_first() -> None:
    values = np.array([0.25, np.nan, 0.5])
    shape = Shape(title="face", label="error", names=("eye", "ear", "chin"), points=np.zeros((3, 2)), values=values)
    rows = [line.split() for line in said(shape).split("\n") if "0." in line]
    assert rows == [["chin", "0.5000"], ["eye", "0.2500"]]


@pytest.mark.parametrize(
    "section",
    [Curves(title="c", x_label="x", y_label="y", lines={}), Gallery(title="g", thumbnails=())],
)
def test_curves_and_pictures_are_left_to_the_page(section: Section) -> None:
    assert said(section) == ""
