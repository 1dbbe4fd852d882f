"""Which part of a picture an object is looked for in, and how that part becomes the network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import pad

from cvtl.augmentation import View, plain_view
from cvtl.preprocessing import LETTERBOX_GREY, InputSpec, resize

Region = tuple[int, int, int, int]


def whole(image_hw: tuple[int, int]) -> Region:
    """The region that is the picture.

    Example:
        >>> whole((480, 640))
        (0, 0, 640, 480)
    """
    return 0, 0, image_hw[1], image_hw[0]


def region_of(box: Sequence[float], margin: float) -> Region:
    """The square about a box, in whole pixels; it may lie partly outside the picture.

    Args:
        box: xyxy in pixels.
        margin: by what part of the box's longer side the square's is longer.

    Example:
        >>> region_of([100, 100, 140, 180], margin=0.25)
        (70, 90, 170, 190)
    """
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * (1 + margin) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    corner = math.floor(x - half), math.floor(y - half)
    side = max(1, math.ceil(2 * half))
    return *corner, corner[0] + side, corner[1] + side


def look(image: Tensor, region: Region, spec: InputSpec) -> Tensor:
    """What the network sees of a region.

    Args:
        image: uint8 (3, H, W).
        region: of it.
        spec: the network's input.

    Returns:
        uint8 (3, *spec.size_hw) on the same device; grey where the region leaves the picture.
    """
    left, top, right, bottom = region
    height, width = image.shape[-2:]
    part = image[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = (
        min(max(-left, 0), right - left),
        min(max(right - width, 0), right - left),
        min(max(-top, 0), bottom - top),
        min(max(bottom - height, 0), bottom - top),
    )
    if any(beyond):
        part = pad(part, beyond, value=LETTERBOX_GREY)
    return resize(part, spec)


def view_of(region: Region, spec: InputSpec) -> View:
    """How `look` moves points."""
    return plain_view(region, spec)


def to_picture(places: npt.NDArray[np.float64], view: View) -> npt.NDArray[np.float64]:
    """Places (..., 2) as fractions of the input to pixels of the picture."""
    return view.back(places * [view.size_hw[1], view.size_hw[0]])
