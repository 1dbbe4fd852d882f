"""The mean of many shapes: sets of points of which some are missing. Torch-free."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_ROUNDS = 5


def mean_shape(points: Floats, visible: Bools) -> Floats:
    """Lay shapes over one another by shifting and scaling them, and take the median of each point.

    Shapes are not turned: up is up. Each is laid upon the mean so far by the points that are there, so a missing one
    moves nothing (a generalised Procrustes analysis, Gower 1975, without rotation). It starts with the shape that has
    the most points.

    Args:
        points: (N, K, 2).
        visible: (N, K), False where a point is missing.

    Returns:
        (K, 2) about the origin, in the data's units and of their median size; NaN for points that are never there
        together with two others of the mean.

    Example:
        >>> triangle = np.array([[0.0, 0], [4, 0], [2, 3]])
        >>> mean_shape(np.stack([triangle, triangle * 3 + 7]), np.ones((2, 3), bool)).round(6).tolist()
        [[-4.0, -2.0], [4.0, -2.0], [0.0, 4.0]]
    """
    shapes = np.where(visible[..., None], points, np.nan)
    if not visible.any():
        return np.full(points.shape[1:], np.nan)
    mean = _centred(shapes[visible.sum(axis=1).argmax()])
    for _ in range(_ROUNDS):
        aligned, scales = _align(shapes, mean)
        if not len(scales):  # single points have no size
            return mean
        mean = _centred(_median(aligned))
    return np.asarray(mean * np.median(1 / scales))


def _align(shapes: Floats, mean: Floats) -> tuple[Floats, Floats]:
    """Those of N shapes that can be laid upon the mean, so laid (M, K, 2), and by how much each was scaled (M,)."""
    common = ~np.isnan(shapes[..., 0]) & ~np.isnan(mean[:, 0])
    shapes, common = shapes[common.sum(axis=1) >= 2], common[common.sum(axis=1) >= 2]
    weights = common[..., None] / common.sum(axis=1)[:, None, None]
    own_centre = (np.where(common[..., None], shapes, 0) * weights).sum(axis=1, keepdims=True)
    goal_centre = (np.where(common[..., None], mean, 0) * weights).sum(axis=1, keepdims=True)
    own_size, goal_size = (
        np.sqrt((np.where(common[..., None], each, 0) ** 2 * weights).sum(axis=(1, 2)))
        for each in (shapes - own_centre, mean - goal_centre)
    )
    fit = (own_size > 0) & (goal_size > 0)
    scales: Floats = goal_size[fit] / own_size[fit]
    return (shapes - own_centre)[fit] * scales[:, None, None] + goal_centre[fit], scales


def _median(shapes: Floats) -> Floats:
    """The median of each point where it is there (K, 2); NaN where it never is."""
    known = ~np.isnan(shapes).all(axis=(0, 2))
    median = np.full(shapes.shape[1:], np.nan)
    if known.any():
        median[known] = np.nanmedian(shapes[:, known], axis=0)
    return median


def _centred(shape: Floats) -> Floats:
    return shape - np.nanmean(shape, axis=0) if not np.isnan(shape).all() else shape
