"""The image pyramid: the picture at several sizes, so that a window of one size covers objects of many.

Memory. Levels are geometry only; `level_image` makes one at a time. A level of P pixels takes 3 P bytes as uint8, and
12 P if it were normalised whole; P is the picture's number of pixels times (window / min_object)^2, so 20 megapixels at
the window's own size are 60 or 240 MB. The network's maps would be far more (64 float channels at full resolution are
256 P bytes: 5 GB). So `strips` cuts a level into strips that hold the same windows, and only a strip is normalised and
goes through the network at once: with 4 megapixels a strip, 48 MB and the maps for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, log2, sqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

from cvtl.errors import UsageError
from cvtl.preprocessing import LETTERBOX_GREY, resize_to

STRIP_PIXELS = 4_000_000


@dataclass(frozen=True)
class Level:
    """One size of the picture in its pyramid.

    Attributes:
        image_hw: the picture in pixels.
        size_hw: the resized picture in pixels, before any padding.

    Example:
        >>> Level((480, 640), (240, 640)).scale_y
        0.5
    """

    image_hw: tuple[int, int]
    size_hw: tuple[int, int]

    @property
    def scale_y(self) -> float:
        """Pixels of the level per pixel of the picture, vertically."""
        return self.size_hw[0] / self.image_hw[0]

    @property
    def scale_x(self) -> float:
        """Pixels of the level per pixel of the picture, horizontally."""
        return self.size_hw[1] / self.image_hw[1]


def levels(
    image_hw: tuple[int, int],
    window_hw: tuple[int, int],
    *,
    min_object: float | None = None,
    max_object: float | None = None,
    scales_per_octave: int = 2,
    aspects: Sequence[float] = (1.0,),
) -> list[Level]:
    """The sizes at which a picture is searched with a window of one size.

    The size of a window in the picture is the square root of its area, in pixels. Sizes start at `min_object` and grow
    by 2^(1 / scales_per_octave). There is always at least one level for each aspect: a picture smaller than the window
    is padded (see `level_image`).

    Args:
        image_hw: the picture.
        window_hw: the window, in pixels of the level.
        min_object: smallest size; by default the window's own, so that nothing is magnified.
        max_object: largest size; by default the largest window inside the picture. Where more is asked for, the
            picture is padded, up to a window round the whole of it.
        scales_per_octave: sizes from one size to its double.
        aspects: width / height of the window in the picture, relative to that of `window_hw` (so 1.0 never distorts);
            areas are equal.

    Returns:
        The levels, smallest windows first for each aspect.

    Raises:
        UsageError: `min_object` is larger than `max_object`.

    Example:
        >>> [level.size_hw for level in levels((480, 640), (64, 64), min_object=64, max_object=128)]
        [(480, 640), (339, 453), (240, 320)]
    """
    own_size = sqrt(window_hw[0] * window_hw[1])
    smallest = own_size if min_object is None else min_object
    if max_object is not None and smallest > max_object:
        raise UsageError(
            f"the smallest window ({smallest:g} pixels) is larger than the largest ({max_object:g})",
            hint="Lower min_object or raise max_object",
        )
    found = []
    for aspect in aspects:
        stretch_y, stretch_x = own_size * sqrt(aspect), own_size / sqrt(aspect)
        # The sizes at which the window is just as high, or just as wide, as the picture.
        limits = image_hw[0] * stretch_y / window_hw[0], image_hw[1] * stretch_x / window_hw[1]
        largest = min(limits) if max_object is None else min(max_object, max(limits))
        # The sum forgives the rounding of a largest size that is a power away from the smallest.
        steps = floor(scales_per_octave * log2(largest / smallest) + 1e-6)
        for step in range(max(0, steps) + 1):
            size = smallest * 2 ** (step / scales_per_octave)
            height, width = round(image_hw[0] * stretch_y / size), round(image_hw[1] * stretch_x / size)
            found.append(Level(image_hw, (max(1, height), max(1, width))))
    return found


def grid_hw(level_hw: tuple[int, int], window_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the windows that lie wholly inside a level; 0 where it is smaller than the window.

    Example:
        >>> grid_hw((480, 640), (64, 64), 8)
        (53, 73)
    """
    rows, columns = ((size - window) // stride + 1 for size, window in zip(level_hw, window_hw, strict=True))
    return max(0, rows), max(0, columns)


def level_image(
    image: Tensor, level: Level, window_hw: tuple[int, int], stride: int, *, interpolation: str = "bilinear"
) -> Tensor:
    """Resize a picture to a level, padded with grey on the right and below until windows cover all of it.

    Args:
        image: uint8 (3, H, W).
        level: one of the picture's levels.
        window_hw: the window.
        stride: pixels of the level from window to window.
        interpolation: as in `InputSpec`.

    Returns:
        uint8 (3, h, w), on the same device, with whole strides between its size and the window's.

    Example:
        >>> level_image(torch.zeros(3, 20, 90, dtype=torch.uint8), Level((20, 90), (20, 90)), (64, 64), 8).shape
        torch.Size([3, 64, 96])
    """
    missing_y, missing_x = (
        window - size if size < window else -(size - window) % stride
        for size, window in zip(level.size_hw, window_hw, strict=True)
    )
    resized = resize_to(image, level.size_hw, interpolation=interpolation)
    return pad(resized, (0, missing_x, 0, missing_y), value=LETTERBOX_GREY)


def strips(
    level: Tensor, window_hw: tuple[int, int], stride: int, *, max_pixels: int = STRIP_PIXELS
) -> Iterator[Tensor]:
    """Cut a level into overlapping strips, so that the windows of the strips are the windows of the level, row by row.

    Args:
        level: (..., H, W), at least as large as the window.
        window_hw: the window.
        stride: pixels from window to window.
        max_pixels: size of a strip; more only where a single row of windows is larger.

    Yields:
        Views (..., h, W).

    Example:
        >>> [strip.shape[-2] for strip in strips(torch.zeros(1, 100, 50), (20, 20), 10, max_pixels=2000)]
        [40, 40, 40]
    """
    height, width = level.shape[-2:]
    rows, _ = grid_hw((height, width), window_hw, stride)
    rows_per_strip = max(1, (max_pixels // width - window_hw[0]) // stride + 1)
    for first in range(0, rows, rows_per_strip):
        last = min(first + rows_per_strip, rows) - 1
        yield level[..., first * stride : last * stride + window_hw[0], :]


def window_boxes(
    rows: int,
    columns: int,
    stride: int,
    window_hw: tuple[int, int],
    level: Level,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The windows of a level as boxes in the picture.

    Args:
        rows: of windows; row i starts at pixel i * stride of the level.
        columns: likewise.
        stride: pixels of the level from window to window.
        window_hw: the window, in pixels of the level.
        level: where the windows lie.
        device: of the boxes.

    Returns:
        float32 (rows * columns, 4), xyxy in pixels of the picture, clipped to it; row by row.

    Example:
        >>> window_boxes(1, 2, 8, (16, 16), Level((32, 48), (16, 24)))
        tensor([[ 0.,  0., 32., 32.],
                [16.,  0., 48., 32.]])
    """
    height, width = level.image_hw
    top = torch.arange(rows, device=device) * stride
    left = torch.arange(columns, device=device) * stride
    y1, y2 = (((top + edge) / level.scale_y).clamp(max=height) for edge in (0, window_hw[0]))
    x1, x2 = (((left + edge) / level.scale_x).clamp(max=width) for edge in (0, window_hw[1]))
    sides = (x1.expand(rows, -1), y1[:, None].expand(-1, columns), x2.expand(rows, -1), y2[:, None].expand(-1, columns))
    return torch.stack(sides, dim=-1).reshape(-1, 4)
