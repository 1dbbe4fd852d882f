"""A figure of validation pictures that is cheap enough for every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvtl.boxes import iou
from cvtl.results import Detections

COCO_THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))


def picture_ap(
    found: Detections, boxes: Tensor, labels: Tensor, *, thresholds: Sequence[float] = COCO_THRESHOLDS
) -> float:
    """Average precision within one picture, mean over the classes of its objects and over the thresholds of IoU.

    Each detection, the best first, takes the free object of its class that it overlaps most. Precision is held to what
    is reached at that recall or more, and averaged over the objects.

    Args:
        found: what was found.
        boxes: (N, 4), xyxy, of the objects that are there.
        labels: int64 (N,).
        thresholds: from which IoU on a box fits an object.

    Returns:
        In [0, 1]; NaN of a picture without an object, of which it says nothing.

    Example:
        >>> there = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]), torch.tensor([0, 0])
        >>> found = Detections(torch.tensor([[0.0, 0, 10, 9]]), torch.tensor([0.9]), torch.tensor([0]), ("cell",))
        >>> picture_ap(found, *there, thresholds=(0.5,))
        0.5
    """
    classes = torch.unique(labels).tolist()
    if not classes:
        return float("nan")
    overlaps = [iou(found.boxes[found.labels == k], boxes[labels == k]) for k in classes]
    values = [_class_ap(each.tolist(), each.shape[1], least) for each in overlaps for least in thresholds]
    return sum(values) / len(values)


def _class_ap(overlaps: Sequence[Sequence[float]], count: int, least: float) -> float:
    """Of detections, best first, each with its IoU with all objects of the class."""
    free = set(range(count))
    precisions: list[float] = []
    for rank, row in enumerate(overlaps, 1):
        best = max(free, key=lambda each: (row[each], -each), default=None)
        if best is not None and row[best] >= least:
            free.remove(best)
            precisions.append((len(precisions) + 1) / rank)
    held = [max(precisions[place:]) for place in range(len(precisions))]
    return sum(held) / count
