"""Boxes: formats, overlap, and suppression of double detections.

Convention: a box is four numbers in the last dimension of a tensor (..., 4), in pixels of the upright picture.

- `xyxy`: left, top, right, bottom. What everything outside this file uses.
- `xywh`: left, top, width, height (COCO).
- `cxcywh`: centre, width, height (YOLO).
- normalized: any of the three divided by the picture's width and height.

A box without extent (right <= left or bottom <= top, so inverted boxes too) has area 0 and IoU 0 with every box,
itself included: suppression neither removes it nor lets it remove another. Overlaps are computed in float32, or in
float64 for boxes of that type, so integer boxes do not overflow. No function changes its inputs; results lie on the
device of the boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision import ops

Floats = npt.NDArray[np.floating[Any]]


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners to corner and size.

    Example:
        >>> xyxy_to_xywh(torch.tensor([[10, 20, 40, 60]])).tolist()
        [[10, 20, 30, 40]]
    """
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], dim=-1)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Corner and size to corners.

    Example:
        >>> xywh_to_xyxy(torch.tensor([[10, 20, 30, 40]])).tolist()
        [[10, 20, 40, 60]]
    """
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to centre and size; integers become floats.

    Example:
        >>> xyxy_to_cxcywh(torch.tensor([[10, 20, 40, 60]])).tolist()
        [[25.0, 40.0, 30.0, 40.0]]
    """
    return xywh_to_cxcywh(xyxy_to_xywh(boxes))


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size to corners; integers become floats.

    Example:
        >>> cxcywh_to_xyxy(torch.tensor([[25, 40, 30, 40]])).tolist()
        [[10.0, 20.0, 40.0, 60.0]]
    """
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def xywh_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corner and size to centre and size; integers become floats.

    Example:
        >>> xywh_to_cxcywh(torch.tensor([[10, 20, 30, 40]])).tolist()
        [[25.0, 40.0, 30.0, 40.0]]
    """
    return torch.cat([boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]], dim=-1)


def cxcywh_to_xywh(boxes: Tensor) -> Tensor:
    """Centre and size to corner and size; integers become floats.

    Example:
        >>> cxcywh_to_xywh(torch.tensor([[25, 40, 30, 40]])).tolist()
        [[10.0, 20.0, 30.0, 40.0]]
    """
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]], dim=-1)


def absolute_to_normalized(boxes: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Pixels to fractions of the picture, for boxes of any of the three formats.

    Example:
        >>> absolute_to_normalized(torch.tensor([[10, 20, 40, 60]]), (80, 40)).tolist()
        [[0.25, 0.25, 1.0, 0.75]]
    """
    return boxes / _whwh(boxes, image_hw)


def normalized_to_absolute(boxes: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Fractions of the picture to pixels, for boxes of any of the three formats.

    Example:
        >>> normalized_to_absolute(torch.tensor([[0.25, 0.25, 1.0, 0.75]]), (80, 40)).tolist()
        [[10.0, 20.0, 40.0, 60.0]]
    """
    return boxes * _whwh(boxes, image_hw)


def clip_to_image(boxes: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Cut `xyxy` boxes (..., 4) to the picture [0, width] x [0, height]; one wholly outside is left without extent.

    Example:
        >>> clip_to_image(torch.tensor([[-5, 10, 30, 90]]), (80, 40)).tolist()
        [[0, 10, 30, 80]]
    """
    clipped: Tensor = ops.clip_boxes_to_image(boxes, image_hw)
    return clipped


def area(boxes: Tensor) -> Tensor:
    """Areas (...) of `xyxy` boxes (..., 4) in square pixels, never negative.

    Example:
        >>> area(torch.tensor([[0, 0, 50000, 50000], [9, 9, 3, 3]])).tolist()
        [2500000000.0, 0.0]
    """
    boxes = _floating(boxes)
    return _area(boxes[..., :2], boxes[..., 2:])


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every box with every other.

    Args:
        boxes: (N, 4), xyxy.
        others: (M, 4), xyxy.

    Returns:
        (N, M), in [0, 1]; 0 where either box has no extent.

    Example:
        >>> iou(torch.tensor([[0, 0, 4, 4]]), torch.tensor([[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4]]))
        tensor([[1.0000, 0.3333, 0.0000]])
    """
    shared, union = _intersection_and_union(boxes, others)
    return _ratio(shared, union)


def intersection(boxes: Tensor, others: Tensor) -> Tensor:
    """Area that every box has in common with every other.

    Args:
        boxes: (N, 4), xyxy.
        others: (M, 4), xyxy.

    Returns:
        (N, M), in square pixels.

    Example:
        >>> intersection(torch.tensor([[0, 0, 4, 4]]), torch.tensor([[2, 0, 6, 4], [4, 0, 8, 4]])).tolist()
        [[8.0, 0.0]]
    """
    first, second = _floating(boxes)[:, None], _floating(others)[None]
    return _area(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalized IoU of every box with every other: IoU less the share of their hull that neither covers.

    Source: Rezatofighi et al. 2019, arXiv 1902.09630, algorithm 1.

    Args:
        boxes: (N, 4), xyxy.
        others: (M, 4), xyxy.

    Returns:
        (N, M), in [-1, 1]; 0 where the hull of both has no extent.

    Example:
        >>> giou(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 1, 1], [3, 0, 4, 1]])).tolist()
        [[1.0, -0.5]]
    """
    shared, union = _intersection_and_union(boxes, others)
    first, second = _floating(boxes)[:, None], _floating(others)[None]
    hull = _area(torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:]))
    return _ratio(shared, union) - _ratio(hull - union, hull)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each box with its own other one.

    Args:
        boxes: (N, 4), xyxy.
        others: (N, 4), xyxy.

    Returns:
        (N,), in [0, 1]; 0 where either box has no extent.

    Example:
        >>> paired_iou(torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4]]), torch.tensor([[0, 0, 4, 4], [4, 0, 8, 4]])).tolist()
        [1.0, 0.0]
    """
    first, second = _floating(boxes), _floating(others)
    shared = _area(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    return _ratio(shared, area(first) + area(second) - shared)


def paired_ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """Complete IoU of each box with its own other one.

    IoU less the squared distance of the centres as a part of the hull's squared diagonal, and less how much the
    aspect ratios differ. The weight of the latter takes part in no gradient, as in the authors' code.

    Source: Zheng et al. 2020, arXiv 1911.08287, equations 8 to 11.

    Args:
        boxes: (N, 4), xyxy, all with an extent.
        others: (N, 4), xyxy, all with an extent.

    Returns:
        (N,), 1 for equal boxes, above -1.5 for any.

    Example:
        >>> ciou = paired_ciou(torch.tensor([[0.0, 0, 1, 1]] * 2), torch.tensor([[0.0, 0, 1, 1], [3, 0, 4, 1]]))
        >>> [round(value, 4) for value in ciou.tolist()]
        [1.0, -0.5294]
    """
    first, second = _floating(boxes), _floating(others)
    overlap = paired_iou(first, second)
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    between = (first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2
    distance = _ratio(between.square().sum(dim=1), hull.square().sum(dim=1))
    widths, heights = zip(*((box[:, 2:] - box[:, :2]).unbind(dim=1) for box in (first, second)), strict=True)
    shape = 4 / math.pi**2 * (torch.atan2(widths[0], heights[0]) - torch.atan2(widths[1], heights[1])).square()
    with torch.no_grad():
        weight = _ratio(shape, 1 - overlap + shape)
    return overlap - distance - weight * shape


def nms(boxes: Tensor, scores: Tensor, labels: Tensor | None = None, *, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: of boxes that overlap, keep the best.

    Going from the best score down, a box is dropped if its IoU with a kept box of the same class exceeds the threshold.

    Args:
        boxes: (N, 4), xyxy.
        scores: (N,); of equal scores the one that comes first goes first.
        labels: integer (N,), the classes; without them all boxes are of one class.
        iou_threshold: in [0, 1].

    Returns:
        int64 (K,), indices of the kept boxes, best first.

    Example:
        >>> boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 0, 1]), iou_threshold=0.5).tolist()
        [1, 2]
    """
    # torchvision's batched_nms tells classes apart by shifting boxes, which rounds large coordinates and mixes classes
    # where coordinates are negative; and it promises no order among equal scores.
    best_first = scores.argsort(descending=True, stable=True)
    order, counts = _by_class(best_first, labels)
    boxes = _floating(boxes)[order]
    rank = torch.arange(len(order), 0, -1, dtype=boxes.dtype, device=boxes.device)
    kept = torch.zeros_like(order, dtype=torch.bool)
    start = 0
    for end in counts.cumsum(0).tolist():
        kept[order[start:end][ops.nms(boxes[start:end], rank[start:end], iou_threshold)]] = True
        start = end
    return best_first[kept[best_first]]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    method: Literal["linear", "gaussian"] = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS: instead of being dropped, boxes that overlap a better one of their class lose score.

    Source: Bodla et al. 2017, arXiv 1704.04503: section 3. One box at a time is chosen, on
    the CPU wherever the boxes lie.

    Args:
        boxes: (N, 4), xyxy.
        scores: float (N,); of equal scores the one that comes first goes first.
        labels: integer (N,), the classes; without them all boxes are of one class.
        method: `linear` multiplies by 1 - IoU where the IoU exceeds `iou_threshold`; `gaussian` by exp(-IoU^2 / sigma).
        sigma: of the gaussian.
        iou_threshold: of the linear method.
        score_threshold: boxes whose score falls below it are dropped.

    Returns:
        Indices of the kept boxes, int64 (K,), best first, and their new scores (K,).

    Example:
        >>> boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]])
        >>> soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), method="linear")
        (tensor([0, 2, 1]), tensor([0.9000, 0.7000, 0.4000]))
    """
    if method == "linear":

        def decay(overlaps: Floats) -> Floats:
            return np.where(overlaps > iou_threshold, 1 - overlaps, 1)
    else:

        def decay(overlaps: Floats) -> Floats:
            weights: Floats = np.exp(-(overlaps**2) / sigma)
            return weights

    # One box at a time means many small steps, for each of which torch takes several times as long as NumPy.
    corners, new_scores = (_floating(each).detach().cpu().numpy() for each in (boxes, scores))
    new_scores = new_scores.copy()
    order, counts = _by_class(torch.arange(len(scores)), None if labels is None else labels.cpu())
    for members in np.split(order.numpy(), counts.cumsum(0)[:-1].numpy()):
        new_scores[members] = _decayed(corners[members], new_scores[members], decay, score_threshold)
    final = torch.from_numpy(new_scores)
    order = final.argsort(descending=True, stable=True)
    kept = order[final[order] >= score_threshold]
    return kept.to(boxes.device), final[kept].to(boxes.device, scores.dtype)


def _decayed(boxes: Floats, scores: Floats, decay: Callable[[Floats], Floats], least: float) -> Floats:
    """Scores (N,) after each box, the best of the rest first, has lowered those of the rest; until that is below."""
    final, rest = scores.copy(), np.arange(len(scores))
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    while len(rest):
        best = final[rest].argmax()
        chosen, rest = rest[best], np.delete(rest, best)
        if final[chosen] < least:
            break
        others = boxes[rest]
        shared = np.minimum(boxes[chosen, 2:], others[:, 2:]) - np.maximum(boxes[chosen, :2], others[:, :2])
        common = shared.clip(0).prod(axis=1)
        union = areas[chosen] + areas[rest] - common
        overlaps = np.divide(common, union, out=np.zeros_like(union), where=union > 0)
        final[rest] *= decay(overlaps.astype(final.dtype, copy=False))
    return final


def _by_class(order: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Indices of boxes class by class, within a class in the given order; and how many there are of each class."""
    if labels is None:
        return order, torch.tensor([len(order)])
    order = order[labels[order].argsort(stable=True)]
    return order, torch.unique_consecutive(labels[order], return_counts=True)[1]


def _intersection_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    shared = intersection(boxes, others)
    return shared, area(boxes)[:, None] + area(others)[None] - shared


def _area(top_left: Tensor, bottom_right: Tensor) -> Tensor:
    size = (bottom_right - top_left).clamp(min=0)
    return size[..., 0] * size[..., 1]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 0)


def _floating(boxes: Tensor) -> Tensor:
    return boxes if boxes.dtype == torch.float64 else boxes.float()


def _whwh(boxes: Tensor, image_hw: tuple[int, int]) -> Tensor:
    height, width = image_hw
    dtype = boxes.dtype if boxes.is_floating_point() else torch.float32
    return torch.tensor([width, height, width, height], dtype=dtype, device=boxes.device)
