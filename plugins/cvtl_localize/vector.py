"""The lectures' vector of one picture: y = [pc, bx, by, bw, bh, c1, ..., cC].

- pc: 1 where there is an object, 0 where there is none; in an answer, the probability that there is one.
- bx, by, bw, bh: centre, width and height of its box, as fractions of the network's input: (0, 0) is its top left
  corner, (1, 1) its bottom right one. Those are fractions of the picture where the picture is stretched to the input.
- c1 to cC: 1 for its class and 0 for the others; in an answer, probabilities of the classes, given that there is one.

Where pc is 0 the other numbers mean nothing; `encode` leaves them 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cvtl.augmentation import View
from cvtl.boxes import cxcywh_to_xyxy
from cvtl.data import BoxesTarget
from cvtl.evaluation.objects import largest_object
from cvtl.results import Localization

Floats = npt.NDArray[np.float64]

PRESENT = 0
BOX = slice(1, 5)
CLASSES = slice(5, None)


def encode(target: BoxesTarget, view: View, classes: int) -> Tensor:
    """What a network should say of a view of a picture.

    Args:
        target: the objects in the picture, of which the largest that is no crowd counts, if there is one.
        view: how the picture lies in the network's input, such as `cvtl.augmentation.plain_view`.
        classes: C.

    Returns:
        float32 (5 + C,). The box is cut to the input; an object wholly outside of it is none.

    Example:
        >>> from cvtl.augmentation import plain_view
        >>> from cvtl.preprocessing import InputSpec
        >>> view = plain_view((0, 0, 200, 100), InputSpec(size_hw=(64, 64)))
        >>> target = BoxesTarget(np.array([[50, 25, 150, 75]]), np.array([1]))
        >>> encode(target, view, classes=3).tolist()
        [1.0, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 0.0]
    """
    vector = np.zeros(5 + classes, np.float32)
    index = largest_object(target)
    if index is None:
        return torch.from_numpy(vector)
    left, top, right, bottom = _in_input(target.boxes[index], view)
    if left < right and top < bottom:
        vector[PRESENT] = 1
        vector[BOX] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        vector[5 + target.labels[index]] = 1
    return torch.from_numpy(vector)


def decode(vector: Tensor, view: View, classes: Sequence[str]) -> Localization:
    """What a network's answer says of the picture: `encode` undone.

    To single precision that is exact for boxes inside the input and views without a turn. Of a turned view it gives
    the upright hull in the picture.

    Args:
        vector: float (5 + C,), on any device.
        view: how the picture lies in the network's input.
        classes: the C names.

    Returns:
        The answer, its box in pixels of the picture; not cut to the picture, whose size the view does not know.

    Example:
        >>> from cvtl.augmentation import plain_view
        >>> from cvtl.preprocessing import InputSpec
        >>> view = plain_view((0, 0, 200, 100), InputSpec(size_hw=(64, 64)))
        >>> decode(torch.tensor([0.75, 0.5, 0.5, 0.5, 0.5, 0.25, 0.75]), view, ("cat", "dog")).to_dict()
        {'present': 0.75, 'label': 'dog', 'score': 0.75, 'box': [50.0, 25.0, 150.0, 75.0]}
    """
    vector = vector.detach().cpu().double()
    height, width = view.size_hw
    left, top, right, bottom = (cxcywh_to_xyxy(vector[BOX]).numpy() * [width, height, width, height]).tolist()
    corners = view.back(np.array([[left, top], [right, top], [left, bottom], [right, bottom]]))
    box = torch.from_numpy(np.concatenate([corners.min(axis=0), corners.max(axis=0)]))
    return Localization(float(vector[PRESENT]), vector[CLASSES], box, tuple(classes))


def visible_share(target: BoxesTarget, view: View) -> float:
    """The part of the object's box that lies in a view; 1 where there is no object."""
    index = largest_object(target)
    if index is None:
        return 1.0
    box = target.boxes[index]
    left, top, right, bottom = _in_input(box, view)
    whole = view.boxes(box[None])[0]
    height, width = view.size_hw
    area = (whole[2] - whole[0]) * (whole[3] - whole[1]) / (width * height)
    return float(max(0, right - left) * max(0, bottom - top) / area)


def _in_input(box: Floats, view: View) -> tuple[float, float, float, float]:
    """A box of the picture as corners in fractions of the input, cut to it."""
    height, width = view.size_hw
    left, top, right, bottom = (view.boxes(box[None])[0] / [width, height, width, height]).clip(0, 1).tolist()
    return left, top, right, bottom
