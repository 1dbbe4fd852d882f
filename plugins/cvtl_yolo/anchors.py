"""Anchors from the boxes of the training data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MOST_ROUNDS = 300


def cluster_sizes(sizes: Floats, count: int) -> Floats:
    """Widths and heights that many boxes are like: k-means with the distance 1 - IoU.

    It starts from sizes at even ranks of the area, so that the same boxes give the same anchors. A cluster that loses
    all its boxes takes the one that fits its own cluster least.

    Source: Redmon and Farhadi 2017, arXiv 1612.08242, section 2, "Dimension Clusters".

    Args:
        sizes: (N, 2), at least one, all positive.
        count: K.

    Returns:
        (K, 2), by area. Where there are fewer different sizes than K, some occur several times.

    Example:
        >>> sizes = np.array([[10.0, 10], [12, 12], [50, 30], [54, 34], [11, 11]])
        >>> cluster_sizes(sizes, 2).tolist()
        [[11.0, 11.0], [52.0, 32.0]]
    """
    ordered = _by_area(sizes)
    centres = ordered[((np.arange(count) + 0.5) / count * len(ordered)).astype(int)]
    members = None
    for _ in range(_MOST_ROUNDS):
        overlaps = ious_of_sizes(sizes, centres)
        nearest = overlaps.argmax(axis=1)
        if members is not None and (nearest == members).all():
            break
        members, fit = nearest, overlaps.max(axis=1)
        for k in range(count):
            if (members == k).any():
                centres[k] = sizes[members == k].mean(axis=0)
            elif fit.min() < 1:
                worst = fit.argmin()
                centres[k], fit[worst] = sizes[worst], 1
    return _by_area(centres)


def mean_best_iou(sizes: Floats, anchors: Floats) -> float:
    """How well anchors (K, 2) fit sizes (N, 2): mean over the sizes of the IoU with the best anchor."""
    return float(ious_of_sizes(sizes, anchors).max(axis=1).mean())


def ious_of_sizes(sizes: Floats, others: Floats) -> Floats:
    """IoU (N, M) of boxes with one centre, of widths and heights (N, 2) and (M, 2)."""
    shared = np.minimum(sizes[:, None], others[None]).prod(axis=2)
    ious: Floats = shared / (sizes.prod(axis=1)[:, None] + others.prod(axis=1)[None] - shared)
    return ious


def default_anchors(stride: int, count: int) -> tuple[tuple[float, float], ...]:
    """Squares of 4 to 8 cells, for a network that has seen no data.

    Example:
        >>> default_anchors(8, 2)
        ((32.0, 32.0), (45.25, 45.25))
    """
    sides = [round(4 * stride * 2 ** (k / count), 2) for k in range(count)]
    return tuple((side, side) for side in sides)


def _by_area(sizes: Floats) -> Floats:
    ordered: Floats = sizes[np.lexsort((sizes[:, 1], sizes[:, 0], sizes.prod(axis=1)))]
    return ordered
