"""How strongly each class answers where: the windows' scores of all scales, laid over the picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cvtl_windows.pyramid import Level

_CELL = 8


class Heatmaps:
    """Gathers, for each place of the pictures, the best score of the windows round it.

    Args:
        pictures: how many of one size.
        classes: how many.
        image_hw: size of the pictures in pixels.
        device: of the scores.

    Example:
        >>> maps = Heatmaps(1, 1, (64, 64), torch.device("cpu"))
        >>> maps.add(torch.tensor([[[[0.0, 1.0]]]]), 32, (32, 32), Level((64, 64), (32, 64)))
        >>> tuple(maps.maps.shape), int(maps.maps[0, 0, 3].argmax())
        ((1, 1, 8, 8), 5)
    """

    def __init__(self, pictures: int, classes: int, image_hw: tuple[int, int], device: torch.device) -> None:
        self._image_hw = image_hw
        height, width = (-(-side // _CELL) for side in image_hw)
        self.maps = torch.zeros(pictures, classes, height, width, device=device)
        """float (N, C, h, w) in [0, 1], stretched over the pictures."""

    def add(self, scores: Tensor, stride: int, window_hw: tuple[int, int], level: Level) -> None:
        """Take in the scores (N, C, rows, columns) of one level's windows, `stride` level pixels apart."""
        height, width = self.maps.shape[-2:]
        y = self._places(height, self._image_hw[0], level.scale_y, window_hw[0], stride, scores.shape[-2])
        x = self._places(width, self._image_hw[1], level.scale_x, window_hw[1], stride, scores.shape[-1])
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(scores)
        grid = grid.expand(len(scores), -1, -1, -1)
        sampled = grid_sample(scores, grid, padding_mode="zeros", align_corners=False)
        self.maps = torch.maximum(self.maps, sampled)

    @staticmethod
    def _places(cells: int, pixels: int, scale: float, window: int, stride: int, windows: int) -> Tensor:
        """Where the cells' centres lie among the windows' centres, as `grid_sample` counts: [-1, 1] over all cells."""
        centre = (torch.arange(cells) + 0.5) * pixels / cells * scale
        return 2 * ((centre - window / 2) / stride + 0.5) / windows - 1
