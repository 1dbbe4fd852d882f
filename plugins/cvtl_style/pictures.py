"""Pictures as the painting sees them: sizes from coarse to fine, masks, and the way to pixels and back."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtl.errors import UsageError
from cvtl.images import read_image
from cvtl.preprocessing import InputSpec, normalize, resize_to

_LEAST_SIDE = 64


def read_picture(path: str) -> Tensor:
    """A picture file as uint8 (3, H, W).

    Raises:
        DataError: it cannot be read; the message names the file.
    """
    return torch.from_numpy(read_image(path)).permute(2, 0, 1).contiguous()


def read_mask(path: str) -> Tensor:
    """A picture file as a mask: uint8 (1, H, W), 255 where it is white.

    Raises:
        DataError: it cannot be read.
        UsageError: it is black all over.
    """
    mask = read_picture(path).float().mean(0, keepdim=True).round().to(torch.uint8)
    if not bool(mask.any()):
        raise UsageError(f"the mask '{path}' is black everywhere", hint="Paint white what it should hold for")
    return mask


def fitted_hw(image_hw: tuple[int, int], longer_side: float) -> tuple[int, int]:
    """Height and width of a picture whose longer side has so many pixels.

    Example:
        >>> fitted_hw((300, 400), 200)
        (150, 200)
    """
    scale = longer_side / max(image_hw)
    return max(1, round(image_hw[0] * scale)), max(1, round(image_hw[1] * scale))


def level_sides(longer_side: int, levels: int) -> list[int]:
    """Longer sides from coarse to fine, each half of the next, none so small that nothing is to be seen.

    Example:
        >>> level_sides(384, 3), level_sides(100, 3)
        ([96, 192, 384], [100])
    """
    sides = [round(longer_side / 2**level) for level in range(levels)]
    return sorted({side for side in sides if side >= _LEAST_SIDE} | {longer_side})


def at_size(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """uint8 (..., C, H, W) at another size."""
    return resize_to(image, size_hw, interpolation="bicubic")


def mask_at(mask: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """A mask, uint8 (1, H, W), at another size: float (h, w) in [0, 1]."""
    return resize_to(mask, size_hw)[0].float() / 255


def to_network(image: Tensor, input: InputSpec) -> Tensor:
    """uint8 (3, H, W) to what a network sees, float32 (1, 3, H, W)."""
    return normalize(image, input)[None].contiguous()


def to_unit(image: Tensor, input: InputSpec) -> Tensor:
    """What a network sees, (1, 3, H, W), to values in [0, 1], (3, H, W)."""
    seen = image[0].flip(0) if input.channels == "bgr" else image[0]
    mean, std = (seen.new_tensor(each).view(3, 1, 1) for each in (input.mean, input.std))
    return (seen * std + mean).clamp(0, 1)


def from_unit(image: Tensor, input: InputSpec) -> Tensor:
    """Values in [0, 1], (N, 3, H, W), to what a network sees."""
    mean, std = (image.new_tensor(each).view(3, 1, 1) for each in (input.mean, input.std))
    seen = (image - mean) / std
    return seen.flip(-3) if input.channels == "bgr" else seen


def to_bytes(image: Tensor) -> Tensor:
    """Values in [0, 1] to uint8."""
    return (image * 255).round().to(torch.uint8)
