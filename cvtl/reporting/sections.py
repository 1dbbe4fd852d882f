"""The parts that reports are made of: whoever measures says what there is to show, and others how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cvtl.data import Sample

Floats = npt.NDArray[np.float64]
Cell = str | int | float | None
Role = Literal["true", "found", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured figure and its uncertainty.

    Attributes:
        name: what it is, in the field's terms.
        value: NaN where there is nothing to measure.
        low: lower end of the 95 % interval; None where there is none.
        high: its upper end.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and columns.

    Attributes:
        title: what it shows.
        columns: their headings.
        rows: one cell for each column; NaN and None are shown as a dash.
        note: how to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines in one plot.

    Attributes:
        title: what it shows.
        x_label: the horizontal axis.
        y_label: the vertical axis.
        lines: name to x (P,) and y (P,).
        x_range: ends of the horizontal axis; from the data if None.
        y_range: ends of the vertical axis; from the data if None.
        diagonal: whether to draw the line x = y, where there is something to compare with it.
        note: how to read it.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Floats, Floats]]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Named values as bars.

    Attributes:
        title: what it shows.
        label: what the values are.
        values: name to value, in the order to show them.
        note: how to read it.
    """

    title: str
    label: str
    values: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """Lengths at the points of a shape, drawn where the points are: how far each is off, on a mean face.

    Attributes:
        title: what it shows.
        label: what the lengths are.
        names: the points' names.
        points: (K, 2), y downwards; NaN where a point is nowhere.
        values: (K,), in the unit of the points, so that they can be drawn to scale; NaN where nothing is known.
        edges: pairs of points to join.
        note: how to read it.
    """

    title: str
    label: str
    names: tuple[str, ...]
    points: Floats
    values: Floats
    edges: tuple[tuple[int, int], ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A table of counts with names on both sides, shown in colours: a confusion matrix.

    Attributes:
        title: what it shows.
        row_label: what the rows are ("true class").
        column_label: what the columns are ("found as").
        rows: the rows' names.
        columns: the columns' names.
        values: (R, C).
        note: how to read it.
    """

    title: str
    row_label: str
    column_label: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Floats
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Boxes or points to draw into a thumbnail.

    Attributes:
        role: `true` for the truth, `found` for what was found, `wrong` for the box or points this is about.
        boxes: float (N, 4), xyxy in pixels of the upright picture; None if there are none.
        points: float (K, 2) likewise.
        captions: one for each box, or none.
    """

    role: Role
    boxes: Floats | None = None
    points: Floats | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Thumbnail:
    """A small picture of a sample.

    Attributes:
        sample: which; its picture is read when the page is made, and may turn out to be unreadable or missing.
        caption: what there is to see.
        marks: what to draw, later ones over earlier ones.
        focus: the part to show, xyxy, with some room round it; the whole picture if None.
    """

    sample: Sample
    caption: str
    marks: tuple[Marks, ...] = ()
    focus: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Thumbnails.

    Attributes:
        title: what they show.
        thumbnails: in the order to show them.
        note: how to read it.
        columns: how many belong into a row; as many as fit if None.
    """

    title: str
    thumbnails: tuple[Thumbnail, ...]
    note: str = ""
    columns: int | None = None


Section = Table | Curves | Bars | Shape | Matrix | Gallery
