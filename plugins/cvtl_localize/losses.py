"""How wrong a network's answers are. Both losses look at all numbers where there is an object, else at pc alone.

A network's outputs z (N, 5 + C) become answers of the form of `cvtl_localize.vector` by `activate`. Each term is a mean
over the N pictures of a batch, to which a picture without an object adds 0 in `box` and `class`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from cvtl.boxes import cxcywh_to_xyxy
from cvtl_localize.vector import BOX, CLASSES, PRESENT


def activate(outputs: Tensor) -> Tensor:
    """Outputs (N, 5 + C) to answers in [0, 1]: a sigmoid of pc and of the box, a softmax over the classes.

    Example:
        >>> activate(torch.zeros(1, 7))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000]])
    """
    return torch.cat([outputs[:, : BOX.stop].sigmoid(), outputs[:, CLASSES].softmax(dim=1)], dim=1)


def squared_loss(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The lectures' loss: the squared distance of answer and target, of which only pc's part counts where pc is 0.

        L = (pc' - pc)^2 + pc * (sum over the box of (b' - b)^2 + sum over the classes of (c' - c)^2)

    Source: Ng, Convolutional Neural Networks, week 3, object localization.

    Args:
        outputs: (N, 5 + C).
        targets: (N, 5 + C), from `encode`.
    """
    errors = (activate(outputs.float()) - targets).square()
    there = targets[:, PRESENT]
    return {
        "present": errors[:, PRESENT].mean(),
        "box": (there * errors[:, BOX].sum(dim=1)).mean(),
        "class": (there * errors[:, CLASSES].sum(dim=1)).mean(),
    }


def modern_loss(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Binary cross-entropy of pc, and where pc is 1, 1 - GIoU of the boxes and cross-entropy of the class.

    Source of GIoU as a loss: Rezatofighi et al. 2019, arXiv 1902.09630, algorithm 1.

    Args:
        outputs: (N, 5 + C).
        targets: (N, 5 + C), from `encode`.
    """
    outputs, there = outputs.float(), targets[:, PRESENT]
    boxes, others = cxcywh_to_xyxy(outputs[:, BOX].sigmoid()), cxcywh_to_xyxy(targets[:, BOX])
    entropies = -(targets[:, CLASSES] * outputs[:, CLASSES].log_softmax(dim=1)).sum(dim=1)
    return {
        "present": F.binary_cross_entropy_with_logits(outputs[:, PRESENT], there),
        "box": (there * generalized_box_iou_loss(boxes, others)).mean(),
        "class": (there * entropies).mean(),
    }
