"""How wrong a network's answers are.

A network's outputs t (N, P, 5 + C), in the order of `cvtl_yolo.grid.flat`, become vectors of the form of
`cvtl_yolo.grid` by `activate`. Terms are float32 scalars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl.boxes import paired_ciou, paired_iou
from cvtl.training.whole_batch import batch_divisor
from cvtl_yolo.assignment import Assigned, assign
from cvtl_yolo.grid import CENTRE, CLASSES, HEIGHT, PRESENT, WIDTH, Grid, Slots, boxes_of, encode, flat, slots_of

# Boxes are up to so many times an anchor's size, or its inverse: far more than is needed, and exponentials neither
# overflow nor vanish.
_LARGEST = math.log(100.0)
_BOX_WEIGHT = 5.0


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects in the pictures of a batch.

    Attributes:
        boxes: float32 (M, 4), xyxy in pixels of the input; centres lie in it.
        labels: int64 (M,).
        pictures: int64 (M,), ascending, the picture of each.
    """

    boxes: Tensor
    labels: Tensor
    pictures: Tensor


def activate(outputs: Tensor, slots: Slots) -> Tensor:
    """Outputs t (..., P, 5 + C) to vectors [pc, bx, by, bh, bw, c1, ..., cC].

        pc = s(t1)    bx = 2 s(t2) - 0.5    by = 2 s(t3) - 0.5    bh = a_h exp(t4)    bw = a_w exp(t5)    c = s(t)

    where s is the sigmoid and a the anchor's size in cells. Sizes are those of YOLOv2 (arXiv 1612.08242, section 2);
    centres reach half a cell beyond their own, so that neighbours of an object's cell can learn it, too.

    Example:
        >>> from cvtl_yolo.grid import Level
        >>> grid = Grid((32, 32), (Level(32, ((64.0, 32.0),)),), classes=1)
        >>> activate(torch.zeros(1, 6), slots_of(grid, torch.zeros(0)))
        tensor([[0.5000, 0.5000, 0.5000, 1.0000, 2.0000, 0.5000]])
    """
    sizes = outputs[..., HEIGHT : WIDTH + 1].clamp(-_LARGEST, _LARGEST).exp() * (slots.anchors / slots.strides).flip(-1)
    centres = 2 * outputs[..., CENTRE].sigmoid() - 0.5
    return torch.cat([outputs[..., :1].sigmoid(), centres, sizes, outputs[..., CLASSES].sigmoid()], dim=-1)


def squared_loss(
    outputs: Tensor, objects: Objects, grid: Grid, *, coord: float = 5.0, noobj: float = 0.5
) -> dict[str, Tensor]:
    """The lectures' squared error of answer and target, of which only pc's part counts where there is no object.

    Summed over the places of a picture, where pc is what `encode` says,

        L =   coord * sum over pc = 1 of (bx' - bx)^2 + (by' - by)^2 + (sqrt w' - sqrt w)^2 + (sqrt h' - sqrt h)^2
            + sum over pc = 1 of (pc' - 1)^2  +  noobj * sum over pc = 0 of pc'^2
            + sum over pc = 1 of the sum over the classes of (c' - c)^2

    w and h are fractions of the input's width and height; mean over the pictures. The lectures' weights are 1.

    Source: Redmon et al. 2016, arXiv 1506.02640, equation 3 (its pc is to be the IoU; here 1, as in the
    lectures).

    Args:
        outputs: (N, P, 5 + C).
        objects: of the N pictures. One whose place another has is not learnt.
        grid: what the outputs are like.
        coord: weight of the boxes.
        noobj: weight of pc where there is no object.
    """
    slots = slots_of(grid, outputs.float())
    answers, targets = activate(outputs.float(), slots), _encoded(objects, len(outputs), grid).to(outputs.device)
    height, width = grid.size_hw
    to_fractions = slots.strides / slots.strides.new_tensor([height, width])
    there = targets[..., PRESENT]
    errors = (answers - targets).square()
    roots = [(each[..., HEIGHT : WIDTH + 1] * to_fractions).sqrt() for each in (answers, targets)]
    boxes = errors[..., CENTRE].sum(dim=-1) + (roots[0] - roots[1]).square().sum(dim=-1)
    counts = torch.where(there > 0, 1.0, noobj)
    terms = {
        "box": coord * there * boxes,
        "object": counts * errors[..., PRESENT],
        "class": there * errors[..., CLASSES].sum(dim=-1),
    }
    return {name: values.sum() / len(outputs) for name, values in terms.items()}


def modern_loss(outputs: Tensor, objects: Objects, grid: Grid, *, ratio: float = 4.0) -> dict[str, Tensor]:
    """Binary cross-entropy of pc and classes, and 1 - CIoU of boxes, over the places that `assign` gives to objects.

    With K places assigned in the batch (1 if there are none), the IoU of answer and object as what pc is to be there
    (no gradient goes through it), and 0 as what it is to be elsewhere,

        L = 1 / K * [ 5 * sum over assigned of (1 - CIoU)  +  sum over all of BCE(pc', pc)
                      + sum over assigned of the sum over the classes of BCE(c', c) ]

    Source: CIoU of Zheng et al. 2020, arXiv 1911.08287, equation 10; the weights and the mean over the assigned places
    of Ge et al. 2021, arXiv 2107.08430 (YOLOX).

    Args:
        outputs: (N, P, 5 + C).
        objects: of the N pictures.
        grid: what the outputs are like.
        ratio: of `assign`.
    """
    outputs = outputs.float()
    assigned = assign(objects.boxes, objects.pictures, grid, ratio)
    picture = objects.pictures[assigned.objects]
    chosen = outputs[picture, assigned.places]
    found = _boxes(chosen, slots_of(grid, outputs), assigned)
    wanted = objects.boxes[assigned.objects]
    presence = torch.zeros_like(outputs[..., PRESENT])
    presence[picture, assigned.places] = paired_iou(found.detach(), wanted)
    labels = F.one_hot(objects.labels[assigned.objects], grid.classes).to(outputs.dtype)
    places = batch_divisor(len(assigned.places))
    terms = {
        "box": _BOX_WEIGHT * (1 - paired_ciou(found, wanted)).sum(),
        "object": F.binary_cross_entropy_with_logits(outputs[..., PRESENT], presence, reduction="sum"),
        "class": F.binary_cross_entropy_with_logits(chosen[:, CLASSES], labels, reduction="sum"),
    }
    return {name: value / places for name, value in terms.items()}


def _boxes(chosen: Tensor, slots: Slots, assigned: Assigned) -> Tensor:
    """Boxes (K, 4) of the outputs (K, 5 + C) of assigned places."""
    places = assigned.places
    own = Slots(slots.cells[places], slots.strides[places], slots.anchors[places])
    return boxes_of(activate(chosen, own), own)


def _encoded(objects: Objects, pictures: int, grid: Grid) -> Tensor:
    """Targets (N, P, 5 + C)."""
    boxes, labels, of = (each.cpu() for each in (objects.boxes, objects.labels, objects.pictures))
    each = [encode(boxes[of == index], labels[of == index], grid)[0] for index in range(pictures)]
    return torch.stack([flat(levels) for levels in each])
