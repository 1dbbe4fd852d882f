"""A figure of validation pictures that is cheap enough for every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtl.boxes import iou
from cvtl.results import Detections

_IOU = 0.5


def picture_ap50(found: Detections, boxes: Tensor, labels: Tensor) -> float:
    """Average precision at IoU 0.5 within one picture, mean over the classes of its objects.

    Each detection, the best first, takes the free object of its class that it overlaps most. Precision is held to what
    is reached at that recall or more, and averaged over the objects.

    Args:
        found: what was found.
        boxes: (N, 4), xyxy, of the objects that are there.
        labels: int64 (N,).

    Returns:
        In [0, 1]; NaN of a picture without an object, of which it says nothing.

    Example:
        >>> there = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]), torch.tensor([0, 0])
        >>> found = Detections(torch.tensor([[0.0, 0, 10, 9]]), torch.tensor([0.9]), torch.tensor([0]), ("cell",))
        >>> picture_ap50(found, *there)
        0.5
    """
    classes = torch.unique(labels).tolist()
    if not classes:
        return float("nan")
    return sum(_class_ap(found.boxes[found.labels == k], boxes[labels == k]) for k in classes) / len(classes)


def _class_ap(found: Tensor, boxes: Tensor) -> float:
    overlaps = iou(found, boxes).tolist()
    free = set(range(len(boxes)))
    precisions: list[float] = []
    for rank, row in enumerate(overlaps, 1):
        best = max(free, key=lambda each: (row[each], -each), default=None)
        if best is not None and row[best] >= _IOU:
            free.remove(best)
            precisions.append((len(precisions) + 1) / rank)
    held = [max(precisions[place:]) for place in range(len(precisions))]
    return sum(held) / len(boxes)
