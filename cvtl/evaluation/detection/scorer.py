"""COCO's twelve figures as functions of how often each picture counts: what makes their bootstrap cheap.

Boxes are matched and scores sorted once. For a draw, the precision at each true positive is all that is needed, since
the interpolated precision changes nowhere else. How many detections there are up to it is one cumulative sum for each
class, shared by all IoU thresholds but for the few detections that are ignored at some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cvtl.evaluation.detection.average_precision import Numbers, average_precision
from cvtl.evaluation.detection.coco import COCO_FIGURES
from cvtl.evaluation.detection.matching import ANY_AREA, COCO_IOUS, Matches, match, overlapping
from cvtl.evaluation.detection.tables import MAX_DETECTIONS, BoxTables, Floats, FoundTable, Ints, by_class

AREA_RANGES = (ANY_AREA, (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e5**2))
"""COCO's sizes in square pixels, both ends included: all, small, medium, large."""

Counts = npt.NDArray[np.int32]

_BEST = (1, 10, MAX_DETECTIONS)
# Weights of detections in memory at a time: few enough for the processor's cache.
_BLOCK = 2**17


@dataclass(frozen=True, eq=False)
class _Hits:
    """The H true positives of a class at one IoU threshold, best first.

    Attributes:
        pictures: int64 (H,).
        found: int64 (H,), how many detections are counted up to here, according to `_Class.counted`.
        changes: int64 (C,), the pictures of the detections about which that is wrong at this threshold.
        signs: int32 (C,), 1 for a detection to be counted, -1 for one not to be.
        changed: int64 (H,), how many of the changes lie up to here.
    """

    pictures: Ints
    found: Ints
    changes: Ints
    signs: Counts
    changed: Ints


@dataclass(frozen=True, eq=False)
class _Class:
    """One class in one range of areas.

    Attributes:
        counted: int64 (n,), the picture of each detection that is not ignored at the highest threshold, best first.
        hits: at each of the T thresholds.
        pictures: int64 (U,), the pictures that show the class.
        sums: float64 (U, 4), objects to find in them, and true positives among the best 1, 10, 100 detections of the
            picture, averaged over the thresholds.
    """

    counted: Ints
    hits: tuple[_Hits, ...]
    pictures: Ints
    sums: Floats

    def __call__(self, weights: Counts) -> tuple[Floats, Floats]:
        """Average precision (D, T) and recall (D, 3) for weights (D, N)."""
        sums = weights[:, self.pictures] @ self.sums
        totals = sums[:, 0]
        counted = _sums(weights, self.counted)
        precisions = np.empty((len(weights), len(self.hits)))
        for t, hits in enumerate(self.hits):
            found = counted.take(hits.found, axis=1)
            if len(hits.changes):
                found += _sums(weights, hits.changes, hits.signs).take(hits.changed, axis=1)
            precisions[:, t] = average_precision(_sums(weights, hits.pictures)[:, 1:], found, totals)
        with np.errstate(invalid="ignore"):
            return precisions, sums[:, 1:] / totals[:, None]


def _sums(weights: Counts, pictures: Ints, signs: Counts | int = 1) -> Counts:
    """For weights (D, N) and pictures (n,): the sums (D, n + 1) of the first 0, 1, ... n pictures' weights."""
    sums = np.zeros((len(weights), len(pictures) + 1), np.int32)
    np.cumsum(weights.take(pictures, axis=1) * signs, axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums


class BoxScorer:
    """COCO's twelve figures for any weights of the pictures.

    A picture that counts twice gives what two copies of it would, side by side, if no two detections of one class in it
    have the same score.

    Args:
        tables: no more than 100 detections of each picture and class.

    Example:
        >>> from cvtl.data import BoxesTarget
        >>> from cvtl.evaluation.detection.tables import tabulate
        >>> from cvtl.evaluation.found import FoundBoxes
        >>> target = BoxesTarget(np.array([[0, 0, 50, 40]]), np.array([0]))
        >>> found = FoundBoxes(np.array([[0, 0, 50, 36.]]), np.array([0.9]), np.array([0]))
        >>> scorer = BoxScorer(tabulate([found, None], [target, target], ["car"]))
        >>> dict(zip(scorer.names, scorer(np.array([[3.0, 1.0]]))[0]))["AR100"]
        np.float64(0.675)
    """

    names = COCO_FIGURES
    higher_is_better = (True,) * len(COCO_FIGURES)

    def __init__(self, tables: BoxTables) -> None:
        found, true = tables.found, tables.true
        pairs = overlapping(found, true, COCO_IOUS[0])
        detections = by_class(found.labels, len(tables.classes))
        self._sizes: list[list[_Class]] = []
        for smallest, largest in AREA_RANGES:
            matches = match(found, true, pairs, COCO_IOUS, (smallest, largest))
            wanted = np.flatnonzero(~true.crowd & (true.areas >= smallest) & (true.areas <= largest))
            objects = by_class(true.labels[wanted], len(tables.classes))
            self._sizes.append(
                [
                    _prepare(true.pictures[wanted[there]], found, matches, which)
                    for there, which in zip(objects, detections, strict=True)
                    if len(there)
                ]
            )

    def __call__(self, weights: Floats) -> Floats:
        """The figures, (D, 12), for weights (D, N); NaN where there is nothing to find."""
        most = max((len(each.counted) for classes in self._sizes for each in classes), default=0)
        step = max(1, _BLOCK // max(1, most))
        starts = range(0, len(weights), step)
        # Sums of whole numbers are exact, and several times as fast as those of others.
        blocks = [self._figures(weights[start : start + step].astype(np.int32)) for start in starts]
        return np.concatenate([np.zeros((0, len(self.names))), *blocks])

    def _figures(self, weights: Counts) -> Floats:
        every, *sizes = (_means([each(weights) for each in classes], len(weights)) for classes in self._sizes)
        precision, recall = every
        return np.column_stack(
            [
                precision.mean(axis=1),
                precision[:, np.searchsorted(COCO_IOUS, (0.5, 0.75))],
                *(of_size.mean(axis=1) for of_size, _ in sizes),
                recall,
                *(of_size[:, -1] for _, of_size in sizes),
            ]
        )


def _means(classes: Sequence[tuple[Floats, Floats]], draws: int) -> tuple[Floats, Floats]:
    """Average precision (D, T) and recall (D, 3), each the mean over classes."""
    precisions = np.array([precision for precision, _ in classes]).reshape(-1, draws, len(COCO_IOUS))
    recalls = np.array([recall for _, recall in classes]).reshape(-1, draws, len(_BEST))
    # A class that no drawn picture shows does not count in this draw.
    shown = (~np.isnan(recalls[:, :, :1])).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.nansum(precisions, axis=0) / shown, np.nansum(recalls, axis=0) / shown


def _prepare(objects: Ints, found: FoundTable, matches: Matches, which: Ints) -> _Class:
    """A class whose objects lie in the pictures `objects`, and whose detections are `which`."""
    pictures, ranks = found.pictures[which], found.ranks[which]
    right, counted = matches.right[:, which], ~matches.ignored[:, which]
    found_up_to = np.cumsum(counted[-1])
    hits = []
    for t in range(len(COCO_IOUS)):
        at, changes = np.flatnonzero(right[t]), np.flatnonzero(counted[t] != counted[-1])
        signs = np.where(counted[t, changes], 1, -1).astype(np.int32)
        changed = np.searchsorted(changes, at, side="right")
        hits.append(_Hits(pictures[at], found_up_to[at], pictures[changes], signs, changed))
    shown, place = np.unique(objects, return_inverse=True)
    sums: list[Numbers] = [np.bincount(place)]
    for best in _BEST:
        _, at = np.nonzero(right & (ranks < best))
        sums.append(np.bincount(np.searchsorted(shown, pictures[at]), minlength=len(shown)) / len(COCO_IOUS))
    return _Class(pictures[counted[-1]], tuple(hits), shown, np.column_stack(sums))
