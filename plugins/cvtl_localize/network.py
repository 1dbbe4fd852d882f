"""The network: a backbone, its map pooled to a few cells, and dense layers that give the lectures' vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cvtl.backbones import Backbone


class Localizer(nn.Module):
    """From pictures to outputs z (N, 5 + C), which `cvtl_localize.losses.activate` turns into answers.

    The map is pooled to a grid, not to a single cell: its average would say what there is and lose where it is.
    Beside the cells the dense layers see the strongest answer of each channel anywhere, so that what an object is need
    not be learnt anew for each cell.

    Args:
        backbone: with stages of C' channels in the end.
        classes: C.
        channels: that a 1x1 convolution leaves of the C'.
        grid: cells to a side.
        hidden: units of the first dense layer.
        dropout: before each dense layer.

    Example:
        >>> from cvtl import backbones
        >>> Localizer(backbones.load("lenet5"), classes=3)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        *,
        channels: int = 128,
        grid: int = 7,
        hidden: int = 256,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.reduce = nn.Sequential(
            nn.Conv2d(backbone.stages[-1].channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.cells = nn.AdaptiveAvgPool2d(grid)
        self.strongest = nn.AdaptiveMaxPool2d(1)
        self.dense = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels * (grid * grid + 1), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 5 + classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures (N, 3, H, W) to outputs (N, 5 + C)."""
        maps = self.reduce(self.backbone(images))
        seen = torch.cat([self.cells(maps).flatten(1), self.strongest(maps).flatten(1)], dim=1)
        outputs: Tensor = self.dense(seen)
        return outputs
