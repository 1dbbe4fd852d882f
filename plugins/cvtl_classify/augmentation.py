"""Augmentation of a training batch where the network runs: crop, mirror, turn and colour, each picture its own way."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl.augmentation import CPU_CHUNK, colour
from cvtl.preprocessing import resize_to
from cvtl.training.whole_batch import drawn
from cvtl_classify.options import ClassifyOptions

# Width over height of what is seen, in terms of the output's (GoogLeNet: Szegedy et al., arXiv 1409.4842, section 6).
_LARGEST_ASPECT = 4 / 3


@dataclass(frozen=True)
class Changes:
    """How each of N pictures is changed.

    Attributes:
        mirrored: bool (N,).
        part_wh: (N, 2), the sides of what is seen, as parts of the picture's sides.
        centre: (N, 2), x and y of its centre, as parts of the picture's sides.
        angle: (N,), by how much it is turned about its centre, in radians.
        brightness: (N,), factor of all values.
        contrast: (N,), factor of the distance from the picture's mean grey.
        saturation: (N,), factor of the distance from each pixel's grey.
    """

    mirrored: Tensor
    part_wh: Tensor
    centre: Tensor
    angle: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor

    def chunk(self, start: int, end: int) -> Changes:
        """Those of some of the pictures."""
        return Changes(**{field.name: getattr(self, field.name)[start:end] for field in fields(self)})


def augment_batch(images: Tensor, size_hw: tuple[int, int], options: ClassifyOptions) -> Tensor:
    """Show each picture of a batch cropped, mirrored, turned and coloured at random, as far as the options allow.

    What lies beyond a turned picture's edge is its reflection. Parts much larger than the output would need smoothing,
    which there is none of: pictures should be at most about a quarter larger than it. Random numbers come from the
    global generator of the images' device, as many whatever the options are.

    Args:
        images: uint8 (N, 3, h, w).
        size_hw: of the output.
        options: `flip`, `crop`, `rotation` and `jitter`; with all of them off this is `cvtl.preprocessing.resize_to`.

    Returns:
        uint8 (N, 3, *size_hw), on the same device.

    Example:
        >>> photographs = torch.zeros(2, 3, 36, 36, dtype=torch.uint8)
        >>> augment_batch(photographs, (32, 32), ClassifyOptions()).shape
        torch.Size([2, 3, 32, 32])
    """
    changes = draw_changes(len(images), options, images.device)
    in_place = not options.flip and options.crop == 1 and options.rotation == 0
    if in_place:
        images = resize_to(images, size_hw)
        if options.jitter == 0:
            return images
    changed = images.new_empty(len(images), 3, *size_hw)
    step = CPU_CHUNK if images.device.type == "cpu" else max(1, len(images))
    # Half precision has too few bits for 256 shades.
    with torch.autocast(images.device.type, enabled=False):
        for start in range(0, len(images), step):
            part, how = images[start : start + step].float(), changes.chunk(start, start + step)
            seen = part if in_place else view(part, size_hw, how)
            coloured = seen if options.jitter == 0 else colour(seen, how.brightness, how.contrast, how.saturation)
            changed[start : start + step] = coloured.round_().clamp_(0, 255)
    return changed


def draw_changes(count: int, options: ClassifyOptions, device: torch.device | str = "cpu") -> Changes:
    """Draw how so many pictures are changed.

    The part that is seen has an area between `options.crop` and 1, evenly distributed, and the most aspect between 3:4
    and 4:3 with which it fits inside the picture; so none has to be drawn twice, as in the random sized crop of
    Szegedy et al. (arXiv 1409.4842, section 6).
    """
    random = drawn(lambda pictures: torch.rand(9, pictures, device=device), count, dim=1)
    mirrored, area, aspect, x, y, angle, *factors = random
    area = options.crop + (1 - options.crop) * area
    most = torch.minimum(-area.log(), area.new_tensor(math.log(_LARGEST_ASPECT)))
    log_aspect = most * (2 * aspect - 1)
    part_wh = (torch.stack([area.log() + log_aspect, area.log() - log_aspect], dim=1) / 2).exp()
    brightness, contrast, saturation = (1 + options.jitter * (2 * factor - 1) for factor in factors)
    return Changes(
        mirrored=(mirrored < 0.5) & options.flip,
        part_wh=part_wh,
        centre=part_wh / 2 + (1 - part_wh) * torch.stack([x, y], dim=1),
        angle=math.radians(options.rotation) * (2 * angle - 1),
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
    )


def view(images: Tensor, size_hw: tuple[int, int], changes: Changes) -> Tensor:
    """The parts of the pictures that are seen, mirrored and turned, in one bilinear sampling.

    Args:
        images: float (N, 3, h, w).
        size_hw: of the output.
        changes: of these pictures.

    Returns:
        float (N, 3, *size_hw).
    """
    grid = _grid(size_hw, _affine(changes, images.shape[-1] / images.shape[-2]))
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _affine(changes: Changes, aspect: float) -> Tensor:
    """From the output to the picture, both in [-1, 1]: (N, 2, 3), as `grid_sample` wants it.

    Args:
        changes: of N pictures.
        aspect: width over height of the pictures.
    """
    width, height = changes.part_wh.unbind(1)
    width = torch.where(changes.mirrored, -width, width)
    cos, sin = changes.angle.cos(), changes.angle.sin()
    x, y = (2 * changes.centre - 1).unbind(1)
    # The turn is one of pixels, which units of half a picture are not square in.
    rows = [cos * width, -sin * height / aspect, x, sin * width * aspect, cos * height, y]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def _grid(size_hw: tuple[int, int], affine: Tensor) -> Tensor:
    """What `torch.nn.functional.affine_grid` gives, which takes the CPU about as long as the sampling itself."""
    y, x = ((2 * torch.arange(side, device=affine.device) + 1) / side - 1 for side in size_hw)
    to_x, to_y, shift = affine[:, None, None].unbind(-1)
    return x.view(1, 1, -1, 1) * to_x + (y.view(1, -1, 1, 1) * to_y + shift)
