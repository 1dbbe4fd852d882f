"""Many windows that answer to one object, made one box by agreement instead of by the best score alone."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtl.boxes import area, iou

# The comparison of all pairs takes memory by the square of this; weaker windows hardly move an average.
_MOST_WINDOWS = 2000
_AGREEMENT_IOU = 0.5


def merge_windows(
    boxes: Tensor, scores: Tensor, labels: Tensor, groups: Tensor, *, iou_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge windows of a class that agree, those with the most agreement first.

    A window's support is the sum of the scores of the windows of its class that overlap it. The best supported one and
    those that overlap it become one box, the average weighted by score, with their best score; whatever else of its
    group lies on that box is dropped; and again. OverFeat merges instead of suppressing, too (Sermanet et al. 2013,
    arXiv 1312.6229, section 4.3): where many windows are sure, the surest is an accident, and their middle is the
    object.

    Args:
        boxes: (N, 4), xyxy.
        scores: float (N,).
        labels: integer (N,), the classes.
        groups: integer (N,), windows that compete: the labels again, or zeros if all classes do.
        iou_threshold: IoU from which windows agree, and share of the smaller box from which one lies on the other.

    Returns:
        Boxes (K, 4), scores (K,) and labels (K,), best score first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
        >>> scores, labels = torch.tensor([0.5, 0.5, 0.9]), torch.tensor([0, 0, 0])
        >>> merged, _, _ = merge_windows(boxes, scores, labels, labels, iou_threshold=0.3)
        >>> merged
        tensor([[50., 50., 60., 60.],
                [ 1.,  0., 11., 10.]])
    """
    rest = scores.argsort(descending=True, stable=True)[:_MOST_WINDOWS]
    agrees = (iou(boxes[rest], boxes[rest]) >= iou_threshold) & (labels[rest, None] == labels[rest])
    # A box without extent agrees with nobody, not even with itself.
    agrees.fill_diagonal_(True)
    merged: list[tuple[Tensor, Tensor, Tensor]] = []
    while len(rest):
        best = (agrees * scores[rest]).sum(dim=1).argmax()
        members = rest[agrees[best]]
        weights = scores[members] / scores[members].sum().clamp(min=1e-9)
        box = (boxes[members] * weights[:, None]).sum(dim=0)
        merged.append((box, scores[members].max(), labels[members[0]]))
        lies_on_it = _share_of_smaller(box[None], boxes[rest])[0] >= iou_threshold
        left = ~agrees[best] & ~(lies_on_it & (groups[rest] == groups[members[0]]))
        rest, agrees = rest[left], agrees[left][:, left]
    if not merged:
        return boxes, scores, labels
    merged_boxes, merged_scores, merged_labels = (torch.stack(parts) for parts in zip(*merged, strict=True))
    order = merged_scores.argsort(descending=True, stable=True)
    return merged_boxes[order], merged_scores[order], merged_labels[order]


def support(found: tuple[Tensor, Tensor], windows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """How many windows stand behind each detection: the sum of the scores of those of its class that agree with it.

    A real object answers in several neighbouring windows and scales, an accident in one or two.

    Args:
        found: boxes (K, 4) and labels (K,) of the detections.
        windows: boxes (N, 4), scores (N,) and labels (N,) of the windows that answered.

    Returns:
        float (K,).

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
        >>> scores, labels = torch.tensor([0.75, 0.5, 1.0]), torch.tensor([0, 0, 0])
        >>> support((boxes[[0, 2]], labels[[0, 2]]), (boxes, scores, labels))
        tensor([1.2500, 1.0000])
    """
    agrees = (iou(found[0], windows[0]) >= _AGREEMENT_IOU) & (found[1][:, None] == windows[2])
    return (agrees * windows[1]).sum(dim=1)


def _share_of_smaller(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection of all pairs (N, M) as a share of the smaller one's area."""
    top_left = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    smaller = torch.minimum(area(boxes)[:, None], area(others)[None])
    return (bottom_right - top_left).clamp(min=0).prod(dim=-1) / smaller.clamp(min=1e-9)
