"""Where the parts of a `Shape` lie in its drawing, which the page then writes as SVG."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvtl.reporting.sections import Shape

WIDTH = 100.0
"""Of the drawing, in its own units; its height follows from the shape."""

_MARGIN = 4.0
# Circles may reach so far beyond the shape, as a share of its longer side; larger ones are cut off.
_MOST_REACH = 0.2
# A shape that is nearly a line is given some room across it.
_LEAST_SIDE = 0.25
_MOST_NAMES = 12
_NAMED_OF_MANY = 5


class Dot(NamedTuple):
    """A point of the drawing.

    Attributes:
        x: from the left.
        y: from the top.
        radius: of the circle that shows the value to scale; None where there is no value.
        share: how high the value is among all, from 0 to 100.
        name: of the point.
        value: what is known of it.
        is_named: whether its name is written beside it, for there are few or it is among the highest.
    """

    x: float
    y: float
    radius: float | None
    share: float
    name: str
    value: float
    is_named: bool


class ShapeLayout(NamedTuple):
    """A drawing of `WIDTH` x `height`: lines (x1, y1, x2, y2) and dots, and the ends of the values' scale."""

    height: float
    lines: list[tuple[float, float, float, float]]
    dots: list[Dot]
    low: float
    high: float


def lay_out(shape: Shape) -> ShapeLayout:
    """Fit a shape into a drawing.

    Points that are nowhere are left out. The dots with the highest values come last, so that they lie on top.

    Example:
        >>> square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
        >>> values = np.array([0, 0.1, 0, 0])
        >>> layout = lay_out(Shape(title="", label="", names=("a", "b", "c", "d"), points=square, values=values))
        >>> layout.height, [dot.name for dot in layout.dots], layout.dots[-1].radius, layout.dots[-1].share
        (100.0, ['a', 'c', 'd', 'b'], 7.67, 100.0)
    """
    known = ~np.isnan(shape.points[:, 0])
    if not known.any():
        return ShapeLayout(0.0, [], [], np.nan, np.nan)
    values = np.where(known & np.isfinite(shape.values), shape.values, np.nan)
    low, high = (np.nanmin(values), np.nanmax(values)) if not np.isnan(values).all() else (np.nan, np.nan)
    places, unit, height = _places(shape, known, high)
    shares = (values - low) / (high - low) * 100 if high > low else np.zeros(len(values))
    lines = [(*places[a], *places[b]) for a, b in shape.edges if known[a] and known[b]]
    order = np.argsort(np.where(np.isnan(values), -np.inf, values), kind="stable")
    order = order[known[order]]
    first_named = len(order) - (len(order) if len(order) <= _MOST_NAMES else _NAMED_OF_MANY)
    dots = [
        Dot(
            x=places[i][0],
            y=places[i][1],
            radius=None if np.isnan(values[i]) else round(float(values[i] * unit), 2),
            share=0.0 if np.isnan(values[i]) else round(float(shares[i]), 1),
            name=shape.names[i],
            value=float(values[i]),
            is_named=rank >= first_named,
        )
        for rank, i in enumerate(order.tolist())
    ]
    return ShapeLayout(height, lines, dots, float(low), float(high))


def _places(shape: Shape, known: np.ndarray, high: float) -> tuple[list[tuple[float, float]], float, float]:
    """Where each point lies, how long a unit of the shape is, and the drawing's height."""
    start, end = shape.points[known].min(axis=0), shape.points[known].max(axis=0)
    longest = (end - start).max() or 1.0
    reach = min(np.nan_to_num(high), _MOST_REACH * longest)
    middle, half = (start + end) / 2, np.maximum(end - start, _LEAST_SIDE * longest) / 2 + reach
    unit = (WIDTH - 2 * _MARGIN) / (2 * half[0])
    placed = np.round((shape.points - middle + half) * unit + _MARGIN, 2)
    return [(x, y) for x, y in placed.tolist()], float(unit), round(float(2 * half[1] * unit + 2 * _MARGIN), 2)
