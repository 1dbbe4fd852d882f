"""OpenCV's way of resizing pictures, in torch, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

_ONE = 1 << 11


def resize_as_opencv(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """What `cv2.resize` with `INTER_LINEAR` makes of an uint8 picture, to the bit.

    It interpolates between two neighbours along each axis with weights of eleven bits, and averages over nothing where
    it makes a picture smaller. Weights of others whose answers are to equal their makers' need their pixels.

    Source: OpenCV, `modules/imgproc/src/resize.cpp`, `HResizeLinear` and `VResizeLinear` for bytes.

    Args:
        image: uint8 (..., H, W).
        size_hw: of the result.

    Returns:
        uint8 (..., *size_hw), on the same device.

    Example:
        >>> resize_as_opencv(torch.tensor([[[0, 100]]], dtype=torch.uint8), (1, 4))
        tensor([[[  0,  25,  75, 100]]], dtype=torch.uint8)
    """
    left, right, of_left, of_right = _neighbours(image.shape[-1], size_hw[1], image.device, edges_alone=True)
    above, below, of_above, of_below = _neighbours(image.shape[-2], size_hw[0], image.device, edges_alone=False)
    rows = image.index_select(-1, left).int().mul_(of_left)
    rows.add_(image.index_select(-1, right).int().mul_(of_right)).bitwise_right_shift_(4)
    upper = rows.index_select(-2, above).mul_(of_above[:, None]).bitwise_right_shift_(16)
    lower = rows.index_select(-2, below).mul_(of_below[:, None]).bitwise_right_shift_(16)
    return upper.add_(lower).add_(2).bitwise_right_shift_(2).to(torch.uint8)


def _neighbours(
    count: int, wanted: int, device: torch.device, *, edges_alone: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each wanted pixel along an axis: the two it lies between, and their weights in parts of `_ONE`.

    Beyond the middle of the first and last pixel, OpenCV gives all the weight to one of them along rows, and shares it
    between a pixel and itself along columns, which rounds otherwise.
    """
    middles = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (count / wanted) - 0.5).float()
    first = middles.floor()
    share = middles - first
    if edges_alone:
        share[(first < 0) | (first >= count - 1)] = 0
    places = first.long()
    one, other = places.clamp(0, count - 1), (places + 1).clamp(0, count - 1)
    weights = (1 - share).mul(_ONE).round().int(), share.mul(_ONE).round().int()
    return one.to(device), other.to(device), weights[0].to(device), weights[1].to(device)
