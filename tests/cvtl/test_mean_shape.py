"""The mean of shapes that lie anywhere, at any size, with missing points."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from cvtl.mean_shape import mean_shape

HOUSE = np.array([[0.0, 0], [4, 0], [4, 3], [2, 5], [0, 3]])


def moved_houses(count: int, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return HOUSE * chance.uniform(0.5, 2, (count, 1, 1)) + chance.uniform(-50, 50, (count, 1, 2))


def shape_alone(points: np.ndarray) -> np.ndarray:
    """Centred and of size 1."""
    centred = points - points.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred))


def test_where_shapes_lie_and_how_large_they_are_does_not_matter() -> None:
    mean = mean_shape(moved_houses(9), np.ones((9, 5), bool))
    np.testing.assert_allclose(shape_alone(mean), shape_alone(HOUSE), atol=1e-12)
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-12)


def test_it_has_the_median_size() -> None:
    houses = np.stack([HOUSE, HOUSE * 2, HOUSE * 7])
    np.testing.assert_allclose(np.ptp(mean_shape(houses, np.ones((3, 5), bool)), axis=0), [8, 10])


def test_missing_points_move_nothing() -> None:
    houses = moved_houses(30)
    visible = np.random.default_rng(1).random((30, 5)) < 0.6
    houses[~visible] = 1e6
    np.testing.assert_allclose(shape_alone(mean_shape(houses, visible)), shape_alone(HOUSE), atol=1e-9)


def test_a_few_wrong_points_move_next_to_nothing() -> None:
    houses = moved_houses(50)
    houses[:5, 3] = 1000
    np.testing.assert_allclose(shape_alone(mean_shape(houses, np.ones((50, 5), bool))), shape_alone(HOUSE), atol=0.02)


def test_a_point_that_is_never_there_is_unknown() -> None:
    visible = np.ones((4, 5), bool)
    visible[:, 2] = False
    mean = mean_shape(moved_houses(4), visible)
    assert np.isnan(mean).all(axis=1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("points", "visible", "mean"),
    [
        (np.zeros((0, 2, 2)), np.zeros((0, 2), bool), [[np.nan, np.nan]] * 2),
        (np.ones((3, 2, 2)), np.zeros((3, 2), bool), [[np.nan, np.nan]] * 2),
        (np.full((3, 1, 2), 5.0), np.ones((3, 1), bool), [[0, 0]]),
        (np.full((3, 2, 2), 5.0), np.ones((3, 2), bool), [[0, 0], [0, 0]]),
        (np.array([[[5.0, 5], [7, 5]]]), np.array([[True, False]]), [[0, 0], [np.nan, np.nan]]),
    ],
)
def test_shapes_without_extent_have_a_mean_where_there_is_one(
    points: np.ndarray, visible: np.ndarray, mean: list[list[float]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(mean_shape(points, visible), mean)


def test_the_points_given_stay_as_they_are() -> None:
    houses, visible = moved_houses(5), np.ones((5, 5), bool)
    mean_shape(houses, visible)
    np.testing.assert_array_equal(houses, moved_houses(5))
    assert visible.all()
