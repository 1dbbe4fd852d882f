"""Average precision: the area under a curve of precision over recall, in the three ways in use."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from cvtl.evaluation.detection.tables import Floats

Numbers = Floats | npt.NDArray[np.int64] | npt.NDArray[np.int32]

Interpolation = Literal["coco", "voc", "voc-11"]
"""At 101 levels of recall, as COCO; under the whole curve, as Pascal VOC from 2010 on; at 11 levels, as VOC before."""

RECALL_LEVELS: Floats = np.linspace(0, 1, 101)
"""COCO's levels of recall."""

_LEVELS = {"coco": RECALL_LEVELS, "voc-11": np.linspace(0, 1, 11)}


def average_precision(hits: Numbers, found: Numbers, totals: Numbers, interpolation: Interpolation = "coco") -> Floats:
    """Average precision.

    The precision at a level of recall is the best at this or any higher recall, and 0 if it is never reached
    (Everingham et al. 2010, The Pascal Visual Object Classes (VOC) Challenge, equations 1 and 2).

    Args:
        hits: (..., n), the true positives among the best detections, whose number grows along the last axis.
        found: (..., n), how many detections that is, ignored ones left out. Positions may be left out where no
            hit is added: precision only falls there.
        totals: (...), how many objects there are to find.
        interpolation: at which levels of recall.

    Returns:
        float (...), in [0, 1]; NaN where there is nothing to find.

    Example:
        >>> hits, found = np.array([1.0, 1, 2]), np.array([1.0, 2, 3])
        >>> ways = "voc", "voc-11", "coco"
        >>> [round(float(average_precision(hits, found, np.array(4.0), way)), 4) for way in ways]
        [0.4167, 0.4545, 0.4224]
    """
    reached = _share_reached(hits / np.maximum(totals, 1)[..., None], interpolation)
    precision = interpolated_precision(hits, found)
    # The sum of precision x (share reached here - share reached before), without arrays for the differences.
    area = _dot(precision, reached) - _dot(precision[..., 1:], reached[..., :-1])
    return np.where(totals > 0, area, np.nan)


def interpolated_precision(hits: Numbers, found: Numbers) -> Floats:
    """The best precision at this or any later position; arguments and result (..., n) as of `average_precision`."""
    # COCO's guard against 0 / 0, kept so that figures agree to the last digits.
    precision = hits / (found + np.spacing(1))
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def precision_at_levels(hits: Numbers, found: Numbers, total: int) -> Floats:
    """The interpolated precision at COCO's 101 levels of recall.

    Args:
        hits: (n,), as of `average_precision`.
        found: (n,), likewise.
        total: how many objects there are to find, at least 1.

    Returns:
        float (101,), 0 at levels that are not reached.
    """
    places = np.searchsorted(hits / total, RECALL_LEVELS, side="left")
    return np.append(interpolated_precision(hits, found), 0.0)[places]


def _share_reached(recall: Floats, interpolation: Interpolation) -> Floats:
    if interpolation == "voc":
        return recall
    levels = _LEVELS[interpolation]
    nearest = np.rint(recall * (len(levels) - 1)).astype(np.intp)
    return (nearest + (levels.take(nearest) <= recall)) / len(levels)


def _dot(a: Floats, b: Floats) -> Floats:
    dot: Floats = np.einsum("...n,...n->...", a, b)
    return dot
