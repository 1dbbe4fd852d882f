"""Augmentation that every task shares: views of a picture that move boxes and points along, and colours of a batch.

Geometry is done picture by picture where samples are made, colour batch by batch where the network runs. A view maps
pixels of the upright picture to pixels of the network's input; pixel centres lie at half-integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cvtl.preprocessing import LETTERBOX_GREY, InputSpec, place, resize_to

if TYPE_CHECKING:
    from torch import Tensor

    from cvtl.data import UInt8Image

Floats = npt.NDArray[np.float64]
Region = tuple[float, float, float, float]

GREY_OF_RGB = (0.299, 0.587, 0.114)
# So many pictures at a time stay nearer to the processor, and below what the C library asks the system for anew each
# time (32 MiB): twice as fast as a whole batch. A GPU takes whole batches.
CPU_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class Variation:
    """By how much views differ from the plain one, at most.

    Attributes:
        flip: whether half of the views are mirrored.
        rotation: in degrees, to either side.
        scale: factor of sizes, larger or smaller; 1 is none.
        shift: of the centre, as a part of the region's sides.
    """

    flip: bool = False
    rotation: float = 0.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True, eq=False)
class View:
    """How a part of a picture lies in a network's input: `input = matrix[:, :2] @ picture + matrix[:, 2]`.

    Attributes:
        matrix: float64 (2, 3).
        size_hw: of the input.
        mirrored: whether left and right have changed places.
    """

    matrix: Floats
    size_hw: tuple[int, int]
    mirrored: bool = False

    def points(self, points: Floats) -> Floats:
        """Move points (..., 2) from the picture into the input.

        Example:
            >>> view = plain_view((0, 0, 200, 100), InputSpec(size_hw=(50, 50)))
            >>> view.points(np.array([[100.0, 50.0]]))
            array([[25., 25.]])
        """
        moved: Floats = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved

    def boxes(self, boxes: Floats) -> Floats:
        """Move `xyxy` boxes (N, 4): the upright hulls of their corners, which are larger than the objects if turned."""
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        moved = self.points(corners)
        return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)

    def back(self, points: Floats) -> Floats:
        """Move points (..., 2) from the input back into the picture."""
        back: Floats = (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T
        return back

    def show(self, image: UInt8Image) -> Tensor:
        """The view of a picture.

        Where the view makes it smaller, the one resizer does that first, so that training sees what prediction sees.

        Args:
            image: (H, W, 3) RGB.

        Returns:
            uint8 (3, *size_hw); grey where there is no picture.
        """
        import cv2
        import torch

        left, top, right, bottom = self._looked_at(image.shape[0], image.shape[1])
        if left >= right or top >= bottom:
            return torch.full((3, *self.size_hw), LETTERBOX_GREY, dtype=torch.uint8)
        part, matrix = image[top:bottom, left:right], self.matrix.copy()
        matrix[:, 2] = self.points(np.array([left, top], np.float64))
        height, width = part.shape[:2]
        # Lengths along the picture's sides in the input.
        shrink_x, shrink_y = np.minimum(np.linalg.norm(matrix[:, :2], axis=0), 1)
        small_hw = max(1, round(height * shrink_y)), max(1, round(width * shrink_x))
        small = resize_to(torch.from_numpy(part).permute(2, 0, 1), small_hw).permute(1, 2, 0).contiguous().numpy()
        matrix[:, :2] *= [width / small_hw[1], height / small_hw[0]]
        # OpenCV's pixel centres lie at whole numbers.
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        size_wh = self.size_hw[1], self.size_hw[0]
        seen = cv2.warpAffine(small, matrix, size_wh, flags=cv2.INTER_LINEAR, borderValue=(LETTERBOX_GREY,) * 3)
        return torch.from_numpy(seen).permute(2, 0, 1).contiguous()

    def _looked_at(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a picture that the view needs, xyxy in whole pixels."""
        in_height, in_width = self.size_hw
        corners = self.back(np.array([[0, 0], [in_width, 0], [0, in_height], [in_width, in_height]], np.float64))
        # Beyond the edge of the view resizing and sampling look at two pixels of the input more.
        margin = 2 / np.minimum(np.linalg.norm(self.matrix[:, :2], axis=0), 1)
        left, top = np.floor(corners.min(axis=0) - margin).clip(0).astype(int)
        right, bottom = np.ceil(corners.max(axis=0) + margin).clip(max=[width, height]).astype(int)
        return int(left), int(top), int(right), int(bottom)


def plain_view(region: Region, spec: InputSpec) -> View:
    """Where `cvtl.preprocessing.resize` puts a part of a picture.

    Args:
        region: xyxy in pixels; the whole picture is (0, 0, width, height).
        spec: the network's input.
    """
    left, top, right, bottom = region
    placed = place((max(1, round(bottom - top)), max(1, round(right - left))), spec)
    matrix = np.array(
        [
            [placed.scale_x, 0.0, placed.offset_x - placed.scale_x * left],
            [0.0, placed.scale_y, placed.offset_y - placed.scale_y * top],
        ]
    )
    return View(matrix, spec.size_hw)


def draw_view(region: Region, spec: InputSpec, variation: Variation, random: np.random.Generator) -> View:
    """A view of a part of a picture that is mirrored, turned, scaled and shifted at random, about the part's centre.

    The turn is one of the picture, before its sides are stretched to the input's. As many random numbers are drawn
    whatever the variation.

    Args:
        region: xyxy in pixels of the picture.
        spec: the network's input.
        variation: by how much at most.
        random: where random numbers come from.

    Example:
        >>> spec = InputSpec(size_hw=(32, 32))
        >>> view = draw_view((0, 0, 64, 64), spec, Variation(rotation=180), np.random.default_rng(0))
        >>> view.points(np.array([32.0, 32.0])).round(6)
        array([16., 16.])
    """
    turn, log_scale, shift_x, shift_y = random.uniform(-1, 1, 4)
    mirrored = bool(random.random() < 0.5) and variation.flip
    left, top, right, bottom = region
    centre = np.array([left + right, top + bottom]) / 2
    shift = variation.shift * np.array([shift_x * (right - left), shift_y * (bottom - top)])
    angle, scale = math.radians(variation.rotation) * turn, variation.scale**log_scale
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    mirror = -1 if mirrored else 1
    change = np.array([[mirror * cos, -mirror * sin], [sin, cos]])
    base = plain_view(region, spec).matrix
    linear = base[:, :2] @ change
    offset = base[:, :2] @ (centre + shift) + base[:, 2] - linear @ centre
    return View(np.column_stack([linear, offset]), spec.size_hw, mirrored)


def jitter(images: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast and saturation of each picture of a batch at random.

    Random numbers come from the global generator of the images' device.

    Args:
        images: uint8 (N, 3, h, w).
        strength: most by which each factor differs from 1.

    Returns:
        uint8 (N, 3, h, w).

    Example:
        >>> import torch
        >>> jitter(torch.full((2, 3, 4, 4), 100, dtype=torch.uint8), 0.0).unique()
        tensor([100], dtype=torch.uint8)
    """
    import torch

    from cvtl.training.whole_batch import drawn

    if strength == 0:
        return images
    random = drawn(lambda count: torch.rand(3, count, device=images.device), len(images), dim=1)
    factors = 1 + strength * (2 * random - 1)
    changed = torch.empty_like(images)
    step = CPU_CHUNK if images.device.type == "cpu" else max(1, len(images))
    # Half precision has too few bits for 256 shades.
    with torch.autocast(images.device.type, enabled=False):
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            changed[part] = colour(images[part].float(), *factors[:, part]).round_().clamp_(0, 255)
    return changed


def colour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation, without clipping in between: one matrix for each picture.

    Args:
        images: float (N, 3, h, w).
        brightness: (N,), factor of all values.
        contrast: (N,), factor of the distance from the picture's mean grey.
        saturation: (N,), factor of the distance from each pixel's grey.

    Returns:
        float (N, 3, h, w).
    """
    import torch

    grey = images.new_tensor(GREY_OF_RGB)
    brightness, contrast, saturation = (factor.view(-1, 1, 1) for factor in (brightness, contrast, saturation))
    saturate = saturation * torch.eye(3, device=images.device) + (1 - saturation) * grey.expand(3, 3)
    mean_grey = (images.mean(dim=(2, 3)) @ grey).view(-1, 1, 1)
    # What is the same in all three channels, as the mean grey is, saturation leaves as it is.
    shift = (1 - contrast) * brightness * mean_grey
    return torch.baddbmm(shift, brightness * contrast * saturate, images.flatten(2)).view_as(images)
