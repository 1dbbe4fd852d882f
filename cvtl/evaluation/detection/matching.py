"""Which detection is which object, as COCO and as Pascal VOC have it.

Sources: https://cocodataset.org/#detection-eval with the code of pycocotools; Everingham et al. 2010, The Pascal Visual
Object Classes (VOC) Challenge, section 4.2.1, with the code of its development kit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cvtl.evaluation.detection.tables import Bools, Floats, FoundTable, Ints, TrueTable

COCO_IOUS: Floats = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds that COCO's AP is the mean over."""

ANY_AREA = (0.0, 1e5**2)
"""COCO's range of areas for all sizes, in square pixels, both ends included."""

# Pairs of boxes in memory at a time.
_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class Pairs:
    """Detections and objects that overlap.

    Attributes:
        found: int64 (P,), index of the detection, ascending.
        true: int64 (P,), index of the object, ascending for each detection.
        ious: float64 (P,).
    """

    found: Ints
    true: Ints
    ious: Floats

    def select(self, which: Bools | Ints) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.found[which], self.true[which], self.ious[which])


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of N detections at T thresholds.

    Attributes:
        true: int64 (T, N), index of the object that the detection is taken for; -1 if for none.
        ignored: bool (T, N), whether the detection is neither right nor wrong.
    """

    true: Ints
    ignored: Bools

    @property
    def right(self) -> Bools:
        """Whether each detection is a true positive: bool (T, N)."""
        return (self.true >= 0) & ~self.ignored

    @property
    def wrong(self) -> Bools:
        """Whether each detection is a false positive: bool (T, N)."""
        return (self.true < 0) & ~self.ignored


def overlapping(
    found: FoundTable,
    true: TrueTable,
    least: float,
    *,
    across_classes: bool = False,
    crowd_by_detection: bool = True,
    inclusive: bool = False,
) -> Pairs:
    """The pairs of detections and objects in one picture that overlap.

    Args:
        found: the detections.
        true: the objects.
        least: pairs of a smaller IoU are left out.
        across_classes: also pair detections with objects of other classes.
        crowd_by_detection: divide the overlap with a crowd by the detection's area only, as COCO does.
        inclusive: take coordinates for the numbers of the first and the last pixel, so that a box is one wider than
            their difference, as VOC's development kit and tools after it do.

    Example:
        >>> from cvtl.data import BoxesTarget
        >>> from cvtl.evaluation.detection.tables import tabulate
        >>> from cvtl.evaluation.found import FoundBoxes
        >>> found = FoundBoxes(np.array([[0, 0, 10, 8.]]), np.array([0.9]), np.array([0]))
        >>> tables = tabulate([found], [BoxesTarget(np.array([[0, 0, 10, 10]]), np.array([0]))], ["cat"])
        >>> overlapping(tables.found, tables.true, 0.5).ious
        array([0.8])
    """
    of_found, of_true = found.pictures, true.pictures
    if not across_classes:
        classes = 1 + max(found.labels.max(initial=0), true.labels.max(initial=0))
        of_found, of_true = of_found * classes + found.labels, of_true * classes + true.labels
    by_group = np.argsort(of_true, kind="stable")
    first = np.searchsorted(of_true[by_group], of_found, side="left")
    counts = np.searchsorted(of_true[by_group], of_found, side="right") - first
    ends = np.cumsum(counts)
    parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    start = 0
    while start < len(found):
        before = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
        here = counts[start:stop]
        one = np.repeat(np.arange(start, stop), here)
        place = np.arange(len(one)) - np.repeat(ends[start:stop] - here - before, here)
        other = by_group[np.repeat(first[start:stop], here) + place]
        ious = _ious(found.boxes[one], true.boxes[other], true.crowd[other] & crowd_by_detection, float(inclusive))
        parts.append(Pairs(one, other, ious).select(ious >= least))
        start = stop
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("found", "true", "ious")))


def _ious(found: Floats, true: Floats, crowd: Bools, pixel: float) -> Floats:
    """IoU of boxes (P, 4) with boxes (P, 4), to the last bit as pycocotools computes it from corner and size."""
    found_sizes, true_sizes = found[:, 2:] - found[:, :2] + pixel, true[:, 2:] - true[:, :2] + pixel
    ends = np.minimum(found[:, :2] + found_sizes, true[:, :2] + true_sizes)
    shared = np.maximum(ends - np.maximum(found[:, :2], true[:, :2]), 0).prod(axis=1)
    found_areas = found_sizes.prod(axis=1)
    whole = np.where(crowd, found_areas, found_areas + true_sizes.prod(axis=1) - shared)
    ious: Floats = np.divide(shared, whole, out=np.zeros(len(shared)), where=shared > 0)
    return ious


def match(
    found: FoundTable,
    true: TrueTable,
    pairs: Pairs,
    thresholds: npt.ArrayLike,
    area_range: tuple[float, float] = ANY_AREA,
) -> Matches:
    """COCO's matching: the best detection first, each takes the free object that it overlaps most.

    Crowds, and objects outside of the range of areas, are only taken where there is no other; detections that took one
    of them, or took none and lie outside of the range themselves, are ignored. A crowd may be taken many times.

    Args:
        found: the N detections.
        true: the objects.
        pairs: those of one class, of the smallest threshold at least.
        thresholds: (T,), the IoUs that an overlap has to reach.
        area_range: smallest and largest area, both included.
    """
    unwanted = true.crowd | _outside(true.areas, area_range)
    # Of equally good objects COCO's code takes the last.
    order = np.lexsort((-pairs.true, -pairs.ious, unwanted[pairs.true], pairs.found, found.ranks[pairs.found]))
    taken = take_turns(pairs.select(order), found.ranks, np.atleast_1d(thresholds), true.crowd)
    # -1, for none, looks up what is appended last.
    ignored = np.append(unwanted, False)[taken]
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    return Matches(taken, ignored | ((taken < 0) & _outside(sizes.prod(axis=1), area_range)))


def take_turns(pairs: Pairs, turns: Ints, thresholds: Floats, shared: Bools) -> Ints:
    """Let detections choose objects in turn, at several thresholds at once.

    Args:
        pairs: sorted by the detection's turn, then by the detection, then best choice first.
        turns: int64 (N,), when each of the N detections chooses; those of one turn have no object in common.
        thresholds: (T,), the IoUs that an overlap has to reach.
        shared: bool (M,), which of the M objects may be taken many times.

    Returns:
        int64 (T, N), the object that each detection took, or -1.
    """
    # Like pycocotools, so that rounding does not part a box from itself.
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    chosen = np.full((len(least), len(turns)), -1)
    free = np.ones((len(least), len(shared)), bool)
    bounds = np.flatnonzero(np.diff(turns[pairs.found], prepend=-1, append=-1))
    for start, stop in pairwise(bounds):
        found, true = pairs.found[start:stop], pairs.true[start:stop]
        firsts = np.flatnonzero(np.diff(found, prepend=-1))
        possible = free[:, true] & (pairs.ious[start:stop] >= least)
        places = np.minimum.reduceat(np.where(possible, np.arange(len(true)), len(true)), firsts, axis=1)
        at, which = np.nonzero(places < len(true))
        taken = true[places[at, which]]
        chosen[at, found[firsts[which]]] = taken
        free[at, taken] = shared[taken]
    return chosen


def match_voc(found: FoundTable, true: TrueTable, pairs: Pairs, iou: float) -> Matches:
    """Pascal VOC's matching: each detection is held to the object that it overlaps most, taken or not.

    If the overlap reaches the threshold, the best detection of an object is right, and any further one wrong. Difficult
    objects are neither missed nor found: what overlaps one of them most is ignored. VOC has no crowds; they are treated
    as difficult.

    Args:
        found: the N detections.
        true: the objects.
        pairs: those of one class, with `crowd_by_detection=False`.
        iou: that the overlap has to reach.

    Returns:
        At one threshold.
    """
    order = np.lexsort((pairs.true, -pairs.ious, pairs.found))
    best = order[np.flatnonzero(np.diff(pairs.found[order], prepend=-1))]
    best = best[pairs.ious[best] >= iou]
    excused = (true.crowd | true.difficult)[pairs.true[best]]
    _, first = np.unique(pairs.true[best], return_index=True)
    kept = excused.copy()
    kept[first] = True
    taken = np.full((1, len(found)), -1)
    taken[0, pairs.found[best[kept]]] = pairs.true[best[kept]]
    ignored = np.zeros((1, len(found)), bool)
    ignored[0, pairs.found[best[excused]]] = True
    return Matches(taken, ignored)


def _outside(areas: Floats, area_range: tuple[float, float]) -> Bools:
    return (areas < area_range[0]) | (areas > area_range[1])
