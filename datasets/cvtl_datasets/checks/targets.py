"""What is wrong with the boxes and points of one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cvtl.data import BoxesTarget, PointsTarget, Sample
from cvtl_datasets.checks.findings import Box, Finding, finding

Floats = npt.NDArray[np.float64]

# Rounding in annotation tools puts edges up to a pixel outside.
_TOLERANCE = 1.0
# Shorter sides than this have no pixels to learn from.
_SHORTEST_SIDE = 1.0
_ROWS_AT_ONCE = 256
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
    """Pairs of boxes that are the same for all that can be seen."""
    for i, j, overlap in same_boxes(boxes):
        how = "equal" if overlap == 1 else f"all but equal (IoU {overlap:.3f})"
        pair = (_box(boxes[i]), _box(boxes[j]))
        if names[i] == names[j]:
            what = f"two boxes of {names[i]} are {how}: {_text(boxes[i])}"
            yield finding("duplicate boxes", sample.name, what, (sample.name,), boxes=pair)
        else:
            what = f"boxes of {names[i]} and of {names[j]} are {how}: {_text(boxes[i])}"
            yield finding("box of two classes", sample.name, what, (sample.name,), boxes=pair)


def same_boxes(
    boxes: Floats, other: Floats | None = None, *, more_than: float = 0.95
) -> Iterator[tuple[int, int, float]]:
    """Pairs of boxes that overlap so much that one object is meant, and their IoU.

    Args:
        boxes: float64 (N, 4), xyxy.
        other: float64 (M, 4); the pairs are within `boxes`, each of them once, if None.
        more_than: the IoU to exceed.

    Example:
        >>> list(same_boxes(np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]])))
        [(0, 2, 1.0)]
    """
    columns = boxes if other is None else other
    areas = (columns[:, 2:] - columns[:, :2]).prod(axis=1)
    # A block of rows at a time: thousands of boxes in one picture need no N x N table.
    for first in range(0, len(boxes), _ROWS_AT_ONCE):
        rows = boxes[first : first + _ROWS_AT_ONCE, None]
        low, high = np.maximum(rows[..., :2], columns[:, :2]), np.minimum(rows[..., 2:], columns[:, 2:])
        shared = (high - low).clip(0).prod(axis=-1)
        iou = shared / ((rows[..., 2:] - rows[..., :2]).prod(axis=-1) + areas - shared)
        for i, j in zip(*np.nonzero(iou > more_than), strict=True):
            if other is not None or first + i < j:
                yield int(first + i), int(j), float(iou[i, j])


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
