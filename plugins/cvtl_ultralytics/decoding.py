"""From the answers of the networks to boxes.

Each function takes what a network says of one picture. It gives boxes (A, 4) as xyxy in pixels of the input, scores
(A,) in [0, 1] and int64 labels (A,), not yet suppressed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cvtl.boxes import cxcywh_to_xyxy

Found = tuple[Tensor, Tensor, Tensor]


def dense(answers: Tensor, threshold: float, labels: Literal["best", "all"] = "best") -> Found:
    """(4 + C, A): centre and size in pixels, and probabilities of the classes, for each place.

    Example:
        >>> answers = torch.tensor([[10.0], [20.0], [4.0], [6.0], [0.2], [0.7]])
        >>> dense(answers, 0.1)
        (tensor([[ 8., 17., 12., 23.]]), tensor([0.7000]), tensor([1]))
        >>> dense(answers, 0.1, "all")[2]
        tensor([0, 1])
    """
    boxes, scores = cxcywh_to_xyxy(answers[:4].T), answers[4:].T
    if labels == "all":
        places, found = (scores >= threshold).nonzero().unbind(dim=1)
        return boxes[places], scores[places, found], found
    best, found = scores.max(dim=1)
    there = best >= threshold
    return boxes[there], best[there], found[there]


def single(answers: Tensor, threshold: float) -> Found:
    """(K, 6): corners in pixels, score and class of each object."""
    return _rows(answers[:, :4], answers, threshold)


def rtdetr(answers: Tensor, threshold: float, size_hw: tuple[int, int]) -> Found:
    """(K, 6): centre and size as parts of the input, score and class of each object.

    Example:
        >>> rtdetr(torch.tensor([[0.5, 0.5, 0.5, 0.25, 0.9, 3.0]]), 0.1, (64, 64))
        (tensor([[16., 24., 48., 40.]]), tensor([0.9000]), tensor([3]))
    """
    height, width = size_hw
    boxes = cxcywh_to_xyxy(answers[:, :4]) * answers.new_tensor([width, height, width, height])
    return _rows(boxes, answers, threshold)


def _rows(boxes: Tensor, answers: Tensor, threshold: float) -> Found:
    there = answers[:, 4] >= threshold
    return boxes[there], answers[there, 4], answers[there, 5].round().to(torch.int64)
