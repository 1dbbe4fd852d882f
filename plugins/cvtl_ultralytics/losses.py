"""Ultralytics' losses, for batches as cvtl trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cvtl.boxes import absolute_to_normalized, xyxy_to_cxcywh
from cvtl.training.objects import Seen
from cvtl_ultralytics.networks import is_rtdetr

# YOLOv10 and YOLO26 have two heads: one that may give several boxes for an object, and one that gives one. This is the
# first one's part of the loss, from the first epoch to the last. Source: Ultralytics' `E2ELoss`.
_MANY_AT_FIRST, _MANY_AT_LAST = 0.8, 0.1


def terms(
    network: nn.Module, answers: Any, targets: Sequence[Seen], images: Tensor, progress: float
) -> dict[str, Tensor]:
    """The terms of a network's loss, per picture.

    Args:
        network: an Ultralytics detector.
        answers: what it said of the images, in training or evaluation mode.
        targets: the objects, in pixels of the images.
        images: float (N, 3, H, W).
        progress: of the training, from 0 in its first epoch to 1 in its last.

    Returns:
        `box`, `class` and `dfl` (of distances where the network has no distributions of them); of RT-DETR `total`.
    """
    batch = as_batch(targets, images)
    if is_rtdetr(network):
        return {"total": _rtdetr_total(network, answers, batch)}
    criterion = network.init_criterion()  # type: ignore[operator]
    if hasattr(criterion, "o2m"):
        criterion.o2m = _MANY_AT_FIRST + (_MANY_AT_LAST - _MANY_AT_FIRST) * progress
        criterion.o2o = 1 - criterion.o2m
    summed, _ = criterion(answers, batch)
    return dict(zip(("box", "class", "dfl"), summed / len(images), strict=True))


def as_batch(targets: Sequence[Seen], images: Tensor) -> dict[str, Tensor]:
    """Objects as Ultralytics' losses take them: which picture, class, and `cxcywh` as parts of the picture."""
    boxes = torch.cat([seen.boxes for seen in targets])
    counts = torch.tensor([len(seen.labels) for seen in targets])
    image_hw = (images.shape[-2], images.shape[-1])
    return {
        "img": images,
        "batch_idx": torch.repeat_interleave(torch.arange(len(targets)), counts).float().to(images.device),
        "cls": torch.cat([seen.labels for seen in targets]).float().unsqueeze(1).to(images.device),
        "bboxes": absolute_to_normalized(xyxy_to_cxcywh(boxes), image_hw).to(images.device),
    }


def _rtdetr_total(network: Any, answers: Any, batch: dict[str, Tensor]) -> Tensor:
    try:
        total: Tensor = network.loss(batch, answers)[0]
    finally:
        # It keeps its criterion, which is no part of the network that is saved.
        if "criterion" in network._modules:
            del network.criterion
    return total
