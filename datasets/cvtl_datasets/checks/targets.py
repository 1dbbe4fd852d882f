"""What is wrong with the boxes and points of one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, PointsTarget, Sample
from cvtl_datasets.checks.findings import Box, Finding, finding

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Rounding in annotation tools puts edges up to a pixel outside.
_TOLERANCE = 1.0
# Shorter sides than this have no pixels to learn from.
_SHORTEST_SIDE = 1.0
_SAME_IOU = 0.95
# Thousands of boxes in one picture need no table of all pairs.
_ROWS_AT_ONCE = 64
_SIDES = ("on the left", "at the top", "on the right", "at the bottom")


def target_findings(sample: Sample, wh: tuple[int, int] | None, classes: Sequence[str]) -> Iterator[Finding]:
    """Boxes and points that are out of the picture, doubled, or no boxes or points at all.

    Args:
        sample: with a target of any kind.
        wh: width and height of its upright picture, if known.
        classes: names of the data set's classes.

    Example:
        >>> target = BoxesTarget(np.array([[5.0, 5, 140, 20]]), np.array([0]))
        >>> [found.what for found in target_findings(Sample("a.jpg", read=list, target=target), (100, 50), ["cat"])]
        ['the box 5 5 140 20 (cat) sticks out by 40 px on the right']
    """
    target = sample.target
    if isinstance(target, BoxesTarget):
        names = [classes[label] for label in target.labels]
        yield from _beyond_edges(sample, target.boxes, names, wh)
        yield from _tiny(sample, target.boxes, names)
        counted = np.flatnonzero(~target.crowd)
        yield from _double_boxes(sample, target.boxes[counted], [names[i] for i in counted])
    elif isinstance(target, PointsTarget):
        if target.boxes is not None:
            yield from _beyond_edges(sample, target.boxes, [""] * len(target.boxes), wh)
        yield from _points(sample, target, wh)


def _beyond_edges(sample: Sample, boxes: Floats, names: Sequence[str], wh: tuple[int, int] | None) -> Iterator[Finding]:
    # Where the size is unknown the picture has no right and no lower edge.
    limits = wh or (np.inf, np.inf)
    beyond = np.concatenate([-boxes[:, :2], boxes[:, 2:] - limits], axis=1)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    for i in np.flatnonzero((beyond > _TOLERANCE).any(axis=1)).tolist():
        by = [f"{_number(beyond[i, side])} px {_SIDES[side]}" for side in np.flatnonzero(beyond[i] > _TOLERANCE)]
        if (beyond[i] >= sides[i]).any():
            kind, how = "box outside the picture", "is outside by"
        else:
            kind, how = "box sticks out", "sticks out by"
        what = f"the box {_text(boxes[i], names[i])} {how} {' and '.join(by)}"
        yield finding(kind, sample.name, what, (sample.name,), boxes=(_box(boxes[i]),))


def _tiny(sample: Sample, boxes: Floats, names: Sequence[str]) -> Iterator[Finding]:
    sides = boxes[:, 2:] - boxes[:, :2]
    for i in np.flatnonzero((sides < _SHORTEST_SIDE).any(axis=1)).tolist():
        size = f"{_number(sides[i, 0])} x {_number(sides[i, 1])}"
        what = f"the box {_text(boxes[i], names[i])} is only {size} pixels"
        yield finding("tiny box", sample.name, what, (sample.name,), boxes=(_box(boxes[i]),))


def _double_boxes(sample: Sample, boxes: Floats, names: Sequence[str]) -> Iterator[Finding]:
    """Boxes that are the same as an earlier one for all that can be seen."""
    # Each is held against the first only: of a thousand that are the same there are half a million pairs.
    earliest = np.arange(len(boxes))
    for one, other in same_boxes(boxes, boxes, more_than=_SAME_IOU):
        np.minimum.at(earliest, other, one)
    for j in np.flatnonzero(earliest < np.arange(len(boxes))).tolist():
        i = int(earliest[j])
        overlap = float(_iou(boxes[i], boxes[j]))
        how = "equal" if overlap == 1 else f"all but equal (IoU {overlap:.3f})"
        pair = (_box(boxes[i]), _box(boxes[j]))
        if names[i] == names[j]:
            what = f"two boxes of {names[i]} are {how}: {_text(boxes[i])}"
            yield finding("duplicate boxes", sample.name, what, (sample.name,), boxes=pair)
        else:
            what = f"boxes of {names[i]} and of {names[j]} are {how}: {_text(boxes[i])}"
            yield finding("box of two classes", sample.name, what, (sample.name,), boxes=pair)


def same_boxes(boxes: Floats, others: Floats, *, more_than: float) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of boxes that overlap so much that one object is meant, in blocks: one of `boxes` and one of `others` each.

    Only boxes that begin near each other are compared: what two boxes share of the longer of two sides is no less than
    their IoU.

    Args:
        boxes: float64 (N, 4), xyxy.
        others: float64 (M, 4).
        more_than: the IoU to exceed, in (0, 1).

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [50, 0, 60, 10]])
        >>> [(one.tolist(), other.tolist()) for one, other in same_boxes(boxes, boxes[[1, 1]], more_than=0.95)]
        [([1, 1], [0, 1])]
    """
    x, y = (_candidates(boxes, others, axis, more_than) for axis in (0, 1))
    order, first, counts = min(x, y, key=lambda each: int(each[2].sum()))
    for start in range(0, len(boxes), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(boxes)))
        one = rows.repeat(counts[rows])
        ends = counts[rows].cumsum()
        other = order[np.arange(len(one)) + (first[rows] - ends + counts[rows]).repeat(counts[rows])]
        same = _iou(boxes[one], others[other]) > more_than
        yield one[same], other[same]


def _candidates(boxes: Floats, others: Floats, axis: int, more_than: float) -> tuple[Indices, Indices, Indices]:
    """An order of the others, and for each box where in it those begin that may be the same, and how many they are."""
    order = np.argsort(others[:, axis], kind="stable")
    starts, begin = others[order, axis], boxes[:, axis]
    side = boxes[:, axis + 2] - begin
    first = np.searchsorted(starts, begin - (1 / more_than - 1) * side, "left")
    end = np.searchsorted(starts, begin + (1 - more_than) * side, "right")
    return order, first, end - first


def _iou(boxes: Floats, others: Floats) -> Floats:
    """Of boxes (..., 4) with as many others, pair by pair."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (boxes, others)]
    result: Floats = shared / (areas[0] + areas[1] - shared)
    return result


def _points(sample: Sample, target: PointsTarget, wh: tuple[int, int] | None) -> Iterator[Finding]:
    for each, (points, visible) in enumerate(zip(target.points, target.visible, strict=True)):
        whose = f" of object {each + 1}" if len(target.points) > 1 else ""
        seen = points[visible]
        marks = tuple((float(x), float(y)) for x, y in seen)
        if not len(seen):
            if target.boxes is None:
                yield finding("no points", sample.name, f"no point{whose} is there", (sample.name,))
            continue
        if len(seen) > 1 and (seen == seen[0]).all():
            what = f"all {len(seen)} points{whose} are {_number(seen[0, 0])} {_number(seen[0, 1])}"
            yield finding("points all equal", sample.name, what, (sample.name,), points=marks[:1])
        beyond = np.maximum(-seen, seen - (wh or (np.inf, np.inf))).max(axis=1)
        if out := [mark for mark, by in zip(marks, beyond, strict=True) if by > _TOLERANCE]:
            what = f"{len(out)} of {len(seen)} points{whose} are up to {_number(beyond.max())} px outside"
            yield finding("point outside the picture", sample.name, what, (sample.name,), points=tuple(out))


def _box(row: Floats) -> Box:
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2


def _text(box: Floats, name: str = "") -> str:
    return " ".join(map(_number, box)) + (f" ({name})" if name else "")


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
