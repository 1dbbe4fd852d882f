"""Where the parts of a shape lie in its drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cvtl.reporting.sections import Shape
from cvtl.reporting.shape_layout import WIDTH, ShapeLayout, lay_out

NAN = float("nan")


def drawn(
    points: Sequence[Sequence[float]], values: Sequence[float], edges: tuple[tuple[int, int], ...] = ()
) -> ShapeLayout:
    names = tuple(f"p{i}" for i in range(len(points)))
    return lay_out(
        Shape(title="t", label="l", names=names, points=np.array(points), values=np.array(values), edges=edges)
    )


def test_distances_and_circles_have_one_scale() -> None:
    layout = drawn([[0, 0], [20, 10]], [2, 1])
    low, high = layout.dots
    assert (low.name, high.name) == ("p1", "p0")
    assert low.x - high.x == pytest.approx(20 * high.radius / 2, abs=0.1)  # type: ignore[operator]
    assert low.y - high.y == pytest.approx(10 * low.radius, abs=0.1)  # type: ignore[operator]


@pytest.mark.parametrize("points", [[[0, 0], [9, 0]], [[0, 0], [0, 9]], [[-5, -5], [-4, -3]], [[7, 7], [7, 7]]])
def test_everything_lies_within_the_drawing(points: list[list[float]]) -> None:
    layout = drawn(points, [0.1, 0.3])
    assert 0 < layout.height < 10 * WIDTH
    for dot in layout.dots:
        assert dot.radius is not None
        assert dot.radius <= dot.x <= WIDTH - dot.radius
        assert dot.radius <= dot.y <= layout.height - dot.radius


def test_huge_values_do_not_make_the_shape_small() -> None:
    layout = drawn([[0, 0], [10, 0], [5, 10]], [1000, 1, 1])
    assert max(dot.x for dot in layout.dots) - min(dot.x for dot in layout.dots) > WIDTH / 2


def test_the_lowest_value_is_at_one_end_of_the_scale_and_the_highest_at_the_other() -> None:
    layout = drawn([[0, 0], [1, 0], [2, 0]], [0.2, 0.6, 0.4])
    assert [(dot.name, dot.share) for dot in layout.dots] == [("p0", 0), ("p2", 50), ("p1", 100)]
    assert (layout.low, layout.high) == (0.2, 0.6)


def test_points_that_are_nowhere_are_left_out_with_their_edges() -> None:
    layout = drawn([[0, 0], [NAN, NAN], [2, 1]], [0.1, NAN, 0.2], edges=((0, 1), (0, 2)))
    assert [dot.name for dot in layout.dots] == ["p0", "p2"]
    assert len(layout.lines) == 1


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_point_of_which_nothing_is_known_has_no_circle(value: float) -> None:
    layout = drawn([[0, 0], [2, 1]], [value, 0.2])
    assert [dot.radius is None for dot in layout.dots] == [True, False]
    assert (layout.low, layout.high) == (0.2, 0.2)


def test_without_values_there_is_a_shape_but_no_scale() -> None:
    layout = drawn([[0, 0], [2, 1]], [NAN, NAN])
    assert len(layout.dots) == 2
    assert np.isnan(layout.high)


@pytest.mark.parametrize(("count", "named"), [(12, 12), (68, 5)])
def test_of_many_points_the_highest_are_named(count: int, named: int) -> None:
    layout = drawn([[i, i % 7] for i in range(count)], list(range(count)))
    assert [dot.name for dot in layout.dots if dot.is_named] == [f"p{i}" for i in range(count - named, count)]
